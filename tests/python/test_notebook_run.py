"""A notebook executed by nbclient, and by `memtrack-kernel run` with no Jupyter."""

import os
import subprocess

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from kernel_session import BINARY, CELL_TIMEOUT, KERNEL, RECORD, MiB, Record

HELD = "%memtrack --label held\nlet held = vec![1u8; 32 << 20];"
WRONG = "let wrong: u32 = \"text\";"


def notebook(*cells):
    metadata = {
        "kernelspec": {"name": KERNEL, "display_name": "Rust (memtrack)", "language": "rust"}
    }
    texts = [new_code_cell(cell) for cell in cells]
    return new_notebook(cells=[new_markdown_cell("# A notebook"), *texts], metadata=metadata)


def records(executed):
    """All records in the outputs of a notebook, each checked."""
    outputs = (output for cell in executed.cells for output in cell.get("outputs", []))
    return [Record(output["data"][RECORD]) for output in outputs if RECORD in output.get("data", {})]


def check_executed(executed):
    nbformat.validate(executed)
    markdown, held, printed, result = executed.cells
    assert markdown.source == "# A notebook"
    assert [cell.execution_count for cell in (held, printed, result)] == [1, 2, 3]
    assert [output.text for output in printed.outputs] == ["33554432\n"]
    assert [output.data["text/plain"] for output in result.outputs] == ["7"]
    (record,) = records(executed)
    assert record.status == "ok"
    assert record.json["cell"]["label"] == "held"
    assert 32 * MiB <= record.kept("heap") < 33 * MiB
    # Above it may stand the line that says how long Rust took to start.
    output = held.outputs[-1]
    assert "heap" in output.data["text/plain"] and "<table" in output.data["text/html"]


def test_nbclient_executes_a_notebook():
    unexecuted = notebook(HELD, 'println!("{}", held.len())', "3 + 4")
    client = nbclient.NotebookClient(unexecuted, timeout=CELL_TIMEOUT, kernel_name=KERNEL)
    check_executed(client.execute())


def test_nbclient_stops_at_an_error():
    unexecuted = notebook(WRONG, 'println!("not reached")')
    client = nbclient.NotebookClient(unexecuted, timeout=CELL_TIMEOUT, kernel_name=KERNEL)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="mismatched types"):
        client.execute()
    assert unexecuted.cells[2].outputs == []


@pytest.fixture
def run(tmp_path):
    """Runs a notebook with the binary alone; returns the process and the executed notebook."""

    def run(unexecuted, *options):
        source, output = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
        nbformat.write(unexecuted, source)
        before = source.read_bytes()
        # Nothing of Jupyter: no environment of its own, an empty data folder.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JUPYTER", "VIRTUAL_ENV"))
        }
        process = subprocess.run(
            [BINARY, "run", source, "--output", output, *options],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert source.read_bytes() == before, "the notebook itself was changed"
        return process, nbformat.read(output, as_version=4)

    return run


def test_run_executes_a_notebook(run):
    process, executed = run(notebook(HELD, 'println!("{}", held.len())', "3 + 4"))
    assert process.returncode == 0, process.stderr
    check_executed(executed)
    assert "33554432" in process.stdout
    assert "heap" in process.stdout and "32.0 MiB" in process.stdout


def test_run_stops_at_an_error(run):
    process, executed = run(notebook(WRONG, 'println!("not reached")'))
    assert process.returncode == 1
    assert "mismatched types" in process.stdout
    assert [output.output_type for output in executed.cells[1].outputs] == ["error"]
    assert executed.cells[2].outputs == []


def test_run_allows_errors(run):
    process, executed = run(
        notebook('%memtrack\npanic!("on purpose");', 'println!("reached")'), "--allow-errors"
    )
    # The code still says that a cell failed.
    assert process.returncode == 1, process.stderr
    assert "reached" in process.stdout
    assert executed.cells[2].outputs[0].text == "reached\n"
    (record,) = records(executed)
    assert record.status == "panic"


def test_run_tells_what_is_wrong_with_its_file(run, tmp_path):
    (tmp_path / "broken.ipynb").write_text("{ not json")
    for name in ("broken.ipynb", "absent.ipynb"):
        process = subprocess.run(
            [BINARY, "run", tmp_path / name], capture_output=True, text=True, timeout=60
        )
        assert process.returncode != 0
        assert name in process.stderr
