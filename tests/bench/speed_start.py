"""Parts of `speed.py`: the start of a session and its first cells."""

import tempfile
import time

from measure import cache_in, median, percentile, resident, seconds_of

FIRST_LET = "let x = vec![1u8; 10];"
REST = 3

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


def _first_result(start_kernel, then):
    """Seconds from the start of the process to the kernel_info reply and to the result of `1+1`,
    and what `then(session)` returns right after."""
    start = time.perf_counter()
    with start_kernel(ready=False) as session:
        # The client asks until a kernel answers; its own waiting must not coarsen the figure.
        asked = session.client.kernel_info()
        session.request(asked, timeout=120)
        info = time.perf_counter() - start
        _, result = seconds_of(session, "1+1")
        assert result.results[0]["text/plain"] == "2", result.describe()
        return info, time.perf_counter() - start, then(session)


def start(start_kernel, _options):
    """Three sessions on one cache folder, which is empty at first."""
    with tempfile.TemporaryDirectory(prefix="mtcache") as cache:

        def with_cache(**more):
            return start_kernel(env=cache_in(cache), **more)

        def first_let(session):
            return seconds_of(session, FIRST_LET)[0]

        def first_let_after_rest(session):
            time.sleep(REST)
            return first_let(session)

        cold = _first_result(with_cache, first_let)
        second = _first_result(with_cache, first_let)
        third = _first_result(with_cache, first_let_after_rest)
    return {
        "kernel_info_s": cold[0],
        "first_result_cold_s": cold[1],
        "first_let_cold_s": cold[2],
        "kernel_info_second_s": second[0],
        "first_result_second_s": second[1],
        "first_let_second_s": second[2],
        "first_let_rested_s": third[2],
    }


def cells(start_kernel, _options):
    """A session of small cells; what the kernel holds after ten, and after all of them."""
    with start_kernel() as session:
        session.ok("1+1")
        session.ok(FIRST_LET)
        seconds = []
        for number, code in enumerate(CELLS, start=3):
            seconds.append(seconds_of(session, code)[0])
            if number == 10:
                after_ten = resident(session)
        after_all = resident(session)
    return {
        "cells_s": seconds,
        "cells_median_s": median(seconds),
        "cells_p90_s": percentile(seconds, 90),
        "expressions_median_s": median(
            [one for one, code in zip(seconds, CELLS) if not _has_no_value(code)]
        ),
        "others_median_s": median([one for one, code in zip(seconds, CELLS) if _has_no_value(code)]),
        **{f"rss_ten_{name}_mib": size / 2**20 for name, size in after_ten.items()},
        **{f"rss_all_{name}_mib": size / 2**20 for name, size in after_all.items()},
    }


def _has_no_value(code):
    return code.endswith((";", "}")) or code.startswith("println!")
