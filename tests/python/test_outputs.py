"""What a cell prints and shows, and when."""

import pathlib

import pytest

from kernel_samples import PIXEL, rich
from kernel_session import MiB


@pytest.fixture
def gate(tmp_path):
    """Code that waits inside a cell until the test opens the gate, and the opener."""
    path = tmp_path / "open"
    code = f"""{{
        let start = std::time::Instant::now();
        while !std::path::Path::new(r"{path}").exists() {{
            assert!(start.elapsed().as_secs() < 60, "the gate was never opened");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }}
    }}"""
    return code, lambda: pathlib.Path(path).touch()


def test_a_line_without_its_end_appears_while_the_cell_runs(kernel, gate):
    wait, open_gate = gate
    cell = kernel.begin(f'print!("half a line"); {wait} println!(" and the rest");')
    cell.wait_for_stdout("half a line", timeout=60)
    assert "rest" not in cell.result.stdout
    open_gate()
    result = cell.finish()
    assert (result.status, result.stdout) == ("ok", "half a line and the rest\n")


def test_a_progress_bar_moves_while_the_cell_runs(kernel, gate):
    wait, open_gate = gate
    cell = kernel.begin(f'for i in 0..=50 {{ print!("\\r{{i}} %"); }} {wait} print!("\\r100 %\\n");')
    cell.wait_for_stdout("\r50 %", timeout=60)
    assert "100" not in cell.result.stdout
    open_gate()
    assert cell.finish().stdout.endswith("\r50 %\r100 %\n")


def test_stderr_without_its_end_appears_while_the_cell_runs(kernel, gate):
    wait, open_gate = gate
    cell = kernel.begin(f'eprint!("working"); {wait}')
    cell.wait_for(lambda result: "working" in result.stderr, timeout=60)
    open_gate()
    assert cell.finish().status == "ok"


@pytest.mark.parametrize("code", ['println!("x")', 'println!("x");', '{ println!("x"); }'])
def test_a_cell_that_only_prints_has_no_result(kernel, code):
    result = kernel.ok(code)
    assert result.stdout == "x\n"
    assert [kind for kind, _ in result.events] == ["stream"]


def test_unit_is_not_shown(kernel):
    assert kernel.ok("()").events == []


def test_a_statement_has_no_result(kernel):
    assert kernel.ok("let silent = 1;").events == []


def test_rich_outputs_of_one_type_are_all_there_in_order(kernel):
    result = kernel.ok(
        rich("text/html", "<b>first</b>")
        + ' println!("between"); '
        + rich("text/html", "<b>second</b>")
        + rich("text/html", "<b>third</b>")
        + ' println!("last");'
    )
    shown = [
        content["text"] if kind == "stream" else content["data"]["text/html"].strip()
        for kind, content in result.events
    ]
    assert shown == ["<b>first</b>", "between\n", "<b>second</b>", "<b>third</b>", "last\n"]


def test_neighbours_of_different_types_are_one_output(kernel):
    # So evcxr's displays give a picture and its text for front ends without pictures.
    code = rich("image/png", PIXEL) + rich("text/plain", "a pixel")
    (data,) = kernel.ok(code).displays
    assert {mime: text.strip() for mime, text in data.items()} == {
        "image/png": PIXEL,
        "text/plain": "a pixel",
    }


def test_json_is_an_object(kernel):
    (data,) = kernel.ok(rich("application/json", '{"numbers": [1, 2]}')).displays
    assert data["application/json"] == {"numbers": [1, 2]}


def test_evcxr_display_is_called(kernel):
    result = kernel.ok(
        """struct Table;
        impl Table {
            pub fn evcxr_display(&self) {
                println!("EVCXR_BEGIN_CONTENT text/html\\n<table></table>\\nEVCXR_END_CONTENT");
            }
        }
        Table"""
    )
    shown = result.displays + result.results
    assert [data["text/html"].strip() for data in shown] == ["<table></table>"]


def test_many_lines_all_arrive_before_idle(kernel):
    result = kernel.ok('for i in 0..20_000 { println!("{i}"); }')
    assert result.stdout == "".join(f"{i}\n" for i in range(20_000))


def test_text_that_is_not_utf8_does_not_end_the_cell(kernel):
    result = kernel.ok(
        'use std::io::Write; std::io::stdout().write_all(b"a\\xff\\xfeb\\n").unwrap(); println!("c");'
    )
    assert result.stdout.startswith("a") and result.stdout.endswith("b\nc\n")


def test_a_spawned_process_prints_into_the_cell(kernel):
    result = kernel.ok(
        'let ended = std::process::Command::new("sh").args(["-c", "echo from sh"]).status().unwrap();'
    )
    assert result.stdout == "from sh\n"


def test_a_tracked_cell_shows_its_outputs_then_its_table(kernel):
    result = kernel.ok('%memtrack\nprintln!("printed"); let held = vec![1u8; 8 << 20]; held.len()')
    (data,) = [data for data in result.results]
    assert data["text/plain"] == str(8 * MiB)
    assert result.stdout == "printed\n"
    bundle = result.bundles[0]
    assert set(bundle) >= {"text/plain", "text/html"}
    assert all(len(line) <= 100 for line in bundle["text/plain"].splitlines())
    assert "<script" not in bundle["text/html"]
    assert "data" in result.events[-1][1], "the table is not the last output"


def test_tracking_of_every_cell(kernel):
    kernel.ok("%memtrack on")
    try:
        compact = kernel.ok("let on_by_default = vec![1u8; 8 << 20];")
        assert compact.record.rise("heap") >= 8 * MiB
        assert len(compact.bundles[0]["text/plain"].strip().splitlines()) == 1
    finally:
        kernel.ok("%memtrack off")
    assert kernel.ok("drop(on_by_default);").bundles == []


def test_the_session_so_far(kernel):
    kernel.ok("%memtrack --label the-small-one\nlet small = vec![1u8; 1 << 20];")
    kernel.ok("%memtrack --label the-large-one\nlet large = vec![1u8; 96 << 20];")
    (session,) = kernel.ok("%memtrack").displays
    text = session["text/plain"]
    assert text.index("the-small-one") < text.index("the-large-one"), "in the order of time"
    (report,) = kernel.ok("%memtrack report --sort kept").displays
    text = report["text/plain"]
    assert text.index("the-large-one") < text.index("the-small-one"), "the one that kept most first"


def test_help_lists_the_magics(kernel):
    listed = kernel.ok("%lsmagic")
    text = listed.stdout + "".join(data["text/plain"] for data in listed.displays)
    for name in ("report", "assert", "doctor", "trim", "%lsmagic"):
        assert name in text


def test_silent_cells_show_nothing_and_count_nothing(kernel):
    before = kernel.ok("1").reply["execution_count"]
    silent = kernel.execute('println!("nobody sees this"); 5', silent=True, store_history=False)
    assert silent.status == "ok" and silent.events == []
    assert kernel.ok("2").reply["execution_count"] == before + 1


def test_user_expressions(kernel):
    kernel.ok("let asked = 40;")
    result = kernel.ok("", user_expressions={"good": "asked + 2", "bad": "no_such_thing"})
    answers = result.reply["user_expressions"]
    assert answers["good"]["status"] == "ok"
    assert answers["good"]["data"]["text/plain"] == "42"
    assert answers["bad"]["status"] == "error"
