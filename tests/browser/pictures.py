"""Makes the pictures of the README: real cells in a real JupyterLab, in both themes.

    target/venv-browser/bin/python tests/browser/pictures.py [FOLDER]

The folder is `notebooks/images` unless another is named. A picture is an entry of `PICTURES`.
"""

import pathlib
import sys
import tempfile

import nbformat
from playwright.sync_api import sync_playwright

from lab import DARK, LIGHT, ROOT, Server, chromium

NOTEBOOK = ROOT / "notebooks" / "01-first-cell.ipynb"

# For each picture what the source of its cell contains. The cells before it run too.
PICTURES = {
    "table": "a spike of 256 MiB",
    "report": "%memtrack report",
    "plot": "%memtrack plot",
}

# In pixels of the page; the pictures have twice as many, for screens that show them.
WIDTH, HEIGHT, SCALE = 1000, 1200, 2


def take(server, browser, folder, theme, suffix):
    """Runs the notebook in one theme and takes each picture of it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    cells = [cell for cell in cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs, cell.execution_count = [], None
    notebook = server.open(page, server.write(f"{suffix}.ipynb", cells), theme)
    # Without the list of files, and with no cell selected.
    page.keyboard.press("Control+b")
    places = {name: place_of(cells, text) for name, text in PICTURES.items()}
    for number in range(max(places.values()) + 1):
        notebook.run(number)
    # The cell after the last that ran is selected, and its frame would be in the picture.
    notebook.editor(0).click()
    for name, number in places.items():
        file = folder / f"{name}-{suffix}.png"
        notebook.cell(number).screenshot(path=file)
        print(f"{file} {file.stat().st_size // 1024} KiB")
    page.close()


def place_of(cells, text):
    """The number of the one cell whose source contains `text`."""
    (place,) = (number for number, cell in enumerate(cells) if text in cell.source)
    return place


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "notebooks" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mtlab") as place:
        server = Server(pathlib.Path(place))
        try:
            with sync_playwright() as playwright, chromium(playwright) as browser:
                take(server, browser, folder, LIGHT, "light")
                take(server, browser, folder, DARK, "dark")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
