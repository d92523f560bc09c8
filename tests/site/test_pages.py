"""Every page: quiet, accessible in both color schemes, and fit for a phone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from watched import Watched

PHONE = 360  # pixels

# Everything that axe checks by default, and two rules that it does not. What repeats is taken out
# before, thousands of nodes: the insides of formulas, whose color is that of the text around
# them, and the tokens of code and signatures whose kinds, hence colors, were all seen before.
RUN_AXE = """(colors) => {
    const seen = new Set();
    for (const block of document.querySelectorAll("pre, dt.sig")) {
        const kinds = [...block.querySelectorAll("span")].map((token) => token.className);
        if (seen.size && kinds.every((kind) => seen.has(kind))) block.textContent += "";
        kinds.forEach((kind) => seen.add(kind));
    }
    document.querySelectorAll("mjx-math").forEach((formula) => formula.replaceWith("formula"));
    return axe.run(document, {
        resultTypes: ["violations"],
        preload: false, // it would ask for style sheets at wrong addresses
        ...(colors ? {runOnly: ["color-contrast", "link-in-text-block"]} : {rules: {
            "label-content-name-mismatch": {enabled: true}, "target-size": {enabled: true}}}),
    });
}"""

WIDEST = """() => {
    const wide = [...document.querySelectorAll("body *")].filter((node) =>
        node.getBoundingClientRect().right > innerWidth + 1 &&
        !node.closest("svg, pre, table, .math, mjx-container, .bd-sidebar"));
    return [document.documentElement.scrollWidth, wide.slice(0, 5).map((node) =>
        node.tagName + "." + node.className)];
}"""


@pytest.fixture(scope="session")
def axe_source() -> str:
    """axe-core, out of the package that brings it along."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe_source: str, *, only_colors: bool = False) -> list[str]:
    """What axe finds on the page as it is."""
    page.evaluate(axe_source)
    result: dict[str, Any] = page.evaluate(RUN_AXE, only_colors)
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_quiet_and_accessible(
    page_name: str, scheme: str, open_scheme: Callable[[str], Watched], axe_source: str
) -> None:
    watched = open_scheme(scheme)
    watched.page.set_viewport_size({"width": 1280, "height": 900})
    page = watched.open(page_name)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    # The schemes differ in nothing but colors: the dark one needs only the rules about them.
    assert violations(page, axe_source, only_colors=scheme == "dark") == []
    assert watched.outside == [], "the page asks something of the network"
    assert watched.errors == []


def test_page_fits_a_phone(page_name: str, open_scheme: Callable[[str], Watched]) -> None:
    watched = open_scheme("light")
    watched.page.set_viewport_size({"width": PHONE, "height": 740})
    width, culprits = watched.open(page_name).evaluate(WIDEST)
    assert width <= PHONE, culprits


def test_images_have_alt_text(page_name: str, site: Path) -> None:
    """Longer than a word, unless the image is an ornament."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((site / page_name).read_text(encoding="utf-8"), "html.parser")
    images = soup.select("article img, .bd-article img")
    bad = [str(image)[:200] for image in images if len(str(image.get("alt", "")).split()) < 3]
    assert bad == []


def test_formulas_are_set_without_a_server(site: Path, watched: Watched) -> None:
    page = watched.open((site / "book" / "notation.html").as_uri())
    assert page.locator("mjx-container").count() > 20
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("document.fonts.check('1em MJXTEX')")
    assert (watched.outside, watched.errors) == ([], [])


def test_search_finds_without_the_network(watched: Watched) -> None:
    page = watched.open("search.html?q=partition+unity")
    page.wait_for_selector("#search-results li a")
    links = page.locator("#search-results li a").all_text_contents()
    assert "B-splines" in " ".join(links)
    assert (watched.outside, watched.errors) == ([], [])


# The checks above can fail ---------------------------------------------------------------------


def test_a_request_to_the_outside_is_seen(watched: Watched) -> None:
    page = watched.open("search.html")
    page.evaluate("fetch('http://outside.invalid/x.js').catch(() => null)")
    assert watched.outside == ["http://outside.invalid/x.js"]
    assert watched.errors != []


def test_faults_are_found(watched: Watched, axe_source: str) -> None:
    page = watched.open("search.html")
    assert violations(page, axe_source) == []
    page.evaluate(
        """() => document.querySelector("main").insertAdjacentHTML("beforeend",
        "<img src='_static/favicon.svg'><p style='color: #ccc; background: #fff'>faint</p>" +
        "<p style='width: 2000px'>wide</p>")"""
    )
    found = " ".join(violations(page, axe_source))
    assert "image-alt" in found
    assert "color-contrast" in found
    assert page.evaluate(WIDEST)[0] > 1280
