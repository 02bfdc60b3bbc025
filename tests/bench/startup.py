"""Start and small cells, side by side with evcxr_jupyter 0.22.

Each run starts one kernel, then the other, and in the next run the other way round. After the
kernel_info reply a user's session follows at once: `1+1`, a first `let`, 24 small cells.

    target/venv/bin/python tests/bench/startup.py [--runs 3] [--peer PATH]
"""

import pathlib
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

FIRST_LET = "let first = vec![1, 2, 3];"

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


def one_run(start_kernel):
    """A user's session from the start of the process on; all times in seconds."""
    start = time.perf_counter()
    with start_kernel(ready=False) as session:
        # The client asks until a kernel answers; its own waiting must not coarsen the figure.
        asked = session.client.kernel_info()
        session.request(asked, timeout=120)
        info = time.perf_counter() - start
        _, result = seconds_of(session, "1+1")
        assert result.results[0]["text/plain"] == "2", result.describe()
        first_result = time.perf_counter() - start
        first_let, _ = seconds_of(session, FIRST_LET)
        cells = [seconds_of(session, code)[0] for code in CELLS]
    return {
        "kernel_info": info,
        "first_result": first_result,
        "first_let": first_let,
        "cells": cells,
    }


def summary(runs):
    cells = [seconds for run in runs for seconds in run["cells"]]
    return {
        "start to kernel_info, s": median([run["kernel_info"] for run in runs]),
        "start to first result of 1+1, s": median([run["first_result"] for run in runs]),
        "first let, s": median([run["first_let"] for run in runs]),
        "24 small cells, median, s": median(cells),
        "24 small cells, p90, s": percentile(cells, 90),
    }


def main():
    parser = arguments(__doc__.splitlines()[0], "startup")
    parser.add_argument("--runs", type=int, default=3, help="runs of each kernel (default 3)")
    parser.add_argument(
        "--peer",
        type=pathlib.Path,
        default=ROOT / "target" / "peer" / "bin" / "evcxr_jupyter",
        help="evcxr_jupyter to compare with",
    )
    options = parser.parse_args()
    kernel = require(options.kernel, "cargo build --release")
    other = require(options.peer, INSTALL_PEER)
    starts = {
        "memtrack-kernel": lambda **more: ours(kernel, **more),
        "evcxr_jupyter": lambda **more: peer(other, **more),
    }
    host = machine()
    runs = {name: [] for name in starts}
    for number in range(options.runs):
        order = list(starts) if number % 2 == 0 else list(reversed(starts))
        for name in order:
            print(f"run {number + 1} of {options.runs}: {name}", flush=True)
            runs[name].append(one_run(starts[name]))
    summaries = {name: summary(list_of_runs) for name, list_of_runs in runs.items()}
    print(f"\nMedians of {options.runs} runs, {host['cores']} cores, {host['processor']}\n")
    print_table(
        ["", *summaries, "ratio"],
        [
            [
                figure,
                *(f"{one[figure]:.3f}" for one in summaries.values()),
                f"{summaries['memtrack-kernel'][figure] / summaries['evcxr_jupyter'][figure]:.2f}",
            ]
            for figure in summaries["memtrack-kernel"]
        ],
    )
    write(options.json, {"machine": host, "summaries": summaries, "runs": runs})


if __name__ == "__main__":
    main()
