"""The speed of a Rust kernel, side by side with evcxr_jupyter 0.22.

Each run does a section with one kernel, then with the other, and in the next run the other way round.

    target/venv/bin/python tests/bench/speed.py [--runs 3] [--only start,cells] [--peer PATH]
"""

import os
import pathlib
import tempfile
import time

from measure import (
    INSTALL_PEER,
    ROOT,
    arguments,
    machine,
    median,
    ours,
    peer,
    percentile,
    print_table,
    require,
    seconds_of,
    write,
)

FIRST_LET = "let x = vec![1u8; 10];"

# Mixed kinds: expressions, statements, items, variables, std, generics, threads, formatting.
CELLS = [
    "2 + 3",
    'println!("hello")',
    "fn double(x: i64) -> i64 { x * 2 }",
    "double(21)",
    "struct Point { x: f64, y: f64 }",
    "let point = Point { x: 1.0, y: 2.0 };",
    "point.x + point.y",
    "let name = String::from(\"name\");",
    "name.len()",
    "use std::collections::HashMap;",
    "let mut counts: HashMap<String, u32> = HashMap::new();",
    'counts.insert("a".to_string(), 1);',
    "counts.len()",
    "(1..=10).map(|x| x * x).sum::<i32>()",
    "#[derive(Debug, Clone)] enum Shape { Circle(f64), Square(f64) }",
    "impl Shape { fn area(&self) -> f64 { match self { Shape::Circle(r) => 3.14 * r * r, Shape::Square(s) => s * s } } }",
    "let shapes = vec![Shape::Circle(1.0), Shape::Square(2.0)];",
    "shapes.iter().map(Shape::area).sum::<f64>()",
    "trait Named { fn name(&self) -> String; }",
    'impl Named for Shape { fn name(&self) -> String { format!("{self:?}") } }',
    'for shape in &shapes { println!("{}", shape.name()); }',
    "fn largest<T: PartialOrd + Copy>(values: &[T]) -> Option<T> { values.iter().copied().reduce(|a, b| if a > b { a } else { b }) }",
    "largest(&[3, 9, 4])",
    "let handle = std::thread::spawn(|| 7); handle.join().unwrap()",
]
assert len(CELLS) == 24


# Each prints how long it took by its own clock.
CPU_CELLS = {
    "a loop over 1e8": """
let start = std::time::Instant::now();
let mut x = 1u64;
for i in 0..100_000_000u64 { x = x.wrapping_mul(6364136223846793005).wrapping_add(i); }
println!("{} {}", start.elapsed().as_secs_f64(), x);""",
    "a sort of 1e7": """
let mut state = 1u64;
let mut values: Vec<u64> = (0..10_000_000).map(|_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); state >> 11 }).collect();
let start = std::time::Instant::now();
values.sort();
println!("{} {}", start.elapsed().as_secs_f64(), values[0]);
drop(values);""",
    "a product of 512² matrices": """
let n = 512usize;
let (a, b) = (vec![1.5f64; n * n], vec![0.5f64; n * n]);
let mut c = vec![0f64; n * n];
let start = std::time::Instant::now();
for i in 0..n { for k in 0..n { let x = a[i * n + k]; for j in 0..n { c[i * n + j] += x * b[k * n + j]; } } }
println!("{} {}", start.elapsed().as_secs_f64(), c[7]);
drop((a, b, c));""",
    "closures over 1e8": """
let start = std::time::Instant::now();
let sum: u64 = (0..100_000_000u64).filter(|x| x % 3 == 0).map(|x| x ^ 5).fold(0, u64::wrapping_add);
println!("{} {}", start.elapsed().as_secs_f64(), sum);""",
    "a function of an earlier cell": """
let start = std::time::Instant::now();
let steps = (1..1_000_000u64).map(collatz).max();
println!("{} {:?}", start.elapsed().as_secs_f64(), steps);""",
    "counting 1e6 in a HashMap": """
let start = std::time::Instant::now();
let mut counts: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
for i in 0..1_000_000u64 { *counts.entry(i % 65537).or_insert(0) += i; }
println!("{} {}", start.elapsed().as_secs_f64(), counts.len());
drop(counts);""",
}
COLLATZ = """
fn collatz(mut n: u64) -> u64 { let mut steps = 0; while n != 1 { n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 }; steps += 1; } steps }
"""

DEPENDENCIES = {
    "regex": ':dep regex = "1"\nregex::Regex::new("b+").unwrap().find("abbc").map(|it| it.len())',
    "ndarray": ':dep ndarray = "0.16"\nndarray::arr2(&[[1, 2], [3, 4]]).sum()',
    "candle-core": ':dep candle-core = "0.9"\ncandle_core::Tensor::new(&[1f32, 2.], '
    "&candle_core::Device::Cpu).unwrap().dims().len()",
}

OUTPUTS = {
    "1e5 lines": 'for i in 0..100_000 { println!("{i}"); }',
    "10 MB in one line": 'println!("{}", "x".repeat(10_000_000));',
    "1000 displays": "for i in 0..1000 { "
    'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>{i}</b>\\nEVCXR_END_CONTENT"); }',
}

# Names are used again, so that what evcxr must carry from cell to cell does not grow.
MANY = [
    "let number: u64 = {i};",
    "number + {i}",
    'println!("{{}}", number * {i});',
    "fn twice(x: u64) -> u64 {{ x * 2 + {i} - {i} }}",
    "twice(number)",
]


def start(kernel):
    """From the start of the process; the client asks until a kernel answers."""
    begin = time.perf_counter()
    with kernel(ready=False) as session:
        session.request(session.client.kernel_info(), timeout=120)
        info = time.perf_counter() - begin
        _, result = seconds_of(session, "1+1")
        assert result.results[0]["text/plain"] == "2", result.describe()
        first = time.perf_counter() - begin
        return info, first, seconds_of(session, FIRST_LET)[0]


def starts(kernel):
    """Twice, with nothing kept from before and then with what the first start has kept."""
    with tempfile.TemporaryDirectory() as cache:
        folders = {"MEMTRACK_CACHE_DIR": cache, "XDG_CACHE_HOME": cache}
        with_cache = lambda **options: kernel(env=folders, **options)  # noqa: E731
        info, first, let = start(with_cache)
        _, second, second_let = start(with_cache)
    with kernel() as session:
        session.ok("1+1")
        time.sleep(3)
        rested, _ = seconds_of(session, FIRST_LET)
    return {
        "start to kernel_info_reply, s": info,
        "start to first result of 1+1, s": first,
        "the same at the second start, s": second,
        "first let, s": median([let, second_let]),
        "first let after a rest of 3 s, s": rested,
    }


def cells(kernel):
    with kernel() as session:
        seconds_of(session, "1+1")
        seconds_of(session, "let first = vec![1, 2, 3];")
        times = [seconds_of(session, code)[0] for code in CELLS]
    return {
        "24 small cells, median, s": median(times),
        "24 small cells, p90, s": percentile(times, 90),
    }


def cpu(kernel):
    found = {}
    with kernel() as session:
        session.ok(COLLATZ)
        for name, code in CPU_CELLS.items():
            stdout = session.ok(code, timeout=120).stdout
            found[f"run time of {name}, s"] = float(stdout.split()[0])
    return found


def dependencies(kernel):
    """In a second session; the peer keeps what it compiles only if told to."""
    found = {}
    names = [name for name in DEPENDENCIES if name != "candle-core" or "WITH_CANDLE" in os.environ]
    for turn in range(2):
        for name in names:
            with kernel() as session:
                if kernel.keeps:
                    session.ok(kernel.keeps)
                session.ok("1+1")
                time.sleep(2)
                found[f":dep {name}, compiled before, s"] = seconds_of(session, DEPENDENCIES[name])[0]
    return found


def output(kernel):
    found = {}
    with kernel() as session:
        session.ok("1+1")
        for name, code in OUTPUTS.items():
            seconds, result = seconds_of(session, code)
            if "displays" in name:
                shown = [it["text/html"].strip() for it in result.displays + result.results]
                complete = shown == [f"<b>{i}</b>" for i in range(1000)]
            elif "lines" in name:
                complete = result.stdout == "".join(f"{i}\n" for i in range(100_000))
            else:
                complete = result.stdout == "x" * 10_000_000 + "\n"
            found[f"{name}, whole and in order"] = int(complete)
            found[f"{name}, s"] = seconds
            found[f"{name}, messages"] = len(result.events)
    return found


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        (line,) = [line for line in file if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def children(pid):
    listed = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


def memory(kernel):
    with kernel() as session:
        for code in CELLS[:10]:
            session.ok(code)
        time.sleep(2)
        pid = session.manager.provisioner.pid
        return {"RSS of the kernel after ten cells, MiB": resident(pid)}


def many(kernel):
    with kernel() as session:
        pid = session.manager.provisioner.pid
        session.ok("1+1")
        time.sleep(3)
        times, sizes = [], []
        for number in range(500):
            code = MANY[number % len(MANY)].format(i=number)
            times.append(seconds_of(session, code)[0])
            if number in (99, 499):
                sizes.append((resident(pid), max(map(resident, children(pid)), default=0)))
    (before, child_before), (after, child_after) = sizes
    return {
        "500 cells: the first 50, median, s": median(times[:50]),
        "500 cells: the last 50, median, s": median(times[-50:]),
        "RSS a cell, kernel, KiB": (after - before) * 1024 / 400,
        "RSS a cell, child, KiB": (child_after - child_before) * 1024 / 400,
    }


SECTIONS = {
    "start": starts,
    "cells": cells,
    "cpu": cpu,
    "dependencies": dependencies,
    "output": output,
    "memory": memory,
    "many": many,
}


class Kernel:
    """Starts one of the kernels; `keeps` is what it must be told to keep compiled dependencies."""

    def __init__(self, start_kernel, keeps=None):
        self._start, self.keeps = start_kernel, keeps

    def __call__(self, **options):
        return self._start(**options)


def main():
    parser = arguments(__doc__.splitlines()[0], "speed")
    parser.add_argument("--runs", type=int, default=3, help="runs of each kernel (default 3)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument(
        "--peer",
        type=pathlib.Path,
        default=ROOT / "target" / "peer" / "bin" / "evcxr_jupyter",
        help="evcxr_jupyter to compare with",
    )
    options = parser.parse_args()
    kernel = require(options.kernel, "cargo build --release")
    other = require(options.peer, INSTALL_PEER)
    kernels = {
        "memtrack-kernel": Kernel(lambda **more: ours(kernel, **more)),
        "evcxr_jupyter": Kernel(lambda **more: peer(other, **more), keeps=":cache 1000"),
    }
    host = machine()
    figures = {name: {} for name in kernels}
    for number in range(options.runs):
        order = list(kernels) if number % 2 == 0 else list(reversed(kernels))
        for section in options.only.split(","):
            for name in order:
                print(f"run {number + 1} of {options.runs}: {section}, {name}", flush=True)
                for figure, value in SECTIONS[section](kernels[name]).items():
                    figures[name].setdefault(figure, []).append(value)
    print(f"\nMedians of {options.runs} runs, {host['cores']} cores, {host['processor']}\n")
    rows = []
    for figure, own in figures["memtrack-kernel"].items():
        one, another = median(own), median(figures["evcxr_jupyter"][figure])
        ratio = f"{one / another:.2f}" if another else "-"
        rows.append([figure, f"{one:.3f}", f"{another:.3f}", ratio])
    print_table(["", *kernels, "ratio"], rows)
    write(options.json, {"machine": host, "figures": figures})


if __name__ == "__main__":
    main()
