"""Nice constants: what they cost, when they are near, and that only the data give them away."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kanlite.candidates import CANDIDATES
from kanlite.composition import Composition, Edge
from kanlite.samples import Rows
from kanlite.snapping import nice_near, nice_numbers, rounded, snapped, uncertainty
from tests.helpers import default_dtype, seeded, uniform

NAMED = {candidate.name: candidate for candidate in CANDIDATES}
SINE = Composition((((0,),),), [Edge(0, 0, 0, NAMED["sin"], 0)])
LINE = Composition((((0,),),), [Edge(0, 0, 0, NAMED["x"], 0)])
SLOPE_AND_CONSTANT = torch.tensor([False, False, True, True])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def sine(a: float, c: float, noise: float = 0.0, count: int = 400) -> Rows:
    """c sin(a x) with noise."""
    x = uniform(count, 1)
    y = c * torch.sin(a * x) + noise * torch.randn(count, 1, generator=seeded(3))
    return Rows.split(x, y, seeded(), spread=y.std())


def test_names_are_those_of_the_values() -> None:
    sympy = pytest.importorskip("sympy")
    for number in nice_numbers():
        assert float(sympy.sympify(number.name)) == pytest.approx(number.value, rel=1e-14)


def test_numbers_are_different_and_come_by_cost() -> None:
    numbers = nice_numbers()
    assert len({round(number.value, 12) for number in numbers}) == len(numbers)
    assert [n.bits for n in numbers] == sorted(n.bits for n in numbers)
    cost = {number.value: number.bits for number in numbers}
    assert cost[0] < cost[1] == cost[-1] < cost[2] < cost[0.5] == cost[math.pi]


@pytest.mark.parametrize(
    ("value", "deviation", "name"),
    [
        (2.0000001, 1e-6, "2*1"),
        (0.3333, 1e-4, "1/3*1"),
        (-1.5708, 1e-5, "-1/2*pi"),
        (1.41421, 1e-5, "1*sqrt(2)"),
        (1e-9, 1e-8, "0"),
    ],
)
def test_near_a_value_is_its_simple_neighbor(value: float, deviation: float, name: str) -> None:
    assert nice_near(value, deviation)[0].name == name


def test_precision_pays_for_names() -> None:
    """What is hardly known gets short names only, what is known well no wrong ones."""
    vague, exact = nice_near(0.43, 0.2), nice_near(0.4312345, 1e-9)
    assert max(number.bits for number in vague) < 5
    assert all(abs(number.value - 0.4312345) < 2e-3 * 0.4312345 for number in exact)
    assert len(nice_near(0.43, 0.2, most=1)) == 1


def test_uncertainty_is_that_of_linear_regression() -> None:
    count, noise = 4000, 0.1
    x = uniform(count, 1)
    y = 2 * x + 1 + noise * torch.randn(count, 1, generator=seeded(5))
    theta, rows = torch.tensor([1.0, 0.0, 2.0, 1.0]), Rows(x, y, x, y)
    error = LINE.error(theta, rows)
    deviation, excess = uncertainty(LINE, theta, SLOPE_AND_CONSTANT, rows, error)
    expected = torch.tensor([noise * math.sqrt(3 / count), noise / math.sqrt(count)])
    assert torch.allclose(deviation, expected, rtol=0.1)
    assert (excess < 1.1).all()


def test_uneven_noise_makes_a_constant_less_certain() -> None:
    """Noise at the ends only turns a line more than the same noise everywhere."""
    x = uniform(4000, 1)
    y = x**5 * torch.randn(4000, 1, generator=seeded(5))
    theta, rows = torch.tensor([1.0, 0.0, 0.0, 0.0]), Rows(x, y, x, y)
    _, excess = uncertainty(LINE, theta, SLOPE_AND_CONSTANT, rows, LINE.error(theta, rows))
    # sum of x^2 e^2 over (sum of x^2)(mean of e^2): (1/13) / (1/3 * 1/11)
    assert excess[0] == pytest.approx(33 / 13, rel=0.15)
    assert excess[1] < 1.15


def names(rows: Rows, theta: Tensor) -> dict[int, str]:
    found, nice = snapped(SINE, theta, torch.ones(4, dtype=torch.bool), rows)
    assert all(found[k] == number.value for k, number in nice.items())
    return {k: number.name for k, number in nice.items()}


def test_constants_that_the_data_allow_become_nice() -> None:
    near = torch.tensor([3.14, 0.001, 0.5, 0.0])
    assert names(sine(math.pi, 0.5), near) == {0: "1*pi", 1: "0", 2: "1/2*1", 3: "0"}
    assert names(sine(math.pi, 0.5, noise=0.02), near) == {0: "1*pi", 1: "0", 2: "1/2*1", 3: "0"}


def test_constants_that_the_data_do_not_allow_stay() -> None:
    assert nice_near(0.4995, 1e-9)[0].value == 0.5
    assert names(sine(3.1, 0.4995), torch.tensor([3.1, 0.0, 0.5, 0.0])) == {1: "0", 3: "0"}


def test_no_edge_becomes_zero() -> None:
    """Even where noise hides it."""
    rows = sine(3.0, 1e-4, noise=0.1)
    theta, _ = snapped(SINE, torch.tensor([3.0, 0.0, 1e-4, 0.0]), SLOPE_AND_CONSTANT, rows)
    assert theta[2] != 0


def test_rounding_keeps_nice_numbers_and_the_error() -> None:
    rows = sine(3.0, 1.23456789)
    theta = torch.tensor([3.0, 0.0, 1.23456789, 0.0])
    _, nice = snapped(SINE, theta, torch.tensor([True, True, False, True]), rows)
    short, digits = rounded(SINE, theta, nice, 4, rows)
    assert short.tolist() == [3.0, 0.0, 1.235, 0.0]
    assert digits == 4


def test_more_digits_where_terms_cancel() -> None:
    """The constant of 12345.678 x - 12345.321, on inputs near 1."""
    x = uniform(100, 1, low=1.0, high=1.001)
    y = 12345.678 * x - 12345.321
    theta = torch.tensor([1.0, 0.0, 12345.678, -12345.321])
    rows = Rows(x, y, x, y, y.std())
    short, digits = rounded(LINE, theta, {}, 3, rows)
    assert digits > 4
    assert LINE.error(short, rows, held=True) <= 1e-2
