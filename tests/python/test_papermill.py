"""A parameterised notebook, executed by papermill over the installed wheel."""

import math
import subprocess
import sys

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillException, PapermillExecutionError

from kernel_session import KERNEL, RECORD, MiB, Record

TEXT = 'quote " backslash \\ newline \n tab \t nul \0 hidden \u202e ümlaut 🦀'
DEFAULTS = """\
let mib = 1; // how much to hold
let label = String::new();"""
HOLD = "%memtrack --label held\nlet held = vec![1u8; (mib as usize) << 20];"


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook with a cell of parameters; returns the paths of it and of the output."""

    def write(*cells, name="in.ipynb"):
        metadata = {
            "kernelspec": {"name": KERNEL, "display_name": "Rust (memtrack)", "language": "rust"}
        }
        parameters = new_code_cell(DEFAULTS, metadata={"tags": ["parameters"]})
        texts = [new_code_cell(cell) for cell in cells]
        nbformat.write(new_notebook(cells=[parameters, *texts], metadata=metadata), tmp_path / name)
        return str(tmp_path / name), str(tmp_path / "out.ipynb")

    return write


def records(path):
    outputs = (o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", []))
    return [Record(output["data"][RECORD]) for output in outputs if RECORD in output.get("data", {})]


def test_values_of_every_kind_arrive(notebook):
    checks = """\
assert_eq!(mib, 24);
assert!(yes && !no);
assert_eq!(large, 5_000_000_000_i64);
assert_eq!(negative, -7);
assert_eq!(half, 0.5);
assert_eq!(tiny, 1e-300);
assert!(nan.is_nan());
assert_eq!(infinite, [f64::INFINITY, f64::NEG_INFINITY, 1.0]);
assert_eq!(none, None);
assert_eq!(some, [Some(1), None]);
assert_eq!(words, ["a", "b"]);
assert_eq!(nested, [vec![1], vec![2, 3]]);
assert_eq!(ages["Ada"], 36);
assert_eq!(label.chars().map(|c| c as i32).collect::<Vec<i32>>(), points);"""
    source, output = notebook(HOLD, checks)
    papermill.execute_notebook(
        source,
        output,
        parameters={
            "mib": 24,
            "yes": True,
            "no": False,
            "large": 5_000_000_000,
            "negative": -7,
            "half": 0.5,
            "tiny": 1e-300,
            "nan": math.nan,
            "infinite": [math.inf, -math.inf, 1],
            "none": None,
            "some": [1, None],
            "words": ["a", "b"],
            "nested": [[1], [2, 3]],
            "ages": {"Ada": 36, "Grace": 85},
            "label": TEXT,
            "points": [ord(character) for character in TEXT],
        },
        progress_bar=False,
    )
    (record,) = records(output)
    assert record.json["cell"]["label"] == "held"
    assert 24 * MiB <= record.kept("heap") < 25 * MiB


def test_the_command_line(notebook):
    source, output = notebook(HOLD)
    command = [sys.executable, "-m", "papermill", source, output, "-p", "mib", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "unknown parameter" not in done.stderr
    (record,) = records(output)
    assert 8 * MiB <= record.kept("heap") < 9 * MiB


def test_a_panic_fails_the_run(notebook):
    source, output = notebook(HOLD, '%memtrack\npanic!("on purpose");', 'println!("not reached")')
    with pytest.raises(PapermillExecutionError, match="on purpose"):
        papermill.execute_notebook(source, output, parameters={"mib": 2}, progress_bar=False)
    held, panicked = records(output)
    assert (held.status, panicked.status) == ("ok", "panic")
    assert nbformat.read(output, 4).cells[-1].outputs == []


def test_the_parameters_are_told(notebook):
    source, _ = notebook()
    told = papermill.inspect_notebook(source)
    assert told["mib"]["default"] == "1" and told["mib"]["help"] == "how much to hold"
    assert set(told) == {"mib", "label"}


@pytest.mark.parametrize("value", [[1, "a"], {"a": 1, "b": "c"}, 2**127, "\ud800"])
def test_what_rust_has_no_type_for_is_told(notebook, value):
    source, output = notebook()
    with pytest.raises(PapermillException):
        papermill.execute_notebook(
            source, output, parameters={"mib": value}, prepare_only=True, progress_bar=False
        )
