"""Executed notebooks as pages and PDF, and what is left of a table without styles."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from playwright.sync_api import expect

from lab import KERNELSPECS
from looks import OVERFLOWING, check_alignment, contrast

RECORD = "application/vnd.memtrack.v1+json"
SPIKE = '%memtrack --label "spike"\n{ std::hint::black_box(vec![2u8; 256 << 20]); }'


def convert(file, *options):
    """Runs nbconvert on a file; what it makes lies beside it."""
    command = [sys.executable, "-m", "nbconvert", str(file), *options]
    environment = {**os.environ, "JUPYTER_PATH": str(KERNELSPECS)}
    subprocess.run(command, check=True, capture_output=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that nbconvert executed: one tracked cell."""
    file = tmp_path_factory.mktemp("static") / "spike.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SPIKE)])
    notebook.metadata.kernelspec = {"name": "rust-memtrack", "display_name": "", "language": "rust"}
    nbformat.write(notebook, file)
    convert(file, "--to", "notebook", "--execute", "--inplace")
    return file


def drawn(file):
    """The HTML of the notebook's table."""
    outputs = nbformat.read(file, as_version=4).cells[0].outputs
    (table,) = (output.data["text/html"] for output in outputs if RECORD in output.get("data", {}))
    return table


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_made_by_nbconvert(executed, page, theme):
    convert(executed, "--to", "html", "--theme", theme, "--output", theme)
    # The page asks for scripts of formulas and diagrams from the network, which is none of ours.
    page.route(re.compile("^https?://"), lambda route: route.abort())
    page.goto((executed.parent / f"{theme}.html").as_uri())
    table = page.locator(".jp-OutputArea-output table")
    rows = check_alignment(table)
    assert rows[0][""] == "process RAM" and rows[0]["temporary"] == "256 MiB"
    assert contrast(table.locator("b")) >= 4.5
    assert contrast(table.locator("td").first) >= 4.5
    assert table.evaluate(OVERFLOWING, ".jp-OutputArea-output") == []


def test_a_pdf_printed_by_the_browser(executed, page, tmp_path):
    """As nbconvert's `webpdf` does it: the page of nbconvert, printed. The table must fit the paper."""
    convert(executed, "--to", "html", "--output", "paper")
    page.route(re.compile("^https?://"), lambda route: route.abort())
    page.goto((executed.parent / "paper.html").as_uri())
    page.emulate_media(media="print")
    # A4 at 96 pixels an inch, less Chromium's margins of 0.4 inches.
    page.set_viewport_size({"width": 794 - 77, "height": 1100})
    table = page.locator("table")
    check_alignment(table)
    assert table.evaluate(OVERFLOWING, "body") == []
    expect(table.locator("b")).to_be_visible()
    assert page.pdf(path=tmp_path / "paper.pdf", format="A4").startswith(b"%PDF")


def test_without_any_style_a_table_still_reads_right(executed, page):
    """GitHub removes `style`, and keeps `align`, `<b>` and tables."""
    page.set_content(re.sub(r' style="[^"]*"', "", drawn(executed)))
    assert "style" not in page.locator("div").first.evaluate("element => element.outerHTML")
    rows = check_alignment(page.locator("table"))
    assert rows[0][""] == "process RAM" and rows[0]["kept"] == "≈0"
    expect(page.locator("table b")).to_have_text(rows[0]["peak"])
