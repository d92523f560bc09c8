"""Formulas of whole networks: what they say, and what they say when there is none."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import kanlite as kl
from kanlite.symbolic import Formula, to_formula
from tests.helpers import default_dtype, seeded, spline_network, uniform

sympy = pytest.importorskip("sympy")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


@pytest.fixture(scope="module")
def composed() -> tuple[kl.KAN, Tensor, Tensor]:
    """exp(sin(pi x) + y^2) as splines of [2, 1, 1], the hidden node shifted and scaled."""
    with default_dtype(torch.float64):
        x = uniform(600, 2)
        y = torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2)
        inner = [[lambda u: 2 * torch.sin(math.pi * u) + 0.3, lambda u: 2 * u**2 - 1]]
        outer = [[lambda z: torch.exp((z + 0.7) / 2)]]
        return spline_network(inner, outer, x=x), x, y


@pytest.fixture(scope="module")
def read(composed: tuple[kl.KAN, Tensor, Tensor]) -> Formula:
    with default_dtype(torch.float64):
        return to_formula(*composed, names=["x", "y"])


def test_the_formula_of_a_composition(read: Formula) -> None:
    x, y = sympy.symbols("x y")
    assert sympy.simplify(read.expr - sympy.exp(sympy.sin(sympy.pi * x) + y**2)) == 0
    assert read.found
    assert read.is_symbolic
    assert read.rmse < 1e-12
    assert read.relative_error < 1e-12 < read.model_error


def test_the_table_has_a_row_for_each_edge(read: Formula) -> None:
    assert [row.chosen for row in read.table] == ["sin", "x^2", "exp"]
    assert [(row.layer, row.out_index, row.in_index) for row in read.table] == [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
    ]
    for row in read.table:
        assert row.runner_up not in ("", row.chosen)
        assert row.error < 1e-4
        assert f"{row.runner_up_error:.1e}" in read.report()


def test_a_formula_can_be_called(read: Formula, composed: tuple[kl.KAN, Tensor, Tensor]) -> None:
    _, x, y = composed
    assert torch.allclose(read(x), y, rtol=1e-12)
    assert read(x.reshape(2, 300, 2)).shape == (2, 300, 1)
    assert read(x.float()).dtype == torch.float32
    with pytest.raises(ValueError, match="x must have last dimension 2"):
        read(x[:, :1])


def test_latex(read: Formula) -> None:
    assert read.latex() == sympy.latex(read.expr)
    assert r"\pi" in read.latex()


def test_without_targets_the_model_is_read(composed: tuple[kl.KAN, Tensor, Tensor]) -> None:
    model, x, _ = composed
    before = {name: value.clone() for name, value in model.state_dict().items()}
    formula = to_formula(model, x)
    assert formula.found
    assert [row.chosen for row in formula.table] == ["sin", "x^2", "exp"]
    assert (formula(x) - model(x)).abs().max() < 5e-3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_product_by_quarter_squares() -> None:
    """Many networks compute x y: the simplest of them is read."""
    x = uniform(500, 2)
    y = x[:, :1] * x[:, 1:]
    up, down = (lambda u: 1.3 * u), (lambda u: -1.3 * u)
    square, minus = (lambda z: z**2 / 6.76), (lambda z: -(z**2) / 6.76)
    model = spline_network([[up, up], [up, down]], [[square, minus]], x=x)
    formula = to_formula(model, x, y, names=["x", "y"])
    assert formula.found
    assert formula.expr == sympy.Symbol("x") * sympy.Symbol("y")


def product(x: Tensor, factors: list[list[Callable[[Tensor], Tensor]]]) -> nn.Sequential:
    """A network whose output is a quarter of the product of two sums of the given functions."""
    first = spline_network(factors, x=x)[0]
    z = first(x).detach().prod(-1, keepdim=True)
    return nn.Sequential(first, kl.Multiply(0, 1), spline_network([[lambda p: p / 4]], x=z)[0])


def test_a_product_node_is_read_as_a_product() -> None:
    x = uniform(500, 2)
    y = (x[:, :1] - 0.5) * torch.sin(2 * x[:, 1:])
    model = product(
        x, [[lambda u: 4 * u - 2, lambda u: 0 * u], [lambda u: 0 * u, lambda u: torch.sin(2 * u)]]
    )
    formula = to_formula(model, x, y, names=["x", "y"])
    u, v = sympy.symbols("x y")
    assert formula.found
    assert sympy.expand(formula.expr - (u - sympy.Rational(1, 2)) * sympy.sin(2 * v)) == 0
    assert torch.allclose(formula(x), y)
    assert [row.chosen for row in formula.table] == ["x", "constant", "constant", "sin", "x"]


def test_functions_may_move_between_edges_that_share_an_input() -> None:
    """In cos a - k cos^2 a + (b + k) cos^2 a, no edge but one is what it seems."""
    x = uniform(600, 2, low=-2.0, high=2.0)
    y = torch.cos(x[:, :1]) + x[:, 1:] * torch.cos(x[:, :1]) ** 2
    zero = lambda u: 0 * u  # noqa: E731
    rows = [
        [lambda u: torch.cos(u) - 0.7 * torch.cos(u) ** 2, zero],
        [zero, lambda u: u + 0.7],
        [lambda u: torch.cos(u) ** 2, zero],
    ]
    first = spline_network(rows, x=x)[0]
    multiply = kl.Multiply(1, 1)
    last = spline_network([[lambda z: z, lambda z: z]], x=multiply(first(x)).detach())[0]
    formula = to_formula(nn.Sequential(first, multiply, last), x, y, names=["a", "b"])
    a, b = sympy.symbols("a b")
    assert formula.found
    assert sympy.expand(formula.expr - sympy.cos(a) - b * sympy.cos(a) ** 2) == 0


def test_noise_that_grows_with_the_values_does_not_invent_constants() -> None:
    x = uniform(1000, 3, low=0.5, high=2.0)
    clean = x[:, :1] * x[:, 1:2] / x[:, 2:]
    y = clean * (1 + 0.01 * torch.randn(clean.shape, generator=seeded(5)))
    functions: list[list[Callable[[Tensor], Tensor]]] = [[torch.log, torch.log, lambda u: -u.log()]]
    model = spline_network(functions, [[torch.exp]], x=x)
    formula = to_formula(model, x, y, names=["n", "T", "V"])
    assert formula.found
    assert not formula.expr.atoms(sympy.Add)  # no offset: V + 0.0008 and the like


def test_an_offset_that_the_data_do_not_need_is_none() -> None:
    x = uniform(500, 2)
    y = x[:, :1] * x[:, 1:]
    zero = lambda u: 0 * u  # noqa: E731
    factors = [[lambda u: 4 * u + 1e-5, zero], [zero, lambda u: u - 2e-5]]
    formula = to_formula(product(x, factors), x, y, names=["x", "y"])
    assert formula.found
    assert formula.expr == sympy.Symbol("x") * sympy.Symbol("y")


def test_several_outputs_noise_and_a_bare_layer() -> None:
    x = uniform(800, 2)
    clean = torch.stack([2 * x[:, 0] ** 2 - x[:, 1], torch.exp(x[:, 0]) / 3 + x[:, 1] ** 3], 1)
    y = clean + 0.01 * torch.randn(clean.shape, generator=seeded(99))
    model = kl.KAN([2, 2], kl.BSpline(5), residual=None, generator=seeded(99))
    optimizer = kl.LevenbergMarquardt(model)
    for _ in range(5):
        optimizer.step(x, y)
    formula = to_formula(model[0], x, y, names=["x", "y"])
    u, v = sympy.symbols("x y")
    assert formula.found
    assert formula.expr == [2 * u**2 - v, sympy.exp(u) / 3 + v**3]
    assert formula.latex().count("\n") == 1
    assert 0.008 < formula.rmse < 0.012


def test_constants_that_are_not_nice_have_significant_digits() -> None:
    x = uniform(300, 1, low=0.5, high=2.0)
    y = 0.1234567 * torch.log(x) + 0.456789
    model = spline_network([[lambda u: 0.1234567 * torch.log(u) + 0.456789]], x=x)
    formula = to_formula(model, x, y, digits=3)
    numbers = sorted(float(n) for n in formula.expr.atoms(sympy.Float))
    assert numbers == pytest.approx([0.123, 0.457], abs=1e-4)
    assert formula.found
    assert 1e-4 < formula.relative_error < 5e-3  # of what is shown


def test_what_has_no_short_formula_is_said_to_have_none() -> None:
    x = uniform(600, 1)
    y = torch.special.bessel_j0(20 * x)
    model = kl.KAN([1, 1], kl.BSpline(60), residual=None, generator=seeded(99))
    optimizer = kl.LevenbergMarquardt(model)
    for _ in range(5):
        optimizer.step(x, y)
    formula = to_formula(model, x, y)
    assert not formula.found
    assert not formula.is_symbolic
    assert formula.table[0].numeric
    assert "phi_0_0_0(x" in str(formula.expr)
    assert torch.allclose(formula(x), model(x), atol=1e-3)
    assert "no short formula found" in formula.report()


def test_a_network_that_was_not_trained_enough_explains_nothing() -> None:
    x = uniform(600, 2)
    y = torch.sin(3 * x[:, :1]) * x[:, 1:]
    model = spline_network([[lambda u: torch.sin(3 * u), lambda u: u]], x=x)
    assert not to_formula(model, x, y).found


def test_edges_that_do_not_vary_are_constants() -> None:
    x = uniform(300, 2)
    y = x[:, :1] ** 2
    model = spline_network([[lambda u: u**2 - 0.25, lambda u: 0 * u + 0.25]], x=x)
    formula = to_formula(model, x, y)
    assert str(formula.expr) == "x1**2"
    assert [row.chosen for row in formula.table] == ["x^2", "constant"]


def test_bad_arguments_are_refused() -> None:
    model, x = kl.KAN([2, 1], kl.BSpline(), generator=seeded()), uniform(50, 2)
    with pytest.raises(ValueError, match="model must be a KAN or a KANLayer, got Linear"):
        to_formula(nn.Linear(2, 1), x)
    with pytest.raises(ValueError, match=r"model must hold KAN layers, .* got Tanh after KANLayer"):
        to_formula(nn.Sequential(model[0], nn.Tanh()), x)
    with pytest.raises(ValueError, match=r"model must hold KAN layers, .* got Multiply after None"):
        to_formula(nn.Sequential(kl.Multiply(0, 1), model[0]), x)
    with pytest.raises(ValueError, match="model must not normalize its inputs"):
        to_formula(kl.KAN([2, 1], kl.BSpline(), normalize=nn.LayerNorm), x)
    with pytest.raises(ValueError, match="at least 20 samples of 2 features"):
        to_formula(model, x[:19])
    with pytest.raises(ValueError, match="as many samples, got 50 and 49"):
        to_formula(model, x, x[:49, :1])
    with pytest.raises(ValueError, match="x and y must be finite"):
        to_formula(model, x / 0)
    with pytest.raises(ValueError, match="names must be 2 different names"):
        to_formula(model, x, names=["x", "x"])
    with pytest.raises(ValueError, match="tolerance must be finite and above 0, got 0"):
        to_formula(model, x, tolerance=0.0)
    with pytest.raises(ValueError, match=r"digits must be in \[1, 15\], got 0"):
        to_formula(model, x, digits=0)
