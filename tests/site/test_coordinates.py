"""The element with one curve in two coordinate systems: exact numbers, and bars, in a browser."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator
from watched import Watched

import kanlite as kl

CHAPTER = "book/kans/training-a-kan.html"
CASES = [(4, 1), (8, 2), (8, 3), (16, 3)]


@pytest.fixture
def coordinates(watched: Watched) -> Locator:
    """The element, scrolled into view, as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=coordinates-playground]")
    element.scroll_into_view_if_needed()
    press(element, "Reset")
    return element


def state(coordinates: Locator) -> dict[str, Any]:
    """Degree, intervals and coefficients, out of the element."""
    found: dict[str, Any] = json.loads(
        coordinates.evaluate("(node) => JSON.stringify(node.kanlite)")
    )
    return found


def press(coordinates: Locator, name: str) -> None:
    coordinates.get_by_role("button", name=name).click()


def choose(coordinates: Locator, **choices: int) -> None:
    for label, value in choices.items():
        coordinates.get_by_label(label, exact=True).select_option(str(value))


def told(coordinates: Locator) -> str:
    return str(coordinates.locator(".playground-where").inner_text())


def curve(coordinates: Locator) -> str:
    return str(coordinates.locator(".coordinates-curve").get_attribute("d"))


@pytest.mark.parametrize(("intervals", "degree"), CASES)
def test_arithmetic_agrees_with_kanlite(coordinates: Locator, intervals: int, degree: int) -> None:
    rng = np.random.default_rng(intervals + degree)
    c, x = rng.uniform(-1, 1, intervals + degree), np.linspace(-1, 1, 41)
    here = coordinates.page.evaluate(
        """([c, x, G, k]) => {
            const { toRelu, spline, reluSum, condition } = kanliteCoordinates;
            const a = toRelu(c, G, k);
            return {
                a, condition: condition(G, k),
                curve: x.map((z) => spline(z, c, G, k)),
                again: x.map((z) => reluSum(z, a, G, k)),
            };
        }""",
        [c.tolist(), x.tolist(), intervals, degree],
    )
    knots = kl.uniform_knots(intervals, degree, dtype=torch.float64)
    basis = kl.bspline_basis(torch.tensor(x), knots, degree).numpy()
    powers = np.maximum(x[:, None] - knots.numpy()[: len(c)], 0) ** degree
    np.testing.assert_allclose(here["curve"], basis @ c, atol=1e-12)
    np.testing.assert_allclose(powers @ here["a"], basis @ c, atol=1e-8)
    np.testing.assert_allclose(here["again"], basis @ c, atol=1e-8)
    shift = np.eye(len(c)) - np.eye(len(c), k=-1)
    matrix = np.linalg.matrix_power(shift, degree + 1)
    matrix /= math.factorial(degree) * (2 / intervals) ** degree
    np.testing.assert_allclose(here["a"], matrix @ c, atol=1e-9)
    assert here["condition"] == pytest.approx(np.linalg.cond(matrix, np.inf), rel=1e-6)


def test_one_bump_is_many_bars(coordinates: Locator) -> None:
    press(coordinates, "One bump")
    assert sum(value != 0 for value in state(coordinates)["c"]) == 1
    heights = coordinates.locator(".coordinates-bar").evaluate_all(
        "(bars) => bars.map((bar) => Number(bar.getAttribute('height')))"
    )
    assert sum(height > 1 for height in heights) == 5  # degree 3: k + 2 powers of ReLU
    assert "in powers of ReLU: 64." in told(coordinates)  # 6 / (3! h^3), h = 1 / 4


def test_more_intervals_mean_larger_bars(coordinates: Locator) -> None:
    sizes = []
    for intervals in (4, 8, 16):
        choose(coordinates, Intervals=intervals)
        press(coordinates, "Zigzag")
        sizes.append(float(told(coordinates).split("ReLU: ")[1].split(".")[0].replace(",", "")))
    assert sizes[1] == pytest.approx(8 * sizes[0], rel=0.1)
    assert sizes[2] == pytest.approx(8 * sizes[1], rel=0.1)
    assert "B-splines: 0.50" in told(coordinates)


def test_keyboard_and_mouse_move_a_coefficient(coordinates: Locator, watched: Watched) -> None:
    mark, old = coordinates.locator("[data-coefficient='5']"), state(coordinates)["c"]
    before = curve(coordinates)
    mark.focus()
    watched.page.keyboard.press("ArrowUp")
    assert state(coordinates)["c"][5] == pytest.approx(old[5] + 0.02)
    assert curve(coordinates) != before
    watched.page.keyboard.press("Home")
    assert mark.get_attribute("aria-valuenow") == mark.get_attribute("aria-valuemin")
    watched.page.keyboard.press("End")
    assert mark.get_attribute("aria-valuenow") == mark.get_attribute("aria-valuemax")
    box = mark.locator(".playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    watched.page.mouse.move(x, y)
    watched.page.mouse.down()
    watched.page.mouse.move(x, y + 60)
    watched.page.mouse.up()
    assert state(coordinates)["c"][5] < 0.6
    assert state(coordinates)["c"][4] == old[4]


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("intervals", [4, 8, 16])
def test_every_choice_draws_numbers(coordinates: Locator, intervals: int, degree: int) -> None:
    choose(coordinates, Intervals=intervals, Degree=degree)
    press(coordinates, "Zigzag")
    assert len(state(coordinates)["c"]) == intervals + degree
    assert coordinates.locator("[data-coefficient]").count() == intervals + degree
    assert "NaN" not in coordinates.locator(".playground-plot").inner_html()
    assert "NaN" not in told(coordinates)


def test_reset_brings_the_start_back(coordinates: Locator) -> None:
    start, before = state(coordinates), curve(coordinates)
    choose(coordinates, Intervals=16, Degree=1)
    press(coordinates, "One bump")
    assert curve(coordinates) != before
    press(coordinates, "Reset")
    assert curve(coordinates) == before
    assert state(coordinates) == start


def test_it_fits_on_a_phone(coordinates: Locator, watched: Watched) -> None:
    watched.page.set_viewport_size({"width": 360, "height": 740})
    watched.page.wait_for_function(
        "() => document.querySelector('[data-element=coordinates-playground] svg')"
        ".getBoundingClientRect().right <= window.innerWidth"
    )
    assert "NaN" not in coordinates.locator(".playground-plot").inner_html()


def test_nothing_went_wrong(coordinates: Locator, watched: Watched) -> None:
    assert watched.errors == []
    assert watched.outside == []


def test_it_says_what_is_missing_without_javascript(site: Path) -> None:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((site / CHAPTER).read_text(encoding="utf-8"), "html.parser")
    text = soup.select_one("[data-element=coordinates-playground] noscript")
    assert text is not None
    assert "JavaScript" in text.get_text()
