"""Parts of `speed.py`: running code, output, and a long session."""

import re

from measure import everything_of, median, resident, seconds_of

# Functions that are hot, and calls of them.
HOT = {
    "loop": (
        "fn hot_loop(seed: u64) -> u64 { let mut x = seed; for i in 0..100_000_000u64 { "
        "x = x.wrapping_mul(6364136223846793005).wrapping_add(i ^ (x >> 29)); } x }",
        "hot_loop(std::hint::black_box(7))",
    ),
    "sort": (
        "fn hot_sort(seed: u64) -> u64 { let mut x = seed; let mut numbers: Vec<u64> = "
        "(0..10_000_000).map(|_| { x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); x }).collect(); "
        "numbers.sort(); numbers[numbers.len() / 2] }",
        "hot_sort(std::hint::black_box(7))",
    ),
    "matrix": (
        "fn hot_matrix(n: usize) -> f64 { let a: Vec<f64> = (0..n * n).map(|i| (i % 7) as f64).collect(); "
        "let b: Vec<f64> = (0..n * n).map(|i| (i % 5) as f64).collect(); let mut c = vec![0.0f64; n * n]; "
        "for i in 0..n { for j in 0..n { let mut sum = 0.0; for k in 0..n { sum += a[i * n + k] * b[k * n + j]; } "
        "c[i * n + j] = sum; } } c.iter().sum() }",
        "hot_matrix(std::hint::black_box(512))",
    ),
}
INLINE = {
    # The same work written into the cell, without a function of its own.
    "loop_inline": (
        "let mut x = std::hint::black_box(7u64); for i in 0..100_000_000u64 { "
        "x = x.wrapping_mul(6364136223846793005).wrapping_add(i ^ (x >> 29)); } std::hint::black_box(x);"
    ),
    "iterator": (
        "let n = std::hint::black_box(100_000_000u64); let sum = (0..n).map(|x| x ^ (x >> 3))"
        ".filter(|x| x % 3 != 0).map(|x| x.wrapping_mul(x)).fold(0u64, |a, b| a.wrapping_add(b) ^ b); "
        "std::hint::black_box(sum);"
    ),
    "hash_map": (
        "let mut counts: std::collections::HashMap<u64, u64> = std::collections::HashMap::new(); "
        "let mut x = std::hint::black_box(7u64); for _ in 0..4_000_000 { "
        "x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); "
        "*counts.entry((x >> 33) % 1_000_000).or_insert(0) += 1; } std::hint::black_box(counts.len());"
    ),
}


REPEATS = 3

# Nanoseconds that the thread has been on a processor: a busy machine makes the clock say more.
ON_PROCESSOR = (
    "fn on_processor() -> u64 { std::fs::read_to_string(\"/proc/thread-self/schedstat\").unwrap()"
    ".split(' ').next().unwrap().parse().unwrap() }"
)


def _timed(session, name, items, body):
    """Seconds that `body` ran as the cell itself measures them, by the clock and on a processor: the
    least of some repeats, since other programs only ever make a repeat slower."""
    code = (
        f"{items}\nfor _ in 0..{REPEATS} {{ {ON_PROCESSOR} let before = on_processor(); "
        f"let start = std::time::Instant::now(); {{ {body} }} let took = start.elapsed(); "
        'println!("took {} {}", took.as_secs_f64(), (on_processor() - before) as f64 / 1e9); }'
    )
    result = everything_of(session, code, lambda result: result.stdout.count("\n") >= REPEATS)[1]
    seconds = re.findall(r"took ([\d.e-]+) ([\d.e-]+)", result.stdout)
    assert len(seconds) == REPEATS, result.describe()
    return {
        f"cpu_{name}_s": min(float(clock) for clock, _ in seconds),
        f"cpu_{name}_processor_s": min(float(processor) for _, processor in seconds),
    }


def cpu(start_kernel, _options):
    """Run time alone, at the level of optimisation that a user gets without asking."""
    figures = {}
    with start_kernel() as session:
        for name, (function, call) in HOT.items():
            figures |= _timed(session, name, function, f"std::hint::black_box({call});")
        # The functions stay from the cells above: now they are only called.
        for name, (_, call) in HOT.items():
            figures |= _timed(session, f"{name}_earlier", "", f"std::hint::black_box({call});")
        for name, body in INLINE.items():
            figures |= _timed(session, name, "", body)
    return figures


LINES, LINE_BYTES, DISPLAYS = 100_000, 10_000_000, 1000


def _lines_lost(result):
    """How many lines are missing or not in their place."""
    found = result.stdout.splitlines()
    wrong = sum(line != f"line {number}" for number, line in enumerate(found))
    return max(0, LINES - len(found)) + wrong


def _displays_lost(result):
    bundles = [
        content["data"]
        for kind, content in result.events
        if kind in ("display_data", "execute_result")
    ]
    found = [int(number) for one in bundles for number in re.findall(r"<b>(\d+)</b>", one.get("text/html", ""))]
    wrong = sum(number != place for place, number in enumerate(found))
    return max(0, DISPLAYS - len(found)) + wrong


def output(start_kernel, _options):
    """Much output: seconds until all has arrived, what was lost or out of order, and in how many
    messages it came."""
    cases = {
        "lines": (
            f'for number in 0..{LINES} {{ println!("line {{number}}"); }}',
            lambda result: result.stdout.count("\n") >= LINES,
            _lines_lost,
        ),
        "long_line": (
            f'println!("{{}}", "x".repeat({LINE_BYTES}));',
            lambda result: len(result.stdout) >= LINE_BYTES,
            lambda result: abs(LINE_BYTES - result.stdout.count("x")),
        ),
        "displays": (
            f"for number in 0..{DISPLAYS} {{ println!("
            '"EVCXR_BEGIN_CONTENT text/html\\n<b>{number}</b>\\nEVCXR_END_CONTENT"); }',
            lambda result: True,
            _displays_lost,
        ),
    }
    figures = {}
    with start_kernel() as session:
        session.ok("1+1")
        for name, (code, complete, lost) in cases.items():
            seconds, result = everything_of(session, code, complete)
            figures[f"output_{name}_s"] = seconds
            figures[f"output_{name}_lost"] = lost(result)
            figures[f"output_{name}_messages"] = len(result.events)
    return figures


# As many cells at each end of the session are compared.
EDGE = 50


def long(start_kernel, options):
    """Many cells that use the same names again, as a session does that lasts all day."""
    kinds = [
        "let value: Vec<u64> = (0..100).collect();",
        "value.iter().sum::<u64>()",
        'println!("{}", value.len());',
        "fn again(x: u64) -> u64 { x + NUMBER }",
    ]
    seconds, held = [], {}
    with start_kernel() as session:
        session.ok("1+1")
        for number in range(options.long_cells):
            code = kinds[number % len(kinds)].replace("NUMBER", str(number))
            seconds.append(seconds_of(session, code)[0])
            if number + 1 in (EDGE, options.long_cells):
                held[number + 1] = resident(session)
    between = options.long_cells - EDGE
    growth = {
        name: (held[options.long_cells][name] - held[EDGE][name]) / between / 1024
        for name in held[EDGE]
    }
    return {
        "long_s": seconds,
        "long_held": held,
        "long_first_s": median(seconds[:EDGE]),
        "long_last_s": median(seconds[-EDGE:]),
        "long_slowdown": median(seconds[-EDGE:]) / median(seconds[:EDGE]),
        **{f"long_growth_{name}_kib": kib for name, kib in growth.items()},
    }
