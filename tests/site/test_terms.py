"""The element that counts terms: Bernstein, Fourier and Chebyshev, in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from playwright.sync_api import Locator
from scipy import special
from watched import Watched

CHAPTER = "book/approximation/approximating-functions.html"
SHAPES = {
    "bump": lambda x: np.exp(-8 * (x - 0.2) ** 2),
    "kink": lambda x: 1 - 2 * np.abs(x),
    "step": lambda x: np.where(x < 0, -1.0, 1.0),
    "ramp": lambda x: x,
}


def expected(method: str, shape: str, N: int, x: np.ndarray) -> np.ndarray:
    """What each recipe gives, by NumPy and SciPy, in other ways than the script's."""
    f = SHAPES[shape]
    if method == "bernstein":
        j = np.arange(N + 1)
        weights = special.binom(N, j) * ((1 + x[:, None]) / 2) ** j
        weights *= ((1 - x[:, None]) / 2) ** (N - j)
        return np.asarray(weights @ f(-1 + 2 * j / N))
    if method == "chebyshev":
        return chebyshev.chebval(x, chebyshev.chebinterpolate(f, 4001)[: N + 1])
    at = -1 + (2 * np.arange(2**16) + 1) / 2**16
    waves = np.exp(-1j * np.pi * np.outer(np.arange(-N, N + 1), at))
    return (
        np.asarray((np.exp(1j * np.pi * np.outer(x, np.arange(-N, N + 1))) @ waves @ f(at)).real)
        / 2**16
    )


@pytest.fixture
def terms(watched: Watched) -> Locator:
    """The element, scrolled into view, as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=terms-playground]")
    element.scroll_into_view_if_needed()
    element.get_by_role("button", name="Reset").click()
    return element


def state(terms: Locator) -> dict[str, Any]:
    """Recipe, function, N and heights, out of the element."""
    found: dict[str, Any] = json.loads(terms.evaluate("(node) => JSON.stringify(node.kanlite)"))
    return found


def curve(terms: Locator) -> str:
    """The drawn path of the approximation."""
    return str(terms.locator(".terms-sum").get_attribute("d"))


def number(terms: Locator) -> Locator:
    """The slider for N."""
    return terms.locator("input[type=range]")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["bernstein", "fourier", "chebyshev"])
def test_arithmetic_agrees_with_numpy(terms: Locator, method: str, shape: str) -> None:
    x = np.linspace(-0.97, 0.97, 41)
    for N in (1, 4, 17):
        here = terms.page.evaluate(
            """([method, shape, N, x]) => {
                const { METHODS, FUNCTIONS } = kanliteTerms;
                const c = METHODS[method].coefficients(FUNCTIONS[shape].f, N);
                return x.map((v) => METHODS[method].value(c, v));
            }""",
            [method, shape, N, x.tolist()],
        )
        # Integrals of functions with a jump are sums over finitely many samples, on both sides.
        close = 1e-9 if method == "bernstein" else 2e-3 if shape == "step" else 1e-4
        assert np.abs(np.array(here) - expected(method, shape, N, x)).max() < close


def test_keyboard_moves_the_number_of_terms(terms: Locator, watched: Watched) -> None:
    before, old = curve(terms), state(terms)["N"]
    number(terms).focus()
    for _ in range(2):  # one step more changes nothing: at a symmetric kink, degrees 8 and 9 agree
        watched.page.keyboard.press("ArrowRight")
    assert state(terms)["N"] == old + 2
    assert curve(terms) != before
    watched.page.keyboard.press("End")
    assert state(terms)["N"] == 64
    assert "N = 64 (65 coefficients)" in terms.locator(".playground-where").inner_text()
    assert "largest error" in str(number(terms).get_attribute("aria-valuetext"))


def largest(terms: Locator) -> float:
    """The largest error, as the element measures it."""
    return float(
        terms.evaluate(
            """(node) => {
                const { METHODS, FUNCTIONS, errors, polyline } = kanliteTerms;
                const { method, shape, N, heights } = node.kanlite;
                const f = shape === "own" ? polyline(heights) : FUNCTIONS[shape].f;
                return errors(f, method, METHODS[method].coefficients(f, N)).largest;
            }"""
        )
    )


def choose(terms: Locator, **choices: str) -> None:
    for name, value in choices.items():
        terms.get_by_role("combobox", name=name).select_option(value)


def test_bernstein_is_slow_and_chebyshev_is_not(terms: Locator) -> None:
    """Four times N halves Bernstein's error at a kink, as the chapter proves."""
    seen = []
    for N in (4, 16, 64):
        number(terms).fill(str(N))
        seen.append(largest(terms))
    assert seen[0] / seen[1] == pytest.approx(2, rel=0.1)
    assert seen[1] / seen[2] == pytest.approx(2, rel=0.05)
    choose(terms, Function="bump", Recipe="chebyshev")
    assert largest(terms) < 1e-12
    assert "below rounding" in terms.locator(".playground-where").inner_text()


def test_the_overshoot_at_a_step_stays(terms: Locator) -> None:
    choose(terms, Function="step", Recipe="fourier")
    for N in (15, 31, 63):
        number(terms).fill(str(N))
        text = terms.locator(".playground-where").inner_text()
        highest = float(text.split("highest point ")[1].rstrip("."))
        assert highest == pytest.approx(1.179, abs=0.01)


def test_own_function_by_keyboard_and_mouse(terms: Locator, watched: Watched) -> None:
    point = terms.locator("[data-point='4']")
    assert not point.is_visible()
    choose(terms, Function="own", Recipe="bernstein")
    before, old = curve(terms), state(terms)["heights"]
    point.focus()
    watched.page.keyboard.press("PageUp")
    assert state(terms)["heights"][4] == pytest.approx(old[4] + 0.25)
    assert curve(terms) != before
    watched.page.keyboard.press("End")
    assert point.get_attribute("aria-valuenow") == point.get_attribute("aria-valuemax")
    before = curve(terms)
    box = point.locator(".playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    watched.page.mouse.move(x, y)
    watched.page.mouse.down()
    watched.page.mouse.move(x, y + 60)
    watched.page.mouse.up()
    assert state(terms)["heights"][4] < 1.3
    assert state(terms)["heights"][:4] == old[:4]
    assert curve(terms) != before


@pytest.mark.parametrize("shape", [*SHAPES, "own"])
@pytest.mark.parametrize("method", ["bernstein", "fourier", "chebyshev"])
def test_every_choice_draws_numbers(terms: Locator, method: str, shape: str) -> None:
    choose(terms, Function=shape, Recipe=method)
    for N in (1, 64):
        number(terms).fill(str(N))
        assert "NaN" not in terms.locator(".playground-plot").inner_html()
        assert "NaN" not in terms.locator(".playground-where").inner_text()


def test_reset_brings_the_start_back(terms: Locator) -> None:
    start, before = state(terms), curve(terms)
    choose(terms, Function="own", Recipe="fourier")
    number(terms).fill("33")
    assert curve(terms) != before
    terms.get_by_role("button", name="Reset").click()
    assert curve(terms) == before
    assert state(terms) == start


def test_nothing_went_wrong(terms: Locator, watched: Watched) -> None:
    assert watched.errors == []
    assert watched.outside == []


def test_it_says_what_is_missing_without_javascript(site: Path) -> None:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((site / CHAPTER).read_text(encoding="utf-8"), "html.parser")
    text = soup.select_one("[data-element=terms-playground] noscript")
    assert text is not None
    assert "JavaScript" in text.get_text()
