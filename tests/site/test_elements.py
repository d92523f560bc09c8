"""What the reader can touch, and the boxes of claims on trial, in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from playwright.sync_api import Locator, Page
from scipy.interpolate import BSpline
from watched import Watched

from tools.sources import ROOT

CHAPTER = "book/splines/b-splines.html"
VERDICTS = {"true", "true with conditions", "misleading", "false", "open"}


def random_knots(rng: np.random.Generator, degree: int) -> np.ndarray:
    """Knots with multiplicities of up to degree + 1, and ends repeated or continued."""
    breaks = np.sort(rng.uniform(-2, 2, size=6))
    times = np.array([1, *rng.integers(1, degree + 2, size=4), 1])
    pad = np.arange(1, degree + 1) * (0.0 if rng.random() < 0.5 else 0.3)
    knots = np.repeat(breaks, times)
    return np.concatenate([breaks[0] - pad[::-1], knots, breaks[-1] + pad])


@pytest.mark.parametrize("degree", range(6))
def test_evaluator_agrees_with_scipy(watched: Watched, degree: int) -> None:
    """At random points, at the knots (limits from the right), and at both ends of the domain."""
    page = watched.page if watched.page.url.endswith(CHAPTER) else watched.open(CHAPTER)
    rng = np.random.default_rng(degree)
    for _ in range(4):
        knots = random_knots(rng, degree)
        n = len(knots) - degree - 1
        low, high = knots[degree], knots[n]
        inside = knots[(knots >= low) & (knots <= high)]
        x = np.concatenate([rng.uniform(low, high, size=50), inside])
        coef = rng.normal(size=n)
        here = page.evaluate(
            """([x, t, c, k]) => x.map((v) => [kanliteSplines.evaluate(v, t, c, k),
                ...kanliteSplines.basis(v, t, k)])""",
            [x.tolist(), knots.tolist(), coef.tolist(), degree],
        )
        table = BSpline.design_matrix(x, knots, degree).toarray()
        wanted = np.column_stack([table @ coef, table])
        assert np.abs(np.array(here) - wanted).max() < 1e-9 * np.abs(wanted).max()


@pytest.fixture
def playground(watched: Watched) -> Locator:
    """The element, scrolled into view, as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=bspline-playground]")
    element.scroll_into_view_if_needed()
    element.get_by_role("button", name="Reset").click()
    return element


def curve(playground: Locator) -> str:
    """The drawn path of the spline."""
    return str(playground.locator(".playground-curve").get_attribute("d"))


def state(playground: Locator) -> dict[str, Any]:
    """Degree, knots, coefficients and position, out of the element."""
    found: dict[str, Any] = json.loads(
        playground.evaluate("(node) => JSON.stringify({...node.kanlite, active: null})")
    )
    return found


def shown_sum(playground: Locator) -> float:
    """The values beside the cursor, added up."""
    shown = playground.locator("[data-value]").evaluate_all(
        "(nodes) => nodes.map((node) => Number(node.dataset.value))"
    )
    return float(sum(shown))


def drag(page: Page, handle: Locator, dx: float, dy: float) -> None:
    """Take a handle with the mouse and move it by so many pixels."""
    box = handle.locator(".playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def test_mouse_moves_a_coefficient(playground: Locator, watched: Watched) -> None:
    before, old = curve(playground), state(playground)
    drag(watched.page, playground.locator("[data-coef='3']"), 0, 40)
    new = state(playground)
    assert curve(playground) != before
    assert new["coef"][3] < old["coef"][3] - 0.3
    assert new["coef"][:3] + new["coef"][4:] == old["coef"][:3] + old["coef"][4:]
    assert shown_sum(playground) == pytest.approx(1, abs=1e-12)


def test_mouse_moves_a_knot_onto_its_neighbor(playground: Locator, watched: Watched) -> None:
    before, old = curve(playground), state(playground)
    here, there = (playground.locator(f"[data-knot='{i}']") for i in (5, 6))
    boxes = [handle.bounding_box() for handle in (here, there)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    drag(watched.page, here, boxes[1]["x"] - boxes[0]["x"] - 2, 0)
    new = state(playground)
    assert new["knots"][5] == new["knots"][6] == old["knots"][6]
    assert curve(playground) != before
    report = playground.locator(".playground-smooth").inner_text()
    assert "multiplicity 2: the curve is C¹" in report
    assert shown_sum(playground) == pytest.approx(1, abs=1e-12)
    # Out of the pair, the one that can move goes where the mouse pulls.
    drag(watched.page, here, 20, 0)
    assert state(playground)["knots"][5] < state(playground)["knots"][6]


@pytest.mark.parametrize("name", ["coef", "knot"])
def test_keyboard_moves_handles(playground: Locator, watched: Watched, name: str) -> None:
    before = curve(playground)
    handle = playground.locator(f"[data-{name}='4']")
    start = float(str(handle.get_attribute("aria-valuenow")))
    handle.focus()
    for key in ("ArrowRight", "ArrowUp", "PageUp"):
        watched.page.keyboard.press(key)
        now = float(str(handle.get_attribute("aria-valuenow")))
        assert now > start
        start = now
    assert curve(playground) != before
    for key, end in (("Home", "aria-valuemin"), ("End", "aria-valuemax")):
        watched.page.keyboard.press(key)
        assert handle.get_attribute("aria-valuenow") == handle.get_attribute(end)
    watched.page.keyboard.press("ArrowLeft")
    assert float(str(handle.get_attribute("aria-valuenow"))) < float(
        str(handle.get_attribute("aria-valuemax"))
    )
    assert shown_sum(playground) == pytest.approx(1, abs=1e-12)


def test_sum_is_one_inside_the_domain_only(playground: Locator, watched: Watched) -> None:
    cursor = playground.get_by_role("slider", name="Position x")
    cursor.focus()
    assert len(playground.locator("[data-value]").all()) == state(playground)["degree"] + 1
    for _ in range(9):  # up to x = 1, the end of the domain, which belongs to it
        watched.page.keyboard.press("PageUp")
        assert shown_sum(playground) == pytest.approx(1, abs=1e-12)
        assert "outside" not in playground.locator(".playground-where").inner_text()
    watched.page.keyboard.press("End")
    assert state(playground)["cursor"] > 1
    assert "outside the domain" in playground.locator(".playground-where").inner_text()
    assert shown_sum(playground) < 0.5


@pytest.mark.parametrize("degree", range(6))
@pytest.mark.parametrize("preset", ["uniform", "clamped", "double", "full"])
def test_every_choice_keeps_its_promises(playground: Locator, degree: int, preset: str) -> None:
    playground.get_by_role("combobox", name="Degree").select_option(str(degree))
    playground.get_by_role("combobox", name="Knots").select_option(preset)
    now = state(playground)
    knots, n = now["knots"], len(now["knots"]) - degree - 1
    assert len(now["coef"]) == n
    assert knots == sorted(knots)
    assert all(knots[i] < knots[i + degree + 1] for i in range(n))  # each has a support
    assert shown_sum(playground) == pytest.approx(1, abs=1e-12)
    assert "NaN" not in playground.locator(".playground-plot").inner_html()


def test_knots_never_lose_a_support(playground: Locator, watched: Watched) -> None:
    """However knots are pushed together, each basis function keeps a support, and sums are 1."""
    for i in (4, 5, 6, 7):
        playground.locator(f"[data-knot='{i}']").focus()
        watched.page.keyboard.press("Home")
    for i in (8, 7, 6):
        playground.locator(f"[data-knot='{i}']").focus()
        watched.page.keyboard.press("Home")
    now = state(playground)
    knots, degree = now["knots"], now["degree"]
    assert max(knots.count(value) for value in knots) > 2
    assert all(low < high for low, high in zip(knots, knots[degree + 1 :], strict=False))
    assert knots[degree] < knots[len(knots) - degree - 1]


def test_reset_brings_the_start_back(playground: Locator, watched: Watched) -> None:
    start, before = state(playground), curve(playground)
    playground.get_by_role("combobox", name="Degree").select_option("1")
    playground.locator("[data-coef='2']").focus()
    watched.page.keyboard.press("End")
    assert curve(playground) != before
    playground.get_by_role("button", name="Reset").click()
    assert curve(playground) == before
    assert state(playground) == start


def test_touch_moves_a_coefficient(watched: Watched) -> None:
    """A finger on a phone drags a point, and the page stays where it is."""
    browser = watched.page.context.browser
    assert browser is not None
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(f"{watched.server}/{CHAPTER}", wait_until="load")
    element = page.locator("[data-element=bspline-playground]")
    element.scroll_into_view_if_needed()
    before, top = curve(element), page.evaluate("scrollY")
    box = element.locator("[data-coef='3'] .playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = context.new_cdp_session(page)
    for kind, dy in (("touchStart", 0), ("touchMove", 15), ("touchMove", 40), ("touchEnd", None)):
        points = [] if dy is None else [{"x": x, "y": y + dy}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert curve(element) != before
    assert page.evaluate("scrollY") == top
    context.close()


def test_it_says_what_is_missing_without_javascript(site: Path) -> None:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((site / CHAPTER).read_text(encoding="utf-8"), "html.parser")
    text = soup.select_one("[data-element=bspline-playground] noscript")
    assert text is not None
    assert "JavaScript" in text.get_text()


def test_claims_show_phrase_verdict_and_evidence(watched: Watched, site: Path) -> None:
    claims = {
        entry["id"].lower(): entry
        for entry in yaml.safe_load((ROOT / "book" / "claims.yml").read_text(encoding="utf-8"))
    }
    pages = [
        path.relative_to(site).as_posix()
        for path in sorted((site / "book").rglob("*.html"))
        if 'id="claim-c' in path.read_text(encoding="utf-8")
    ]
    assert pages != []
    for name in pages:
        for box in watched.open(name).locator(".claim[id]").all():
            claim = claims[str(box.get_attribute("id")).removeprefix("claim-")]
            phrase = box.locator(".claim-phrase")
            assert phrase.inner_text().strip() == claim["phrase"]
            assert phrase.locator("[lang=zh-Hans]").count() > 0
            assert box.locator(".claim-badge").inner_text().removeprefix("Verdict: ") in VERDICTS
            assert box.locator(".claim-body").inner_text().strip() != ""
