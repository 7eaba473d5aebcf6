"""Fixtures of the tests in a browser."""

import shutil
from multiprocessing import active_children
from pathlib import Path

import pytest

from attnlab.pipelines.replay import replay
from attnlab.report.page.write import write_report


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, driven by playwright; nothing is downloaded for it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()
        # a process forked since holds the driver's pipe open, so that its end would be waited for
        for left in active_children():
            left.kill()


@pytest.fixture(scope="session")
def expect(browser):
    """Assertions that retry until the page fulfils them; its policy forbids injected scripts."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture(scope="session")
def report(run, tmp_path_factory) -> Path:
    """The page of the finished run."""
    return write_report(run, replay(run), tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def visit(browser):
    """Open a page, and hold against it in the end what it complained about and asked for."""
    pages, troubles = [], []

    def open_page(path: Path, fragment: str = "", **options):
        page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or troubles.append(asked.url))
        page.goto(f"{path.as_uri()}{fragment}")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert troubles == []
