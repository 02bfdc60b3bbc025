"""One JupyterLab and one Chromium for all tests; a test that fails leaves a picture."""

import re

import pytest
from playwright.sync_api import sync_playwright

from lab import ROOT, Server, chromium, find_browser

PICTURES = ROOT / "target" / "browser-failures"

# Far above what the slowest test needs: a test that reaches it hangs.
TEST_TIMEOUT = 300


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


def pytest_sessionstart(session):
    if find_browser() is None:
        pytest.exit("no Chromium is installed: install it, or name one in MEMTRACK_CHROMIUM", 4)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    browser = item.funcargs.get("browser")
    if report.failed and browser is not None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", item.name).strip("-")
        for number, page in enumerate(page for context in browser.contexts for page in context.pages):
            file = PICTURES / f"{name}-{number}.png"
            page.screenshot(path=file)
            report.sections.append(("picture", str(file)))
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page of 1200 pixels' width."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    yield page
    page.close()
