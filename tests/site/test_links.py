"""Every internal link, anchor and file of the site leads somewhere. Needs no browser."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(str(node["id"]) for node in soup(path).select("[id]"))


def broken(path: Path, site: Path) -> list[str]:
    """Links of a page that lead nowhere inside the site."""
    bad = []
    for node in soup(path).select("[href], [src]"):
        link = str(node.get("href", node.get("src")))
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or link in ("", "#"):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        fragment = unquote(parts.fragment) if target.suffix == ".html" else ""
        exists = target.is_relative_to(site.resolve()) and target.exists()
        if not exists or (fragment and fragment not in anchors(target)):
            bad.append(link)
    return bad


def test_links_resolve(page_name: str, site: Path) -> None:
    assert broken((site / page_name).resolve(), site) == []


def test_anchors_are_unique(page_name: str, site: Path) -> None:
    found = [str(node["id"]) for node in soup((site / page_name).resolve()).select("[id]")]
    assert sorted(found) == sorted(set(found))


def test_the_front_door_leads_in(site: Path) -> None:
    refresh = soup(site / "index.html").select_one("meta[http-equiv]")
    assert refresh is not None
    assert (site / str(refresh["content"]).split("=", 1)[1].strip("'\"")).exists()


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [("#here", False), ("#gone", True), ("a.html", False), ("b.html", True), ("a.html#x", True)],
)
def test_broken_links_are_found(tmp_path: Path, link: str, is_broken: bool) -> None:
    page = tmp_path / "a.html"
    page.write_text(f"<p id='here'><a href='{link}'>link</a></p>", encoding="utf-8")
    soup.cache_clear()
    anchors.cache_clear()
    assert (broken(page, tmp_path) == [link]) is is_broken
