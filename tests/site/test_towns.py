"""The five towns to walk in, in a browser: the same mathematics as in the chapter."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator
from watched import Watched

CHAPTER = "book/superposition/kolmogorov-arnold.html"


@pytest.fixture
def towns(watched: Watched) -> Locator:
    """The element as it is at first; the page is loaded once."""
    if not watched.page.url.endswith(CHAPTER):
        watched.open(CHAPTER)
    element = watched.page.locator("[data-element=towns-playground]")
    element.scroll_into_view_if_needed()
    element.get_by_role("button", name="Start again").click()
    return element


def state(towns: Locator) -> dict[str, Any]:
    """Point, plan and history, out of the element."""
    found: dict[str, Any] = json.loads(towns.evaluate("(node) => JSON.stringify(node.kanlite)"))
    return found


def choose(towns: Locator, name: str, value: str) -> None:
    towns.get_by_role("combobox", name=name, exact=True).select_option(value)


def heights(size: int) -> np.ndarray:
    """The formula of the lemma "A finer town" for phi(x) = x and Q = 4 N - 1, in integers."""
    k, i = np.indices((5, size + 1))
    left = np.where(i > 0, 5 * (i - 1) + k + 1, 0)
    quotient = 4 * size - 1
    return (quotient * left // (5 * size) + (5 * i + k) / (5 * (size + 1))) / (quotient + 1)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_heights_are_those_of_the_chapter(towns: Locator, size: int) -> None:
    mine = towns.page.evaluate("(size) => kanliteTowns.heights(size)", size)
    assert np.abs(np.array(mine) - heights(size)).max() < 1e-14
    images = heights(size)[:, :, None] + math.sqrt(2) * heights(size)[:, None, :]
    assert np.diff(np.sort(images, axis=None)).min() > 1e-12


def test_votes_are_counted_as_in_the_lemma(towns: Locator) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 3, 16):
        xy = rng.random((200, 2))
        mine = towns.page.evaluate(
            "([xy, size]) => xy.map(([x, y]) => kanliteTowns.votes(x, y, size))",
            [xy.tolist(), size],
        )
        place = (5 * size * xy[:, :, None] - np.arange(5)) % 5
        off = ((place == 0) | (place >= 1)).all(axis=1)
        assert [set(found) for found in mine] == [set(np.flatnonzero(row)) for row in off]
        assert min(map(len, mine)) >= 3


@pytest.mark.parametrize("size", [2, 16, 64])
def test_a_step_keeps_its_promise(towns: Locator, size: int) -> None:
    """At every number of blocks, step after step, on the points where f is known."""
    choose(towns, "N", str(size))
    for _ in range(4):
        towns.get_by_role("button", name="Next step").click()
        last = state(towns)["history"][-1]
        assert last["after"] <= (2 / 3 * last["before"] + 5 / 3 * last["omega"]) * (1 + 1e-9)
        assert last["promise"] == pytest.approx(2 / 3 + 5 / 3 * last["omega"] / last["before"])
    if size == 64:  # each point has a block of its own
        assert last["omega"] == 0
        assert last["after"] <= (2 / 3) ** 4 * state(towns)["history"][0]["after"] * (1 + 1e-9)


def test_a_step_is_that_of_the_chapter(towns: Locator) -> None:
    """Repeated in NumPy: with a block for every point, the residual after one step."""
    size, grid = 64, 40
    choose(towns, "N", str(size))
    towns.get_by_role("button", name="Next step").click()
    mine = np.array(state(towns)["values"])
    x = (np.arange(grid) + 0.5) / grid
    f = np.cos(3 * x[:, None] + 2 * x)
    r, known = heights(size), {}
    place = 5 * size * x - np.arange(5)[:, None]
    m, part = np.floor(place / 5).astype(int), place % 5
    inside = (part == 0) | (part >= 1)
    index = m + (part >= 1)
    for k in range(5):
        for p in np.flatnonzero(inside[k]):
            for q in np.flatnonzero(inside[k]):
                image = r[k, index[k, p]] + math.sqrt(2) * r[k, index[k, q]]
                known[image] = f[p, q] / 3
    image, value = np.array(sorted(known.items())).T
    total = np.zeros_like(f)
    for k in range(5):
        after = np.minimum(m[k] + 1, size)
        street = r[k][m[k].clip(0)] + part[k] * (r[k][after] - r[k][m[k].clip(0)])
        phi = np.where(inside[k], r[k][index[k]], street)
        total += np.interp(phi[:, None] + math.sqrt(2) * phi, image, value)
    assert np.abs(mine - (f - total)).max() < 1e-6


def test_keyboard_moves_the_point(towns: Locator, watched: Watched) -> None:
    point = towns.get_by_role("slider", name="Point of the square")
    before = state(towns)
    point.focus()
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowRight"):
        watched.page.keyboard.press(key)
    after = state(towns)
    assert after["x"] == pytest.approx(before["x"] + 0.022)
    assert after["y"] == pytest.approx(before["y"] + 0.02)
    for _ in range(60):
        watched.page.keyboard.press("ArrowLeft")
    assert state(towns)["x"] == 0
    assert "of five towns have a block here" in str(point.get_attribute("aria-valuetext"))
    shown = len(towns.locator("[data-vote=true]").all())
    assert shown >= 3
    assert towns.locator(".playground-where").inner_text().startswith("At x = 0.000")


def test_mouse_moves_the_point(towns: Locator, watched: Watched) -> None:
    box = towns.locator(".playground-handle .playground-hit").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = state(towns)
    watched.page.mouse.move(x, y)
    watched.page.mouse.down()
    watched.page.mouse.move(x + 60, y + 30)
    watched.page.mouse.up()
    after = state(towns)
    assert after["x"] > before["x"] + 0.1
    assert after["y"] < before["y"] - 0.05


def test_start_again_brings_the_start_back(towns: Locator) -> None:
    start = state(towns)
    choose(towns, "Function", "hill")
    choose(towns, "Show town", "3")
    assert towns.locator(".towns-block").count() == (start["N"] + 1) ** 2
    towns.get_by_role("button", name="Next step").click()
    assert state(towns) != start
    towns.get_by_role("button", name="Start again").click()
    assert state(towns) == start
    assert "NaN" not in towns.inner_html()
