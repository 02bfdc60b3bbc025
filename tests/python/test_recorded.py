"""Records out of the session and back in: exports, reports on files, and runs side by side."""

import csv
import io
import json
import os
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kernel_session import BINARY, ROOT, MiB, Session, check_record

RECORDED = ROOT / "notebooks" / "recorded"

# The lid keeps the block below it from going back to the system, where the block lies in the heap.
CELLS = [
    "let started = true;",
    "%memtrack --label kept\nlet kept = vec![1u8; 32 << 20];",
    "%memtrack --label lidded\n"
    "let lid = { let block = vec![2u8; 24 << 20]; let lid = vec![3u8; 300 << 10]; "
    "drop(std::hint::black_box(block)); lid };",
    "%memtrack\nprintln!(\"{}\", kept.len() + lid.len());",
]

# glibc then takes large blocks from its heap, and never maps them.
ALL_IN_THE_HEAP = {"MALLOC_MMAP_MAX_": "0"}


def command(*arguments, code=0, **options):
    """Runs the binary; returns what it printed."""
    process = subprocess.run(
        [BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options
    )
    assert process.returncode == code, process.stdout + process.stderr
    return process


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One notebook, executed twice as it is and once with another setting of the allocator."""
    folder = tmp_path_factory.mktemp("runs")
    source = folder / "source.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in CELLS]), source)
    for name, settings in [("a", {}), ("again", {}), ("heap", ALL_IN_THE_HEAP)]:
        command("run", source, "--output", folder / f"{name}.ipynb", env={**os.environ, **settings})
    source.unlink()
    return folder


def differing(*files):
    """What `compare` marks, by the cell's label: the quantities with their differences."""
    text = command("compare", *files, "--format", "jsonl").stdout
    marked = {}
    for line in map(json.loads, text.splitlines()):
        if line["differs"]:
            marked.setdefault(line["label"], {})[line["quantity"]] = line["difference"]
    return marked


def test_a_run_differs_from_itself_in_nothing(runs):
    assert differing(runs / "a.ipynb", runs / "again.ipynb") == {}
    text = command("compare", runs / "a.ipynb", runs / "again.ipynb").stdout
    assert text.startswith("3 cells compared, no difference is more than noise\n")
    assert "all ran in the same environment" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_cell_that_differs_is_marked_and_no_other(runs):
    marked = differing(runs / "a.ipynb", runs / "heap.ipynb")
    assert set(marked) == {"lidded"}
    assert set(marked["lidded"]) == {"process RAM kept"}
    assert 23 * MiB < marked["lidded"]["process RAM kept"] < 26 * MiB
    text = command("compare", runs / "a.ipynb", runs / "heap.ipynb").stdout
    assert text.startswith("3 cells compared, 1 differs by more than noise: [3] lidded\n")
    assert "2 different environments" in text and "MALLOC_MMAP_MAX_=0" in text


def test_a_report_on_a_folder(runs, tmp_path):
    text = command("report", runs).stdout
    assert text.startswith(f"3 files in {runs}, 9 tracked cells, sorted by RAM peak\n")
    assert max(map(len, text.splitlines())) <= 100
    output = tmp_path / "report.html"
    command("report", runs, "--sort", "kept", "--output", output)
    page = output.read_text()
    assert page.startswith("<!DOCTYPE html>") and "lidded" in page
    assert "| file | cells |" in command("report", runs, "--format", "md").stdout
    rows = list(csv.DictReader(io.StringIO(command("report", runs, "--format", "csv").stdout)))
    assert {row["source"] for row in rows} == {str(runs / f"{name}.ipynb") for name in ("a", "again", "heap")}
    assert {row["execution_count"] for row in rows} == {"2", "3", "4"}
    one = command("report", runs / "a.ipynb").stdout
    assert "3 tracked cells" in one and "lidded" in one


def test_files_that_cannot_be_read_are_told_and_the_others_reported(runs, tmp_path):
    broken, empty = tmp_path / "broken.ipynb", tmp_path / "empty.ipynb"
    broken.write_text("{")
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), empty)
    process = command("report", runs, broken, empty, tmp_path / "none.ipynb", code=1)
    assert "3 files" in process.stdout
    for told in ("broken.ipynb is no valid JSON", "no record in", "none.ipynb cannot be read"):
        assert told in process.stdout, told
    # Where the result has no place for it, it is told beside.
    process = command("report", runs, broken, "--format", "jsonl", code=1)
    assert "broken.ipynb is no valid JSON" in process.stderr
    assert all(json.loads(line)["schema"] == 1 for line in process.stdout.splitlines())
    process = command("compare", broken, runs / "a.ipynb", code=1)
    assert "there is no baseline" in process.stderr
    process = command("compare", runs / "a.ipynb", empty, code=1)
    assert "only one recorded run" in process.stderr and "no record in" in process.stderr


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session that has run the same cells, in a folder with files to name."""
    folder = tmp_path_factory.mktemp("session")
    here = os.getcwd()
    os.chdir(folder)
    try:
        with Session() as session:
            for cell in CELLS:
                session.ok(cell)
            session.folder = folder
            yield session
    finally:
        os.chdir(here)


def shown(result):
    (bundle,) = result.displays
    return bundle["text/plain"]


def test_two_cells_side_by_side(session):
    text = shown(session.ok("%memtrack diff 2 3"))
    assert text.startswith("A [2] kept · B [3] lidded\n")
    (line,) = [line for line in text.splitlines() if line.startswith("heap kept")]
    assert "+32.0 MiB" in line and "*-31.7 MiB" in line
    failed = session.execute("%memtrack diff 2 99")
    assert "cell 99 was not tracked. Tracked cells: 2, 3, 4" in failed.error
    assert "not a cell's number" in session.execute("%memtrack diff 2 x").error


def test_this_session_beside_recorded_runs(session, runs):
    text = shown(session.ok(f"%memtrack compare '{runs / 'a.ipynb'}' '{runs / 'heap.ipynb'}'"))
    assert "A  this session" in text and "differs by more than noise: [3] lidded" in text
    assert "*+2" in text
    failed = session.execute("%memtrack compare none.ipynb")
    assert "none.ipynb cannot be read" in failed.error and "no recorded run" in failed.error


def test_exports(session):
    def export(name):
        return shown(session.ok(f"%memtrack export {name}"))

    assert export("x.jsonl").startswith("3 records written to x.jsonl (")
    assert export("x.jsonl").endswith(", replaced)")
    records = [json.loads(line) for line in (session.folder / "x.jsonl").read_text().splitlines()]
    assert [check_record(record)["cell"]["label"] for record in records] == ["kept", "lidded", None]
    facts = [record["environment"]["facts"] for record in records]
    assert facts[0]["ram_bytes"] > 0 and facts[1:] == [None, None]

    export("x.csv")
    rows = list(csv.DictReader((session.folder / "x.csv").open(newline="")))
    (row,) = [row for row in rows if row["label"] == "kept" and row["memory"] == "heap"]
    assert 32 * MiB <= int(row["kept"]) < 33 * MiB

    export("'two words.md'")
    assert "| \\[3\\] | lidded |" in (session.folder / "two words.md").read_text()
    export("x.html")
    assert "<!DOCTYPE html>" in (session.folder / "x.html").read_text()


def test_exports_that_cannot_be_written_say_why(session):
    (session.folder / "kept.csv").write_text("mine")
    for line, reason in [
        ("x.xlsx", "`.xlsx` is no format to export to: use .jsonl, .csv, .md or .html"),
        ("none/x.csv", "there is no folder none"),
        ("", "missing"),
    ]:
        assert reason in session.execute(f"%memtrack export {line}").error
    (session.folder / "folder.csv").mkdir(exist_ok=True)
    assert "is a folder" in session.execute("%memtrack export folder.csv").error
    assert (session.folder / "kept.csv").read_text() == "mine"


def test_file_names_are_completed(session):
    folder = session.folder / "näme"
    folder.mkdir()
    for name in ("a.ipynb", "two words.ipynb", "b.jsonl", "c.txt", ".hidden.ipynb"):
        (folder / name).touch()
    (folder / "sub dir").mkdir()

    def complete(line):
        reply = session.request(session.client.complete(line, len(line)))
        start, end = reply["cursor_start"], reply["cursor_end"]
        return [line[:start] + match + line[end:] for match in reply["matches"]]

    assert complete("%memtrack compare nä") == ["%memtrack compare näme/"]
    assert complete("%memtrack compare näme/") == [
        f"%memtrack compare {word}"
        for word in ("'näme/sub dir/", "'näme/two words.ipynb'", "näme/a.ipynb", "näme/b.jsonl")
    ]
    assert complete("%memtrack compare x.ipynb 'näme/two w") == [
        "%memtrack compare x.ipynb 'näme/two words.ipynb'"
    ]
    assert complete("%memtrack export näme/b") == ["%memtrack export näme/b.jsonl"]
    # What was completed is understood.
    (line,) = complete("%memtrack compare 'näme/two w")
    assert "two words.ipynb is no valid JSON" in session.execute(line).error


def test_the_recorded_runs_differ_where_the_notebook_says():
    plain = RECORDED / "07-plain.ipynb"
    again = differing(plain, RECORDED / "07-plain-again.ipynb")
    assert again == {}

    pages = differing(plain, RECORDED / "07-huge-pages.ipynb")
    assert set(pages) == {"touched here and there", "strings"}
    assert pages["touched here and there"]["process RAM kept"] > 250 * MiB

    arena = differing(plain, RECORDED / "07-one-arena.ipynb")
    assert set(arena) == {"four threads", "16 MiB for each core"}
    assert arena["four threads"]["process RAM kept"] > 16 * MiB
    assert arena["16 MiB for each core"]["process RAM rise"] < -16 * MiB

    limit = differing(plain, RECORDED / "07-limit-1GiB.ipynb")
    assert set(limit) == {"a mapped file"}
    assert limit["a mapped file"]["process RAM rise"] < -100 * MiB
    text = command("compare", plain, RECORDED / "07-limit-1GiB.ipynb").stdout
    assert "container limit" in text and "1.00 GiB" in text


def test_the_recorded_runs_are_of_the_notebooks_code():
    def code(path):
        cells = nbformat.read(path, as_version=4).cells
        return [cell for cell in cells if cell.cell_type == "code"]

    *source, last = code(RECORDED.parent / "07-compare.ipynb")
    # It compares with these files, so it cannot be in them.
    assert "%memtrack compare recorded/" in last.source
    for path in sorted(RECORDED.glob("*.ipynb")):
        recorded = code(path)
        assert [cell.source for cell in recorded] == [cell.source for cell in source], path
        outputs = [output for cell in recorded for output in cell.outputs]
        assert all(output.output_type != "error" for output in outputs), path
        # Others see these files: where they were made is nobody's business.
        assert str(ROOT) not in path.read_text() and "/tmp/" not in path.read_text()
