"""JupyterLab as a user works with it: tables, help, interrupt, restart, themes, trust."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from lab import DARK, LIGHT, code
from looks import OVERFLOWING, check_alignment, contrast

SPIKE = """%memtrack --label "a spike of 256 MiB"
{
    let spike = vec![2u8; 256 << 20];
    println!("the last byte is {}", spike[spike.len() - 1]);
}"""
ENDLESS = "loop { std::thread::sleep(std::time::Duration::from_millis(10)); }"

# By their place in the notebook.
PID, TABLE, KEPT, FREED, REPORT, DOCTOR, SCRATCH, LOOP = range(8)
CELLS = [
    'println!("pid {}", std::process::id());',
    SPIKE,
    "%memtrack on\nlet kept = vec![1u8; 64 << 20];",
    "drop(kept);",
    "%memtrack off\n%memtrack report",
    "%memtrack doctor",
    "",
    ENDLESS,
]

# The least contrast of small text and of what is meant to be faint (WCAG 2, AA and its large text).
READABLE, FAINT_BUT_READABLE = 4.5, 3.0


@pytest.fixture(scope="module")
def notebook(server, browser):
    """A notebook in the light theme, all cells but the last two run."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    server.write("work.ipynb", [code(source) for source in CELLS])
    notebook = server.open(page, "work.ipynb", LIGHT)
    for number in range(SCRATCH):
        notebook.run(number)
    notebook.save()
    yield notebook
    page.close()


@pytest.fixture
def untrusted(server, notebook):
    """The file of the notebook that ran, changed by someone else since: JupyterLab does not trust it."""
    saved = server.files / "work.ipynb"
    content = nbformat.read(saved, as_version=4)
    content.cells.append(nbformat.v4.new_markdown_cell("From elsewhere."))
    nbformat.write(content, server.files / "elsewhere.ipynb")
    return "elsewhere.ipynb"


def check_table(notebook):
    """Asserts that the table of the spike is seen, in order, and whole."""
    table = notebook.tables(TABLE)
    expect(table).to_have_count(1)
    expect(table).to_be_visible()
    rows = {row[""]: row for row in check_alignment(table)}
    assert {"process RAM", "heap", "system RAM"} <= rows.keys()
    ram = rows["process RAM"]
    assert ram["kept"] == "≈0" and ram["temporary"] == "256 MiB", ram
    assert re.fullmatch(r"2\d\d MiB", ram["peak"]), ram
    # One number stands out.
    marked = table.locator("b")
    expect(marked).to_have_count(1)
    expect(marked).to_have_text(ram["peak"])
    return table


def check_colours(notebook):
    """Asserts that what is seen can be read, and that the number to look at is tinted."""
    table = notebook.tables(TABLE)
    assert contrast(table.locator("td").first) >= READABLE
    assert contrast(table.locator("b")) >= READABLE
    assert contrast(table.locator("th span").last) >= FAINT_BUT_READABLE
    tint = table.locator("b").evaluate("element => getComputedStyle(element).backgroundColor")
    assert tint == "rgba(70, 130, 240, 0.2)"


def test_tables_are_seen_aligned_and_whole(notebook):
    table = check_table(notebook)
    check_colours(notebook)
    assert table.evaluate(OVERFLOWING, ".jp-OutputArea-output") == []
    assert notebook.page.evaluate("document.scrollingElement.scrollWidth") <= 1200


def test_lines_and_report_name_what_was_kept_and_freed(notebook):
    expect(notebook.outputs(KEPT)).to_contain_text("(kept +64.0 MiB)")
    expect(notebook.outputs(FREED)).to_contain_text("(freed 64.0 MiB)")
    rows = check_alignment(notebook.tables(REPORT))
    assert [row["label"] for row in rows] == ["a spike of 256 MiB", "", ""]
    expect(notebook.tables(REPORT).locator("b").first).to_have_text(re.compile(r"\*2\d\d MiB"))
    assert rows[-1]["RAM kept"] in ("*+64.0 MiB", "−64.0 MiB")


def test_doctor_fits(notebook):
    output = notebook.outputs(DOCTOR).last
    expect(output).to_contain_text("What this machine lets memtrack measure")
    assert output.evaluate(OVERFLOWING, ".jp-OutputArea-output") == []


def test_a_narrow_window_shows_peaks_and_wraps_the_rest(notebook):
    page = notebook.page
    page.set_viewport_size({"width": 500, "height": 900})
    page.keyboard.press("Control+b")
    try:
        table = check_table(notebook)
        notebook.editor(TABLE).scroll_into_view_if_needed()
        # Names and peaks are seen without scrolling; the table scrolls in itself, nothing else does.
        expect(table.locator("b")).to_be_in_viewport(ratio=1)
        expect(table.locator("td").first).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 500
        below = table.locator("xpath=following-sibling::div")
        assert below.evaluate(OVERFLOWING, ".jp-OutputArea-output") == []
    finally:
        page.set_viewport_size({"width": 1200, "height": 900})
        page.keyboard.press("Control+b")


def test_tab_completes_a_magic(notebook):
    page = notebook.page
    notebook.write(SCRATCH, "%memtrack --")
    page.keyboard.press("Tab")
    entries = page.locator(".jp-Completer-item .jp-Completer-match")
    expect(entries).to_have_text(["--help", "--label", "--live", "--repeat", "--timeline", "--wide"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(notebook.editor(SCRATCH)).to_have_text("%memtrack --label")
    page.keyboard.type(" here\nlet more = ke")
    page.keyboard.press("Escape")
    expect(notebook.editor(SCRATCH)).to_have_text("%memtrack --label herelet more = ke")


def test_tab_completes_the_values_of_an_option(notebook):
    page = notebook.page
    notebook.write(SCRATCH, "%memtrack report --sort al")
    page.keyboard.press("Tab")
    expect(page.locator(".jp-Completer-item .jp-Completer-match")).to_have_text(["allocated"])
    page.keyboard.press("Enter")
    expect(notebook.editor(SCRATCH)).to_have_text("%memtrack report --sort allocated")


def test_shift_tab_shows_the_usage(notebook):
    page = notebook.page
    notebook.write(SCRATCH, "%memtrack report")
    page.keyboard.press("Shift+Tab")
    tooltip = page.locator(".jp-Tooltip")
    expect(tooltip).to_contain_text("Usage: %memtrack report [--sort peak|kept|allocated|vram]")
    expect(tooltip).to_contain_text("Example: %memtrack report --sort kept --cells 3:7")
    page.keyboard.press("Escape")


def test_the_usage_panel_shows_our_kernel(notebook):
    page = notebook.page
    tab = page.locator(".jp-SideBar .lm-TabBar-tab[title*='Kernel Usage' i]")
    tab.click()
    panel = page.locator("#jp-right-stack")
    try:
        # The memory of the kernel with all that it started, and the process that runs the cells.
        expect(panel).to_contain_text(re.compile(r"Memory: \d{3}(\.\d+)? MB"), timeout=20_000)
        pid = notebook.outputs(PID).last.inner_text().split()[1]
        expect(panel).to_contain_text(f"Process ID: {pid}")
    finally:
        tab.click()


def test_the_stop_button_interrupts_a_cell(notebook):
    notebook.begin(LOOP)
    expect(notebook.prompt(LOOP)).to_have_text("[*]:")
    notebook.page.locator(".jp-Toolbar [data-jp-item-name='interrupt']:visible").click()
    notebook.wait_for(LOOP)
    expect(notebook.outputs(LOOP)).to_contain_text("Interrupted")
    notebook.run(PID)
    expect(notebook.outputs(PID).last).to_contain_text("pid ")


def test_the_menu_restarts_the_kernel(notebook):
    notebook.write(SCRATCH, "let restarted = 1;")
    notebook.run(SCRATCH)
    notebook.menu("Kernel", "Restart Kernel…")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click()
    notebook.page.locator(".jp-Dialog").wait_for(state="detached")
    notebook.wait_until_idle()
    notebook.write(SCRATCH, "restarted")
    notebook.run(SCRATCH)
    # Numbers begin anew, and what was there is gone.
    expect(notebook.prompt(SCRATCH)).to_have_text("[1]:")
    expect(notebook.outputs(SCRATCH).last).to_contain_text("cannot find value `restarted`")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_an_untrusted_notebook_shows_its_tables(server, page, untrusted, theme):
    notebook = server.open(page, untrusted, theme)
    expect(page.locator(".jp-StatusItem-trust")).to_have_attribute("title", re.compile("not trusted"))
    check_table(notebook)
    check_colours(notebook)
    check_alignment(notebook.tables(REPORT))


def test_the_dark_theme(server, page, notebook):
    dark = server.open(page, "work.ipynb", DARK)
    assert dark.page.locator("body").get_attribute("data-jp-theme-light") == "false"
    check_table(dark)
    check_colours(dark)
