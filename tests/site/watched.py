"""What the checks of the site share besides fixtures: where it is, and a page that is watched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tools.sources import ROOT

SITE = Path(os.environ.get("KANLITE_SITE", ROOT / "_build" / "html"))
CI = os.environ.get("CI", "").lower() == "true"


def page_names() -> list[str]:
    """All pages of the site but for redirects."""
    pages = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
    return [
        path.relative_to(SITE).as_posix()
        for path in pages
        if 'http-equiv="refresh"' not in path.read_text(encoding="utf-8").lower().replace("'", '"')
    ]


def give_up(reason: str) -> None:
    """Skip where something is missing; fail in CI, where nothing may be."""
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)


class Watched:
    """A browser page that remembers what went wrong on it."""

    def __init__(self, page: Page, server: str) -> None:
        self.page = page
        self.server = server
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self._request(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self._line(line.type, f"{line.text} {line.location}"))
        page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))

    def _line(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def _request(self, url: str) -> None:
        if not url.startswith((f"{self.server}/", "file:", "data:", "blob:", "about:")):
            self.outside.append(url)

    def open(self, name: str) -> Page:
        """Load a page of the site and wait until its formulas are set."""
        self.outside.clear()
        self.errors.clear()
        self.page.goto(name if "://" in name else f"{self.server}/{name}", wait_until="load")
        self.page.evaluate("window.MathJax?.startup?.promise?.then(() => true)")
        return self.page
