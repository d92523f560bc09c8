"""From data to a formula in one call."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import kanlite as kl
from kanlite.discovery import find_formula
from tests.helpers import default_dtype, seeded, uniform

sympy = pytest.importorskip("sympy")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def composed(count: int = 500) -> tuple[Tensor, Tensor]:
    x = uniform(count, 2)
    return x, torch.exp(torch.sin(math.pi * x[:, 0]) + x[:, 1] ** 2)


def test_a_composition_is_found_by_the_smallest_shape_that_holds_it() -> None:
    x, y = composed()
    result = find_formula(x, y, names=["x", "y"], restarts=2)
    u, v = sympy.symbols("x y")
    assert sympy.simplify(result.formula.expr - sympy.exp(sympy.sin(sympy.pi * u) + v**2)) == 0
    assert [widths for widths, _ in result.tried] == [(2, 1), (2, 1, 1)]
    assert result.tried[0][1] > 0.1 > 1e-3 > result.tried[1][1]
    assert (result.model(x)[:, 0] - y).std() < 1e-3 * y.std()  # in the units of y


@pytest.mark.parametrize("seed", range(3))
def test_a_product_is_found_by_a_product(seed: int) -> None:
    """Nothing is left of constants that quarter squares would have to cancel."""
    x = uniform(500, 2, seed=seed)
    result = find_formula(x, x[:, 0] * x[:, 1], names=["x", "y"], generator=seeded(seed))
    assert str(result.formula.expr) == "x*y"
    assert result.formula.found
    assert result.tried[-1][0] == (2, (0, 1), 1)
    assert isinstance(result.model[1], kl.Multiply)


def test_a_function_without_a_short_formula_is_reported_as_such() -> None:
    x = uniform(500, 1)
    result = find_formula(x, torch.special.bessel_j0(20 * x), widths=[[1, 1]])
    assert not result.formula.found
    assert "no short formula found" in result.formula.report()


def test_hidden_layers_are_sums_and_products() -> None:
    x = uniform(500, 2)
    y = torch.cos(x[:, 0]) + x[:, 1] * torch.exp(x[:, 0])
    result = find_formula(x, y, names=["a", "b"], widths=[[2, (1, 1), 1]])
    a, b = sympy.symbols("a b")
    assert sympy.expand(result.formula.expr - sympy.cos(a) - b * sympy.exp(a)) == 0
    assert result.tried[0][0] == (2, (1, 1), 1)


def test_a_noisy_sine_is_a_sine() -> None:
    x = uniform(500, 1)
    y = torch.sin(3 * x) + 0.05 * torch.randn(x.shape, generator=seeded(99))
    formula = find_formula(x, y).formula
    assert formula.found
    assert formula.table[0].chosen == "sin"


def test_inputs_and_targets_of_any_size() -> None:
    x = 1e4 * (1 + uniform(300, 1, low=0.0))
    formula = find_formula(x.float(), 1e-3 * torch.log(x)).formula
    assert formula.table[0].chosen == "log"
    assert formula.found


def test_noise_alone_has_no_formula_that_explains_anything() -> None:
    x, y = uniform(200, 1), torch.randn(200, generator=seeded(99))
    result = find_formula(x, y, widths=[[1, 1]])
    assert not result.formula.found
    assert result.formula.expr != 0  # an edge that varies is never snapped to zero


def test_the_same_seed_gives_the_same_formula() -> None:
    x = uniform(200, 1)
    first, second = (
        find_formula(x, torch.exp(x), generator=seeded(3), widths=[[1, 1]]) for _ in range(2)
    )
    assert str(first.formula.expr) == str(second.formula.expr) == "exp(x)"
    assert torch.equal(first.model(x), second.model(x))


def test_bad_arguments_are_refused() -> None:
    x, y = composed(50)
    with pytest.raises(ValueError, match="at least 40 samples"):
        find_formula(x[:39], y[:39])
    with pytest.raises(ValueError, match="at least 40 samples"):
        find_formula(x, y[:49])
    with pytest.raises(ValueError, match="x and y must be finite"):
        find_formula(x, y / 0)
    with pytest.raises(ValueError, match="x and y must vary"):
        find_formula(torch.cat([x, torch.ones(50, 1)], 1), y)
    with pytest.raises(ValueError, match="restarts must be at least 1, got 0"):
        find_formula(x, y, restarts=0)
    with pytest.raises(ValueError, match="num_intervals must be numbers of at least 1"):
        find_formula(x, y, num_intervals=[])
    with pytest.raises(ValueError, match="widths must start with 2 and end with 1"):
        find_formula(x, y, widths=[[1, 1]])
    with pytest.raises(ValueError, match="widths must hold at least one shape"):
        find_formula(x, y, widths=[])
