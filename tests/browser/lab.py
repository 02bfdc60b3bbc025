"""JupyterLab with our kernel, and Chromium that looks at it, so that a test reads as a script.

Debian's Chromium is driven: the browsers that Playwright would download are not needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
from playwright.sync_api import expect

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELSPECS = ROOT / "target" / "jupyter" / "share" / "jupyter"
KERNEL = "rust-memtrack"

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"

# A first cell waits for evcxr's start and a compiler on a busy machine of two cores. In milliseconds,
# as all times of Playwright.
CELL_TIMEOUT = 120_000
PAGE_TIMEOUT = 60_000

# The prompt of a cell that has ended.
NUMBERED = re.compile(r"^\[\d+\]:$")

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find_browser():
    """The path of an installed Chromium, or None."""
    named = os.environ.get("MEMTRACK_CHROMIUM")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def chromium(playwright):
    """The installed Chromium, without what needs a display, a GPU or a network."""
    browser = playwright.chromium.launch(
        executable_path=find_browser(),
        # Chromium has no sandbox for root, as whom containers and continuous integration run.
        args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
    )
    yield browser
    browser.close()


def exactly(text):
    """A pattern for the whole of a text."""
    return re.compile(f"^{re.escape(text)}$")


def code(source):
    """A cell of Rust."""
    return nbformat.v4.new_code_cell(source)


class Server:
    """A Jupyter server of its own, on a folder of its own: no settings of the user take part."""

    def __init__(self, folder):
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self._settings = folder / "settings"
        self._token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "server.log"
        self._set(
            "@jupyterlab/apputils-extension/notification",
            {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
        )
        # All cells stand in the page, also those that are scrolled out of sight.
        self._set("@jupyterlab/notebook-extension/tracker", {"windowingMode": "none"})
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(KERNELSPECS),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        }
        options = [
            f"--ServerApp.root_dir={self.files}",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self._token}",
            "--ServerApp.open_browser=False",
            "--allow-root",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        self._wait()

    def _set(self, plugin, values):
        file = self._settings / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"JupyterLab ended:\n{self.log.read_text()}"
            try:
                self.get("/api/status")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"JupyterLab does not answer:\n{self.log.read_text()}")

    def get(self, path):
        """What the server's own interface answers to GET."""
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"token {self._token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self):
        """Ends the server, and with it its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def write(self, name, cells):
        """Makes a notebook of our kernel of these cells; nobody has trusted it."""
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata.kernelspec = {
            "name": KERNEL,
            "display_name": "Rust (memtrack)",
            "language": "rust",
        }
        nbformat.write(notebook, self.files / name)
        return name

    def open(self, page, name, theme=LIGHT):
        """Opens a notebook in JupyterLab and waits until its kernel is ready."""
        self._set("@jupyterlab/apputils-extension/themes", {"theme": theme})
        page.goto(f"{self.url}/lab/tree/{name}?reset&token={self._token}")
        notebook = Notebook(page)
        notebook.cell(0).wait_for(timeout=PAGE_TIMEOUT)
        notebook.wait_until_idle()
        return notebook


class Notebook:
    """The notebook that a page shows."""

    def __init__(self, page):
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:visible")

    def cell(self, number):
        """A cell, counted from 0."""
        return self.panel.locator(".jp-Notebook .jp-Cell").nth(number)

    def editor(self, number):
        """Where a cell's text is written."""
        return self.cell(number).locator(".cm-content")

    def outputs(self, number):
        """What stands under a cell."""
        return self.cell(number).locator(".jp-OutputArea-output")

    def tables(self, number):
        """The tables under a cell."""
        return self.outputs(number).locator("table")

    def prompt(self, number):
        """A cell's prompt, such as `[1]:` or `[*]:`."""
        return self.cell(number).locator(".jp-InputArea-prompt")

    def wait_until_idle(self):
        """Waits until the status bar says that our kernel is there and idle. (The indicator of the
        toolbar says so before there is a kernel.)"""
        bar = self.page.locator("#jp-main-statusbar")
        expect(bar).to_contain_text("Rust (memtrack) | Idle", timeout=CELL_TIMEOUT)

    def write(self, number, text):
        """Replaces a cell's text, key by key, so that what completes by itself does."""
        self.editor(number).click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.type(text)

    def begin(self, number):
        """Starts a cell by Shift-Enter and waits until its prompt is `[*]`, or already a new number."""
        before = self.prompt(number).inner_text().strip()
        self.editor(number).click()
        self.page.keyboard.press("Shift+Enter")
        expect(self.prompt(number)).not_to_have_text(before)

    def run(self, number):
        """Runs a cell to its end."""
        self.begin(number)
        self.wait_for(number)

    def run_all(self):
        """Runs all cells to the end of the last."""
        self.menu("Run", "Run All Cells")
        self.wait_for(self.panel.locator(".jp-CodeCell").count() - 1)
        self.wait_until_idle()

    def wait_for(self, number):
        """Waits until a cell that was started has ended."""
        expect(self.prompt(number)).to_have_text(NUMBERED, timeout=CELL_TIMEOUT)

    def save(self):
        """Writes the notebook's file."""
        self.page.keyboard.press("Control+s")
        expect(self.page.locator(".lm-DockPanel-tabBar .jp-mod-dirty")).to_have_count(0)

    def menu(self, *path):
        """Chooses from the menus, such as `("Run", "Run All Cells")`."""
        page = self.page
        page.locator(".lm-MenuBar-itemLabel", has_text=exactly(path[0])).click()
        for entry in path[1:]:
            page.locator(".lm-Menu-itemLabel:visible", has_text=exactly(entry)).last.click()
