"""The bases other than B-splines: the laws of every basis, and what is special about each."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import autograd_derivative, default_dtype, largest, same_state, seeded, uniform
from scipy.special import eval_chebyt
from test_bases import (  # noqa: F401 (the laws run here too, on the bases of this file)
    around,
    float64,
    test_config_and_buffers_rebuild_the_basis,
    test_derivative_is_autograds_inside_and_outside,
    test_integers_and_other_numbers_of_features_are_refused,
    test_lower_precision_runs,
    test_negative_order_is_refused,
    test_off_domain_is_the_share_outside,
    test_order_zero_is_the_function,
    test_select_takes_features_in_the_given_order,
    test_shapes_for_any_leading_dimensions,
    test_what_is_not_finite_is_never_made_finite,
)
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

import kanlite as kl
from kanlite.other_bases import Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch

LOWS, HIGHS = [-1.0, 0.0, 2.0], [1.0, 3.0, 2.5]


def ends() -> tuple[Tensor, Tensor]:
    """A domain for each of three features."""
    return torch.tensor(LOWS), torch.tensor(HIGHS)


def centers() -> Tensor:
    """Six irregular centers for each of three features."""
    gaps = 0.2 + torch.rand(3, 6, generator=seeded())
    return torch.tensor(LOWS)[:, None] + gaps.cumsum(-1)


def denominators(groups: int, degree: int) -> Tensor:
    return 2 * uniform(groups, degree, seed=5)


# Functions, so that each test has a basis of its own in the dtype of the moment.
BASES: dict[str, Callable[[], kl.Basis]] = {
    "GaussianRBF, shared": GaussianRBF,
    "GaussianRBF, each": lambda: GaussianRBF(
        centers=centers(), width=torch.tensor([0.5, 1.0, 2.0])
    ),
    "ReflectionalSwitch, shared": ReflectionalSwitch,
    "ReflectionalSwitch, each": lambda: ReflectionalSwitch(centers=centers(), width=0.5),
    "Chebyshev, tanh, shared": lambda: Chebyshev(5),
    "Chebyshev, tanh, each": lambda: Chebyshev(4, *ends()),
    "Chebyshev, polynomials, shared": lambda: Chebyshev(5, 0.0, 3.0, squash=None),
    "Chebyshev, polynomials, each": lambda: Chebyshev(4, *ends(), squash=None),
    "Chebyshev, constant": lambda: Chebyshev(0),
    "Fourier, shared": lambda: Fourier(3),
    "Fourier, each": lambda: Fourier(2, *ends()),
    "Rational, shared": lambda: Rational(denominator=denominators(1, 4)),
    "Rational, defaults": Rational,
    "Rational, groups": lambda: Rational(
        3, 4, in_features=3, num_groups=3, denominator=denominators(3, 4)
    ),
    "Rational, each": lambda: Rational(5, 2, *ends(), denominator=denominators(1, 2)),
}


@pytest.fixture(params=BASES)
def basis(request: pytest.FixtureRequest) -> kl.Basis:
    return BASES[request.param]()


# Laws besides those imported ------------------------------------------------------------------


def test_ends_of_the_domain_belong_to_it(basis: kl.Basis) -> None:
    both = torch.stack([basis.low, basis.high])
    assert not basis.outside(both).any()
    assert basis.outside(torch.stack([basis.low - 1e-9, basis.high + 1e-9])).all()


def test_one_point_at_a_time_gives_the_same_as_all_at_once(basis: kl.Basis) -> None:
    """To the last bits: vectorized functions may round otherwise than those of one number."""
    x = around(basis, 6)
    values = basis(x)
    assert largest(values - torch.stack([basis(point) for point in x])) <= 1e-15 * largest(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_of_a_derivative_is_that_of_the_input(basis: kl.Basis, dtype: torch.dtype) -> None:
    x = around(basis, 4).to(dtype)
    assert basis.to(dtype).derivative(x, 2).dtype == dtype


def test_derivatives_can_be_differentiated_again(basis: kl.Basis) -> None:
    """Double backward, and the derivative of a closed form is the next closed form."""
    x = around(basis, 5).requires_grad_()
    (first,) = torch.autograd.grad(basis(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + 0 * x.sum(), x)
    d, dd = basis.derivative(x, 1).sum(-1), basis.derivative(x, 2).sum(-1)
    assert largest(first - d) <= 1e-11 * max(1.0, largest(d))
    assert largest(second - 2 * d * dd) <= 1e-11 * max(1.0, largest(d * dd))


def test_vmap_and_jacrev(basis: kl.Basis) -> None:
    x = around(basis, 4)
    jacobian = vmap(jacrev(basis))(x)  # (4, *F, num_basis, *F)
    if basis.feature_shape:
        assert not (jacobian * (1 - torch.eye(3)[:, None, :])).any(), "feature i sees x_i alone"
        jacobian = jacobian.sum(-1)
    expected = basis.derivative(x)
    assert largest(jacobian - expected) <= 1e-11 * max(1.0, largest(expected))


@pytest.mark.parametrize(
    "name",
    [
        "ReflectionalSwitch, each",
        "Chebyshev, tanh, shared",
        "Fourier, each",
        "Rational, groups",
    ],
)
def test_compiles_whole(name: str) -> None:
    basis = BASES[name]()
    features = len(basis.low) if basis.feature_shape else 3
    layer = kl.KANLayer(features, 2, basis, generator=seeded())
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = around(basis, 4) if basis.feature_shape else around(basis, 4, features)
    x.requires_grad_()
    assert largest(compiled(x) - layer(x)) <= 1e-13
    ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (layer, compiled))
    assert largest(ours - theirs) <= 1e-12


def test_a_layer_on_it_is_the_sum_of_its_edges_and_can_be_saved(
    basis: kl.Basis, tmp_path: Path
) -> None:
    features = len(basis.low) if basis.feature_shape else 3
    layer = kl.KANLayer(features, 2, basis, generator=seeded())
    x = around(basis, 5) if basis.feature_shape else around(basis, 5, features)
    assert largest(layer(x) - layer.edges(x).sum(-1)) <= 1e-12
    kl.save(layer, tmp_path / "layer.pt")
    loaded = kl.load(tmp_path / "layer.pt")
    assert same_state(loaded, layer)
    assert torch.equal(loaded(x), layer(x))
    assert repr(loaded) == repr(layer)
    floats = [p for p in loaded.parameters() if p.requires_grad]
    assert len(floats) == len(list(layer.parameters()))


# What is special about each -------------------------------------------------------------------


def numbers() -> Tensor:
    return uniform(50, low=-4.0, high=4.0)


def test_gaussians_are_the_formula() -> None:
    u, x = np.linspace(-2, 2, 8), numbers()
    expected = np.exp(-(((x.numpy()[:, None] - u) / (4 / 7)) ** 2))
    assert np.abs(GaussianRBF()(x).numpy() - expected).max() <= 1e-15
    assert GaussianRBF().width.item() == pytest.approx(4 / 7, abs=1e-15)
    irregular = GaussianRBF(centers=torch.tensor([0.0, 1.0, 4.0]))
    assert irregular.width.item() == 2.0, "the mean distance"


def test_switches_are_the_formula_and_symmetric() -> None:
    u, x = np.linspace(-1.2, 1.2, 8), numbers()
    expected = 1 - np.tanh((x.numpy()[:, None] - u) / 0.7) ** 2
    assert np.abs(ReflectionalSwitch(width=0.7)(x).numpy() - expected).max() <= 1e-15
    basis = ReflectionalSwitch()
    assert largest(basis(-x) - basis(x).flip(-1)) <= 1e-14


@pytest.mark.parametrize("bumps", [GaussianRBF, ReflectionalSwitch])
def test_bumps_peak_at_their_centers_and_fade(bumps: type[kl.Basis]) -> None:
    basis = bumps()
    at_centers = basis(basis.centers)
    assert torch.equal(at_centers.diagonal(), torch.ones(8))
    assert largest(basis.derivative(basis.centers).diagonal()) == 0
    assert largest(basis(torch.tensor([-1e3, 1e3]))) == 0
    assert not basis.derivative(torch.tensor([-1e3, 1e3]), 3).any()


def test_polynomials_are_chebyshevs() -> None:
    x, d = numbers(), np.arange(8)
    ours = Chebyshev(7, squash=None)(x.clamp(-1, 1))
    assert np.abs(ours.numpy() - eval_chebyt(d, x.clamp(-1, 1).numpy()[:, None])).max() <= 1e-14
    ours = Chebyshev(7)(x)
    assert np.abs(ours.numpy() - eval_chebyt(d, np.tanh(x.numpy())[:, None])).max() <= 1e-13
    scaled = Chebyshev(3, 2.0, 6.0, squash=None)
    assert scaled(torch.tensor([2.0, 4.0, 6.0])).tolist() == [
        [1.0, -1.0, 1.0, -1.0],
        [1.0, 0.0, -1.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
    ]


def test_chebyshev_derivatives_against_numpy() -> None:
    x = uniform(20)
    ours = Chebyshev(6, squash=None)
    for order in range(1, 8):
        for d in range(7):
            series = np.polynomial.chebyshev.Chebyshev.basis(d).deriv(order)
            expected = torch.from_numpy(series(x.numpy()))
            assert largest(ours.derivative(x, order)[:, d] - expected) <= 1e-10


def test_fourier_is_the_formula_with_x_itself_in_every_dtype() -> None:
    x, k = numbers(), np.arange(1, 5)
    phase = x.numpy()[:, None] * k
    expected = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)
    assert np.abs(Fourier(4)(x).numpy() - expected).max() <= 1e-14
    with default_dtype(torch.float32):
        single = Fourier(4).double()  # pi is rounded in float32, the function must not know
    assert np.abs(single(x).numpy() - expected).max() <= 1e-14
    assert Fourier(2).low.item() == -math.pi


def test_fourier_repeats_with_the_length_of_its_domain() -> None:
    basis, x = Fourier(3, -1.0, 4.0), numbers()
    assert largest(basis(x) - basis(x + 5.0)) <= 1e-13
    assert largest(basis(x) - basis(x + 2.5)) > 0.1


def test_rational_is_the_formula_for_each_group() -> None:
    b = denominators(2, 4)
    basis = Rational(in_features=6, num_groups=2, denominator=b)
    x = uniform(40, 6, low=-3.0, high=3.0).numpy()
    for i in range(6):
        q = sum(b[i // 3, j].item() * x[:, i] ** (j + 1) for j in range(4))
        for p in range(6):
            expected = torch.from_numpy(x[:, i] ** p / (1 + np.abs(q)))
            ours = basis(torch.from_numpy(x))[:, i, p]
            assert largest(ours - expected) <= 1e-13 * max(1.0, largest(expected))


def test_rational_has_a_denominator_that_learns() -> None:
    basis = Rational(denominator=denominators(1, 4))
    names = [name for name, _ in basis.named_parameters()]
    assert names == ["denominator"]

    def values(b: Tensor, x: Tensor) -> Tensor:
        return functional_call(basis, {"denominator": b}, (x,))

    b, x = basis.denominator.detach().requires_grad_(), uniform(6).requires_grad_()
    assert torch.autograd.gradcheck(values, (b, x))
    assert torch.autograd.gradgradcheck(values, (b, x))
    fresh = Rational()
    fresh(uniform(6)).sum().backward()
    assert fresh.denominator.grad is not None
    assert fresh.denominator.grad.all(), "no gradient is stuck at zero"


def test_rational_at_a_kink_agrees_with_autograd() -> None:
    basis = Rational(3, 1, denominator=torch.tensor([[2.0]]))  # Q = 2 z changes sign at 0
    x = torch.tensor([0.0])
    for order in range(4):
        assert torch.equal(basis.derivative(x, order), autograd_derivative(basis, x, order))


def test_group_rational_of_kat_is_a_special_case() -> None:
    """y = W phi(x), phi = P5 / (1 + |Q4|) with one P and Q per group: coefficients a_p W_oi."""
    a, b, w = uniform(2, 6, seed=1), denominators(2, 4), uniform(3, 8, seed=2)
    group = torch.arange(8) // 4
    x = uniform(30, 8, low=-2.0, high=2.0)
    p = sum(a[group, j] * x**j for j in range(6))
    q = sum(b[group, j] * x ** (j + 1) for j in range(4))
    expected = (p / (1 + q.abs())) @ w.T
    basis = Rational(in_features=8, num_groups=2, denominator=b)
    layer = kl.KANLayer(8, 3, basis, residual=None, generator=seeded())
    with torch.no_grad():
        layer.coef.copy_(a[group].unsqueeze(-1) * w.T.unsqueeze(1))
    assert largest(layer(x) - expected) <= 1e-12


def test_a_mean_squared_error_falls_with_every_basis() -> None:
    """The parts work together: fit on each basis."""
    x = uniform(200, 2)
    y = (x[:, :1] * x[:, 1:]).detach()
    for name in (
        "GaussianRBF, shared",
        "Chebyshev, tanh, shared",
        "Fourier, shared",
        "Rational, defaults",
    ):
        model = kl.KAN([2, 4, 1], BASES[name](), generator=seeded())
        history = kl.fit(model, (x, y), steps=60, optimizer="adam", generator=seeded())
        assert history.train_loss[-1] < 0.5 * history.train_loss[0], name


# Construction ---------------------------------------------------------------------------------


def test_per_feature_from_one_tensor_end() -> None:
    basis = Chebyshev(2, 0.0, torch.tensor([1.0, 2.0]))
    assert basis.feature_shape == (2,)
    assert basis.low.tolist() == [0.0, 0.0]
    assert Rational(high=torch.tensor([1.0, 2.0, 3.0])).feature_shape == (3,)
    assert Rational(in_features=4, low=-3.0).low.tolist() == [-3.0] * 4


def test_buffers_are_copies() -> None:
    given = torch.linspace(-1, 1, 4)
    basis = GaussianRBF(centers=given)
    given.zero_()
    assert basis.centers.any()
    b = torch.ones(1, 4)
    rational = Rational(denominator=b)
    b.zero_()
    assert rational.denominator.all()


def test_groups_stay_with_their_features() -> None:
    basis = Rational(2, 1, in_features=4, num_groups=2, denominator=torch.tensor([[1.0], [5.0]]))
    chosen = basis.select([3, 0])
    x = uniform(6, 4)
    assert torch.equal(chosen(x[:, [3, 0]]), basis(x)[:, [3, 0]])
    assert chosen.group.tolist() == [1, 0]


def test_representations() -> None:
    assert repr(GaussianRBF()) == "GaussianRBF(num_basis=8, [-2, 2], width=0.5714)"
    assert "3 domains, width=3 widths" in repr(BASES["GaussianRBF, each"]())
    assert repr(Chebyshev(3)) == "Chebyshev(degree=3, [-1, 1], squash='tanh')"
    assert repr(Fourier(2, 0.0, 1.0)) == "Fourier(num_frequencies=2, [0, 1])"
    assert "numerator_degree=3, denominator_degree=4, 3 domains, num_groups=3" in repr(
        BASES["Rational, groups"]()
    )


INTEGERS = torch.arange(4)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "one center": (lambda: GaussianRBF(1), "num_basis must be at least 2, got 1"),
    "reversed centers": (lambda: ReflectionalSwitch(3, 1.0, 0.0), "low < high, got 1.0 and 0.0"),
    "infinite domain": (lambda: GaussianRBF(3, 0.0, math.inf), "finite with low < high"),
    "centers and sizes": (
        lambda: GaussianRBF(5, centers=torch.rand(3)),
        "centers already say num_basis",
    ),
    "switch centers and sizes": (
        lambda: ReflectionalSwitch(low=0.0, centers=torch.rand(3)),
        "centers already say num_basis",
    ),
    "integer centers": (lambda: GaussianRBF(centers=INTEGERS), "centers must be floating point"),
    "lone center": (lambda: GaussianRBF(centers=torch.zeros(2, 1)), r"got torch.float64 of shape"),
    "unsorted centers": (
        lambda: ReflectionalSwitch(centers=torch.tensor([0.0, 0.0, 1.0])),
        "centers must be finite and increase",
    ),
    "NaN centers": (
        lambda: GaussianRBF(centers=torch.tensor([0.0, math.nan])),
        "centers must be finite and increase",
    ),
    "zero width": (lambda: GaussianRBF(width=0.0), r"width must be positive and finite, got 0.0"),
    "NaN width": (lambda: GaussianRBF(width=math.nan), "width must be positive and finite"),
    "widths without rows": (
        lambda: GaussianRBF(width=torch.ones(2)),
        r"width must be a number or have shape \(\), .* got shape \(2,\)",
    ),
    "negative degree": (lambda: Chebyshev(-1), "degree must be at least 0, got -1"),
    "unknown squash": (
        lambda: Chebyshev(3, squash="sin"),
        "squash must be 'tanh' or None, got 'sin'",
    ),
    "empty domain": (lambda: Chebyshev(3, 1.0, 1.0), "low < high, got 1.0 and 1.0"),
    "one empty domain": (
        lambda: Fourier(3, torch.zeros(2), torch.tensor([1.0, 0.0])),
        r"low < high, got \[0.0, 0.0\] and \[1.0, 0.0\]",
    ),
    "NaN domain": (lambda: Fourier(3, math.nan, 1.0), "low and high must be finite"),
    "matrix of ends": (lambda: Fourier(1, torch.zeros(2, 2)), r"got shapes \(2, 2\) and \(\)"),
    "unequal ends": (
        lambda: Chebyshev(1, torch.zeros(2), torch.ones(3)),
        r"low and high must be numbers or have shape \(in_features,\), got shapes \(2,\) and",
    ),
    "no frequency": (lambda: Fourier(0), "num_frequencies must be at least 1, got 0"),
    "negative numerator": (lambda: Rational(-1), "numerator_degree must be at least 0"),
    "no denominator": (lambda: Rational(3, 0), "denominator_degree at least 1, got 3 and 0"),
    "groups of nothing": (lambda: Rational(num_groups=2), "num_groups must be 1 where in_features"),
    "no group": (lambda: Rational(in_features=2, num_groups=0), "num_groups must be"),
    "unequal groups": (
        lambda: Rational(in_features=5, num_groups=2),
        "in_features must be a positive multiple of num_groups = 2, got 5",
    ),
    "ends of other features": (
        lambda: Rational(high=torch.ones(3), in_features=2),
        r"low and high must be numbers or have shape \(2,\) = \(in_features,\), got shape \(3,\)",
    ),
    "denominator of another shape": (
        lambda: Rational(denominator=torch.ones(1, 3)),
        r"denominator must have shape .* = \(1, 4\), got \(1, 3\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_construction_is_refused_by_name(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
