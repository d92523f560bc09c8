"""One browser for all checks of the built site, and a server that only this machine can reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from watched import SITE, Watched, give_up, page_names

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A root user cannot run Chromium's sandbox; the rest keeps the browser itself off the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", page_names())


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (SITE / "index.html").exists():
        give_up("the site is not built: run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    """The site's address on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, from $CHROME or from the path."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        give_up(f"no browser checks: none of {', '.join(BROWSERS)} is installed, $CHROME is empty")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def open_scheme(browser: Browser, server: str) -> Iterator[Callable[[str], Watched]]:
    """A function from "light" or "dark" to that scheme's page, which all checks share."""
    with contextlib.ExitStack() as stack:
        pages: dict[str, Watched] = {}

        def watched(scheme: str) -> Watched:
            if scheme not in pages:
                context = browser.new_context(
                    color_scheme=scheme,  # type: ignore[arg-type]
                    viewport={"width": 1280, "height": 900},
                )
                stack.callback(context.close)
                pages[scheme] = Watched(context.new_page(), server)
            return pages[scheme]

        yield watched


@pytest.fixture
def watched(open_scheme: Callable[[str], Watched]) -> Watched:
    """The page of the light scheme, at the usual size."""
    light = open_scheme("light")
    light.page.set_viewport_size({"width": 1280, "height": 900})
    return light
