"""Samples in two parts, and what residuals tell."""

import math
from collections.abc import Iterator

import pytest
import torch

from kanlite.samples import Rows, check_finite, has_structure, root_mean_square
from tests.helpers import default_dtype, seeded, uniform


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def test_every_sample_is_in_one_part_with_its_target() -> None:
    x = torch.arange(53.0)[:, None]
    rows = Rows.split(x, 2 * x, seeded())
    assert len(rows.held_x) == 10
    assert rows.size == 53
    assert torch.cat([rows.x, rows.held_x]).sort(0).values.equal(x)
    assert rows.y.equal(2 * rows.x)
    assert rows.held_y.equal(2 * rows.held_x)


def test_no_more_than_wanted_and_another_draw_for_another_seed() -> None:
    x = torch.arange(53.0)[:, None]
    few = Rows.split(x, x, seeded(), most=20)
    assert (len(few.x), len(few.held_x)) == (16, 4)
    assert not few.x.equal(Rows.split(x, x, seeded(1), most=20).x)


def test_errors_are_relative_to_the_spread_and_of_the_part_that_is_meant() -> None:
    x = torch.zeros(2, 2)
    rows = Rows(x, x, x[:1], x[:1] + 4, torch.tensor([2.0, 8.0]))
    assert rows.error(lambda x: x + 6, held=False) == pytest.approx(math.hypot(3, 0.75) / 2**0.5)
    assert rows.error(lambda x: x + 6, held=True) == pytest.approx(math.hypot(1, 0.25) / 2**0.5)
    assert rows.error(lambda x: x / 0, held=True) == math.inf


def test_root_mean_square() -> None:
    assert root_mean_square(torch.tensor([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))
    assert root_mean_square(torch.tensor([3.0, math.nan])) == math.inf


def test_what_is_not_finite_is_refused() -> None:
    x = torch.zeros(3)
    check_finite(x, x)
    for bad in (math.nan, math.inf):
        for pair in ((x + bad, x), (x, x + bad)):
            with pytest.raises(ValueError, match="x and y must be finite, got a NaN"):
                check_finite(*pair)


def test_residuals_with_and_without_structure() -> None:
    x = uniform(500, 2)
    noise = torch.randn(500, 1, generator=seeded(99))
    assert has_structure(x, torch.sin(2 * x[:, :1]))
    assert not has_structure(x, noise)
    assert has_structure(x, 0.7 * noise + torch.sin(2 * x[:, :1]))
