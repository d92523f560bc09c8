"""The inner function, magnified digit by digit, in a browser: the same integers as kanlite's."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator
from watched import Watched

from kanlite.superposition import inner_function

CHAPTER = "book/superposition/the-theorem-as-a-program.html"


@pytest.fixture
def digits(watched: Watched) -> Locator:
    """The element as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=digits-playground]")
    element.scroll_into_view_if_needed()
    element.get_by_role("button", name="Start again").click()
    return element


def state(digits: Locator) -> dict[str, Any]:
    """Base, digits and choice, out of the element."""
    found: dict[str, Any] = json.loads(digits.evaluate("(node) => JSON.stringify(node.kanlite)"))
    return found


def report(digits: Locator, base: int, chosen: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = digits.page.evaluate(
        "([base, chosen]) => kanliteDigits.report(base, chosen)", [base, chosen]
    )
    return found


@pytest.mark.parametrize("base", [6, 10])
def test_values_are_those_of_kanlite(digits: Locator, base: int) -> None:
    """Exactly, at all subdivisions of cells with up to six random digits."""
    rng = np.random.default_rng(base)
    for length in range(7):
        chosen = [int(digit) for digit in rng.integers(0, base, length)]
        cell = digits.page.evaluate(
            "([base, chosen]) => kanliteDigits.cell(base, chosen)", [base, chosen]
        )
        low = sum(
            (Fraction(digit, base**r) for r, digit in enumerate(chosen, start=1)), Fraction(0)
        )
        for i, value in enumerate(cell["values"]):
            x = low + Fraction(i, base ** (length + 1))
            wanted = inner_function(x, dimension=2, base=base)
            assert Fraction(int(value), int(cell["den"])) == wanted


@pytest.mark.parametrize("base", [6, 10])
def test_exponents(digits: Locator, base: int) -> None:
    """The last digit shrinks by the Hoelder exponent, the digit 0 by powers of two."""
    deep = report(digits, base, [base - 1] * 8)
    assert deep["exponent"] == pytest.approx(math.log(2) / math.log(base), abs=1e-6)
    for length in (2, 3, 4):
        flat = report(digits, base, [0] * length)
        assert flat["exponent"] == pytest.approx(2 ** (length - 1), rel=1e-9)
        assert flat["width"] == pytest.approx(-length * math.log10(base))


@pytest.mark.parametrize("base", [6, 10])
def test_doubles_lose_the_fifth_digit(digits: Locator, base: int) -> None:
    for length in (3, 4):
        assert not report(digits, base, [1] * length)["same"]
    assert report(digits, base, [1] * 5)["same"]


def test_clicks_choose_and_magnify(digits: Locator, watched: Watched) -> None:
    box = digits.locator("svg").bounding_box()
    assert box is not None
    x = box["x"] + box["width"] * 2.5 / 6
    watched.page.mouse.click(x, box["y"] + 100)
    assert state(digits) == {"base": 6, "digits": [], "choice": 2}
    watched.page.mouse.click(x, box["y"] + 100)
    assert state(digits)["digits"] == [2]
    digits.get_by_role("button", name="Magnify").click()
    assert state(digits)["digits"] == [2, 2]
    digits.get_by_role("button", name="Back").click()
    assert state(digits)["digits"] == [2]
    assert (
        digits.locator(".playground-where")
        .first.inner_text()
        .startswith("Numbers that begin with 0.2")
    )


def test_keyboard_chooses_and_magnifies(digits: Locator, watched: Watched) -> None:
    slider = digits.get_by_role("slider", name="Next digit")
    slider.focus()
    watched.page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemin") == "0"
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft"):
        watched.page.keyboard.press(key)
    assert slider.get_attribute("aria-valuenow") == "1"
    watched.page.keyboard.press("Enter")
    watched.page.keyboard.press("End")
    assert state(digits) == {"base": 6, "digits": [1], "choice": 5}
    assert "of the rise" in str(slider.get_attribute("aria-valuetext"))
    watched.page.keyboard.press("Backspace")
    assert state(digits) == {"base": 6, "digits": [], "choice": 1}


def test_it_ends_at_the_deepest_digit(digits: Locator) -> None:
    digits.get_by_role("combobox", name="Base").select_option("10")
    magnify = digits.get_by_role("button", name="Magnify")
    while magnify.is_enabled():
        magnify.click()
    assert len(state(digits)["digits"]) == 10
    assert "NaN" not in digits.locator("svg").inner_html()
    assert "digits are lost" not in digits.locator(".playground-report").inner_text()  # steep


def test_start_again_brings_the_start_back(digits: Locator) -> None:
    start = state(digits)
    curve = digits.locator(".playground-curve").get_attribute("points")
    digits.get_by_role("combobox", name="Base").select_option("10")
    digits.get_by_role("button", name="Magnify").click()
    assert state(digits) != start
    digits.get_by_role("button", name="Start again").click()
    assert state(digits) == start
    assert digits.locator(".playground-curve").get_attribute("points") == curve
