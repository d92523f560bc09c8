"""The element that adds one unit at a time: best sums, and walls of polynomials, in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator
from watched import Watched

CHAPTER = "book/approximation/the-universal-approximation-theorem.html"
BENDS = {
    "relu": lambda t: np.maximum(t, 0),
    "step": lambda t: (t >= 0).astype(float),
    "tanh": lambda t: np.tanh(6 * t),
    "square": lambda t: t**2,
    "cubic": lambda t: t**3,
}
SHAPES = {
    "hill": lambda x: 2 * np.exp(-8 * (x - 0.2) ** 2) - 0.8,
    "wave": lambda x: 0.7 * np.sin(5 * x) * np.exp(-x / 2),
    "corner": lambda x: 1 - 2 * np.abs(x),
    "jump": lambda x: np.where(x < 0, -0.8, 0.8),
}
CHECKS = -1 + np.arange(401) / 200
PLACES = [-0.9, -0.35, 0.11, 0.4, 0.73]


def expected(bend: str, shape: str, places: list[float]) -> np.ndarray:
    """The error of the best sum, by NumPy's least squares instead of orthogonal columns."""
    columns = [np.ones(401)] + [BENDS[bend](CHECKS - place) for place in places]
    values = SHAPES[shape](CHECKS)
    matrix = np.array(columns).T
    c = np.linalg.lstsq(matrix, values, rcond=1e-10)[0]
    return np.asarray(matrix @ c - values)


@pytest.fixture
def bumps(watched: Watched) -> Locator:
    """The element, scrolled into view, as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=bumps-playground]")
    element.scroll_into_view_if_needed()
    press(element, "Reset")
    return element


def state(bumps: Locator) -> dict[str, Any]:
    """Function, bend and places, out of the element."""
    found: dict[str, Any] = json.loads(bumps.evaluate("(node) => JSON.stringify(node.kanlite)"))
    return found


def press(bumps: Locator, name: str, times: int = 1) -> None:
    for _ in range(times):
        bumps.get_by_role("button", name=name).click()


def choose(bumps: Locator, **choices: str) -> None:
    for label, value in choices.items():
        bumps.get_by_label(label, exact=True).select_option(value)


def told(bumps: Locator) -> str:
    return str(bumps.locator(".playground-where").inner_text())


def error(bumps: Locator) -> float:
    """The root of the mean square that the element tells."""
    text = told(bumps).split("mean square ")[1]
    if text.startswith("0 up to rounding"):
        return 0.0
    return float(text.split(" ")[-1 if "below" in text else 0].rstrip("."))


def curve(bumps: Locator) -> str:
    return str(bumps.locator(".terms-sum").get_attribute("d"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bend", BENDS)
def test_arithmetic_agrees_with_numpy(bumps: Locator, bend: str, shape: str) -> None:
    for count in (0, 1, 3, 5):
        here = bumps.page.evaluate(
            """([bend, shape, places]) => {
                const { FUNCTIONS, fit } = kanliteBumps;
                return fit(FUNCTIONS[shape].f, bend, places);
            }""",
            [bend, shape, PLACES[:count]],
        )
        gap = expected(bend, shape, PLACES[:count])
        np.testing.assert_allclose(here["values"], SHAPES[shape](CHECKS) + gap, atol=1e-7)
        assert here["largest"] == pytest.approx(np.abs(gap).max(), abs=1e-7)
        assert here["rms"] == pytest.approx(np.sqrt(np.mean(gap**2)), abs=1e-7)


@pytest.mark.parametrize("bend", ["relu", "step"])
def test_the_best_place_is_the_best_of_all(bumps: Locator, bend: str) -> None:
    here = bumps.page.evaluate(
        "([bend, places]) => kanliteBumps.bestPlace(kanliteBumps.FUNCTIONS.wave.f, bend, places)",
        [bend, PLACES[:2]],
    )
    candidates = np.round(np.arange(-1, 0.985, 0.02), 2)
    sizes = [np.sum(expected(bend, "wave", [*PLACES[:2], float(a)]) ** 2) for a in candidates]
    best = np.sum(expected(bend, "wave", [*PLACES[:2], here]) ** 2)
    assert best == pytest.approx(min(sizes), abs=1e-9)


def test_units_are_added_and_removed(bumps: Locator) -> None:
    assert state(bumps)["places"] == []
    before, first = curve(bumps), error(bumps)
    press(bumps, "Add a unit", 3)
    assert len(state(bumps)["places"]) == 3
    assert bumps.locator("[data-unit]").count() == 3
    assert curve(bumps) != before
    assert error(bumps) < first
    press(bumps, "Remove the last", 3)
    assert curve(bumps) == before
    assert bumps.get_by_role("button", name="Remove the last").is_disabled()


@pytest.mark.parametrize("bend", ["relu", "step", "tanh"])
def test_good_bends_come_close(bumps: Locator, bend: str) -> None:
    choose(bumps, Bend=bend)
    press(bumps, "Add where it helps most", 4)
    few = error(bumps)
    press(bumps, "Add where it helps most", 12)
    assert error(bumps) < 0.4 * few
    assert "Stuck" not in told(bumps)


@pytest.mark.parametrize(("bend", "degree"), [("square", 2), ("cubic", 3)])
def test_polynomials_get_stuck_at_the_best_polynomial(
    bumps: Locator, bend: str, degree: int
) -> None:
    choose(bumps, Bend=bend)
    press(bumps, "Add a unit", degree - 1)
    assert "Stuck" not in told(bumps)
    press(bumps, "Add a unit")
    assert f"polynomials of degree {degree}" in told(bumps)
    wall = error(bumps)
    press(bumps, "Add a unit", 8)
    assert error(bumps) == wall
    fitted = np.polynomial.Polynomial.fit(CHECKS, SHAPES["hill"](CHECKS), degree)(CHECKS)
    best = np.sqrt(np.mean((fitted - SHAPES["hill"](CHECKS)) ** 2))
    assert wall == pytest.approx(best, rel=0.01)


def test_a_jump_stays_half_away_in_the_largest_error(bumps: Locator) -> None:
    choose(bumps, Function="jump")
    press(bumps, "Add where it helps most", 10)
    largest = float(told(bumps).split("largest error ")[1].split(",")[0])
    assert largest > 0.1
    press(bumps, "Reset")
    choose(bumps, Function="jump", Bend="step")
    press(bumps, "Add where it helps most")
    assert state(bumps)["places"] == [0]
    assert "largest error 0 up to rounding" in told(bumps)


def test_keyboard_and_mouse_move_a_unit(bumps: Locator, watched: Watched) -> None:
    press(bumps, "Add a unit", 2)
    unit, old = bumps.locator("[data-unit='1']"), state(bumps)["places"]
    before = curve(bumps)
    unit.focus()
    watched.page.keyboard.press("ArrowRight")
    assert state(bumps)["places"][1] == pytest.approx(old[1] + 0.02)
    assert curve(bumps) != before
    watched.page.keyboard.press("Home")
    assert unit.get_attribute("aria-valuenow") == unit.get_attribute("aria-valuemin")
    watched.page.keyboard.press("End")
    assert unit.get_attribute("aria-valuenow") == unit.get_attribute("aria-valuemax")
    box = unit.locator(".playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    watched.page.mouse.move(x, y)
    watched.page.mouse.down()
    watched.page.mouse.move(x - 120, y)
    watched.page.mouse.up()
    assert state(bumps)["places"][1] < 0.9
    assert state(bumps)["places"][0] == old[0]
    unit.focus()
    watched.page.keyboard.press("Delete")
    assert state(bumps)["places"] == [old[0]]
    assert bumps.locator("[data-unit='0']").evaluate("(node) => node === document.activeElement")


def test_there_is_a_largest_number_of_units(bumps: Locator) -> None:
    press(bumps, "Add a unit", 24)
    assert len(state(bumps)["places"]) == 24
    assert bumps.get_by_role("button", name="Add a unit").is_disabled()
    assert "NaN" not in bumps.locator(".playground-plot").inner_html()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bend", BENDS)
def test_every_choice_draws_numbers(bumps: Locator, bend: str, shape: str) -> None:
    choose(bumps, Function=shape, Bend=bend)
    press(bumps, "Add where it helps most", 5)
    assert "NaN" not in bumps.locator(".playground-plot").inner_html()
    assert "NaN" not in told(bumps)


def test_reset_brings_the_start_back(bumps: Locator) -> None:
    start, before = state(bumps), curve(bumps)
    choose(bumps, Function="corner", Bend="step")
    press(bumps, "Add a unit", 2)
    assert curve(bumps) != before
    press(bumps, "Reset")
    assert curve(bumps) == before
    assert state(bumps) == start


def test_nothing_went_wrong(bumps: Locator, watched: Watched) -> None:
    assert watched.errors == []
    assert watched.outside == []


def test_it_says_what_is_missing_without_javascript(site: Path) -> None:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((site / CHAPTER).read_text(encoding="utf-8"), "html.parser")
    text = soup.select_one("[data-element=bumps-playground] noscript")
    assert text is not None
    assert "JavaScript" in text.get_text()
