"""Levenberg-Marquardt: its Jacobian, its steps, and what it refuses."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import kanlite as kl
from kanlite.edges import roughness
from kanlite.gauss_newton import layer_jacobians
from tests.helpers import default_dtype, same_state, seeded, snapshot, uniform


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def target(x: Tensor) -> Tensor:
    return torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:2] ** 2)


MODELS = {
    "kan": lambda: kl.KAN([2, 3, 2], kl.BSpline(4), generator=seeded()),
    "without residual, with bias": lambda: kl.KAN(
        [2, 3, 2], kl.BSpline(4), residual=None, bias=True, generator=seeded()
    ),
    "knots per feature": lambda: kl.KAN(
        [2, 3, 2], lambda n: kl.BSpline.from_data(uniform(50, n), 4), generator=seeded()
    ),
    "normalized": lambda: kl.KAN([2, 3, 2], kl.BSpline(4), normalize=lambda n: nn.Tanh()),
    "layers between others": lambda: nn.Sequential(
        nn.Tanh(), kl.KANLayer(2, 3, kl.BSpline(4)), nn.Tanh(), kl.KANLayer(3, 2, kl.BSpline(3))
    ),
}


@pytest.mark.parametrize("path", ["auto", "torch", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_a_layers_sums_are_those_of_autograds_jacobian(name: str, path: str) -> None:
    model, x, y = MODELS[name](), uniform(20, 2, low=-1.3, high=1.3), uniform(20, 2)
    lm, scale = kl.LevenbergMarquardt(model), uniform(20, low=0.5, high=2.0)
    assert lm.is_kan
    r, jacobian = lm._by_autograd(x, y)
    assert torch.equal(r, (model(x) - y).detach())
    j = (jacobian * scale[:, None, None]).flatten(0, 1)
    with kl.kernels.use(path):
        residuals, a, g = lm._sums(x, y, scale)
    assert torch.allclose(residuals, r * scale[:, None], rtol=0, atol=1e-14)
    assert torch.allclose(a, j.T @ j, rtol=0, atol=1e-11)
    assert torch.allclose(g, j.T @ residuals.flatten(), rtol=0, atol=1e-11)


def test_the_jacobian_is_the_product_of_its_factors() -> None:
    model, x = MODELS["without residual, with bias"](), uniform(20, 2)
    lm, y = kl.LevenbergMarquardt(model), torch.zeros(20, 2)
    found = layer_jacobians(model, list(model), x, torch.ones(20), lambda p: p)
    assert found is not None
    dense = torch.cat([factors.dense() for factors in found[1]], 2)
    assert torch.allclose(dense, lm._by_autograd(x, y)[1], rtol=0, atol=1e-13)


def test_a_layer_that_runs_twice_is_differentiated_by_autograd() -> None:
    layer = kl.KANLayer(1, 1, kl.BSpline(4), generator=seeded())
    model, x = nn.Sequential(layer, layer), uniform(40, 1)
    lm = kl.LevenbergMarquardt(model)
    j = lm._by_autograd(x, x)[1].flatten(0, 1)
    assert torch.allclose(lm._sums(x, x, torch.ones(40))[1], j.T @ j, rtol=0, atol=1e-12)


@pytest.mark.parametrize("part", ["coef", "residual_weight", "bias"])
def test_any_part_of_a_layer_may_be_frozen(part: str) -> None:
    model, x = kl.KAN([2, 3, 1], kl.BSpline(4), bias=True, generator=seeded()), uniform(30, 2)
    getattr(model[1], part).requires_grad_(False)
    lm = kl.LevenbergMarquardt(model)
    j = lm._by_autograd(x, target(x))[1].flatten(0, 1)
    a = lm._sums(x, target(x), torch.ones(30))[1]
    assert torch.allclose(a, j.T @ j, rtol=0, atol=1e-12)


def test_frozen_parameters_take_no_part() -> None:
    model, x = MODELS["kan"](), uniform(50, 2)
    model[0].coef.requires_grad_(False)
    frozen = model[0].coef.clone()
    lm = kl.LevenbergMarquardt(model)
    before = lm.step(x, target(x).expand(-1, 2))
    assert lm.step(x, target(x).expand(-1, 2)) < before
    assert torch.equal(model[0].coef, frozen)


def test_one_layer_is_linear_least_squares() -> None:
    x = uniform(200, 1)
    model = kl.KAN([1, 1], kl.BSpline(8), residual=None, generator=seeded())
    lm = kl.LevenbergMarquardt(model, damping=1e-10)
    lm.step(x, torch.sin(3 * x))
    basis = model[0].basis(x.squeeze(1))
    best = torch.linalg.lstsq(basis, torch.sin(3 * x)).solution
    assert torch.allclose(model[0].coef[0], best, atol=1e-7)


def test_the_loss_never_rises_and_becomes_small() -> None:
    x = uniform(500, 2)
    model = kl.KAN([2, 5, 1], kl.BSpline(5), generator=seeded())
    lm = kl.LevenbergMarquardt(model)
    losses = [lm.step(x, target(x)) for _ in range(40)]
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 1e-5
    untrained = kl.KAN([2, 5, 1], kl.BSpline(5), generator=seeded())
    assert losses[0] == pytest.approx(nn.functional.mse_loss(untrained(x), target(x)).item())


def test_chunks_change_nothing_but_rounding() -> None:
    x, results = uniform(100, 2), []
    for chunk_size in (7, 1000):
        model = kl.KAN([2, 3, 1], kl.BSpline(4), generator=seeded())
        lm = kl.LevenbergMarquardt(model, chunk_size=chunk_size)
        for _ in range(3):
            lm.step(x, target(x))
        results.append(model(x))
    assert torch.allclose(*results, atol=1e-9)


def test_weights_count_samples() -> None:
    x = uniform(60, 2)
    weight = torch.arange(60) % 3
    models = [kl.KAN([2, 2, 1], kl.BSpline(3), generator=seeded()) for _ in range(2)]
    repeated = x.repeat_interleave(weight, 0)
    first = kl.LevenbergMarquardt(models[0]).step(x, target(x), weight=weight.double())
    second = kl.LevenbergMarquardt(models[1]).step(repeated, target(repeated))
    assert first * 60 == pytest.approx(second * len(repeated))


def test_a_residual_of_a_function_gives_the_same_step() -> None:
    x = uniform(80, 2)
    models = [kl.KAN([2, 3, 1], kl.BSpline(4), generator=seeded()) for _ in range(2)]
    direct, general = (kl.LevenbergMarquardt(model) for model in models)
    for _ in range(3):
        one = direct.step(x, target(x))
        two = general.step_residual(lambda f, a, b: f(a) - b, x, target(x))
        assert one == pytest.approx(two, rel=1e-9)
    assert torch.allclose(models[0](x), models[1](x), atol=1e-8)


def test_a_differential_equation_is_solved() -> None:
    x = torch.linspace(0, 1, 100)[:, None]
    model = kl.KAN([1, 1], kl.BSpline(10, low=0.0), residual=None, generator=seeded())
    lm = kl.LevenbergMarquardt(model)

    def residual(f, z):  # f' = -f and f(0) = 1
        start = f(torch.zeros(1)) - 1
        return torch.cat([torch.func.jacrev(f)(z).reshape(1) + f(z), 3 * start])

    for _ in range(10):
        lm.step_residual(residual, x)
    assert (model(x) - torch.exp(-x)).abs().max() < 1e-5


def test_other_modules_are_differentiated_by_autograd() -> None:
    x = uniform(100, 2)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), kl.KANLayer(8, 1, kl.BSpline(3)))
    lm = kl.LevenbergMarquardt(model)
    assert not lm.is_kan
    losses = [lm.step(x, target(x)) for _ in range(30)]
    assert losses[-1] < 1e-3 * losses[0]


def test_smoothness_is_part_of_the_loss() -> None:
    x, weight = uniform(50, 1), 1e-4
    model = kl.KAN([1, 1], kl.BSpline(20), residual=None, generator=seeded())
    noise = torch.randn(50, 1, generator=seeded(1))
    penalty = kl.Penalty(smoothness=weight)
    expected = nn.functional.mse_loss(model(x), noise) + penalty(model, x)
    lm = kl.LevenbergMarquardt(model, smoothness=weight)
    assert lm.step(x, noise) == pytest.approx(expected.item())
    for _ in range(5):
        lm.step(x, noise)
    loss = nn.functional.mse_loss(model(x), noise) + penalty(model, x)
    (gradient,) = torch.autograd.grad(loss, model[0].coef)
    assert gradient.abs().max() < 1e-8  # a minimum of the penalized loss
    rough = roughness(model[0])[0]
    assert model[0].coef[0, :, 0] @ rough @ model[0].coef[0, :, 0] > 0


def test_float32_models_are_solved_in_float64() -> None:
    x = uniform(300, 2).float()
    model = kl.KAN([2, 5, 1], kl.BSpline(5), generator=seeded()).float()
    lm = kl.LevenbergMarquardt(model)
    for _ in range(30):
        loss = lm.step(x, target(x))
    assert loss < 1e-5
    assert model[0].coef.dtype == torch.float32


def test_at_a_minimum_it_says_so_and_stays() -> None:
    x = uniform(50, 1)
    model = kl.KAN([1, 1], kl.BSpline(4), generator=seeded())
    lm = kl.LevenbergMarquardt(model)
    for _ in range(60):
        lm.step(x, torch.sin(3 * x))
        if lm.converged:
            break
    assert lm.converged
    here = model(x)
    lm.step(x, torch.sin(3 * x))
    assert torch.allclose(model(x), here, atol=1e-6)


def test_what_is_linear_takes_few_steps_and_no_vain_trials() -> None:
    x = uniform(300, 1)
    model = kl.KAN([1, 1], kl.BSpline(40), residual=None, generator=seeded())
    lm, forwards = kl.LevenbergMarquardt(model), 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    model.register_forward_hook(count)
    steps = 0
    while not lm.converged:
        lm.step(x, torch.sin(9 * x))
        steps += 1
    assert steps <= 10
    assert forwards <= 2 * steps  # one for the derivatives, one to try


def test_a_residual_is_evaluated_once_for_its_derivatives() -> None:
    model, x, calls = kl.KAN([1, 1], kl.BSpline(4), generator=seeded()), uniform(20, 1), 0

    def residual(f, z: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return f(z) - y

    kl.LevenbergMarquardt(model).step_residual(residual, x, torch.sin(x))
    assert calls == 2  # all samples at once: the derivatives with the values, and one trial


def test_its_state_can_be_kept() -> None:
    x, models = uniform(100, 2), []
    for stop in (False, True):
        model = kl.KAN([2, 3, 1], kl.BSpline(4), generator=seeded())
        lm = kl.LevenbergMarquardt(model)
        for step in range(8):
            lm.step(x, target(x))
            if stop and step == 3:
                state, lm = lm.state_dict(), kl.LevenbergMarquardt(model)
                lm.load_state_dict(state)
        models.append(model)
    assert same_state(*models)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothness": -1.0}, "smoothness must be finite and at least 0"),
        ({"smoothness": float("nan")}, "smoothness must be finite"),
        ({"damping": 0.0}, "damping must be finite and above 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kl.LevenbergMarquardt(MODELS["kan"](), **options)


def test_models_that_are_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 to 5000 trainable parameters.*got 9000"):
        kl.LevenbergMarquardt(kl.KAN([100, 10], kl.BSpline()))


def test_bad_data_are_refused_and_change_nothing() -> None:
    model, x = MODELS["kan"](), uniform(10, 2)
    lm, before = kl.LevenbergMarquardt(model), snapshot(model)
    with pytest.raises(ValueError, match="y must have the shape of the prediction"):
        lm.step(x, uniform(10, 1))
    with pytest.raises(ValueError, match="weight must hold 10 finite numbers"):
        lm.step(x, uniform(10, 2), weight=-torch.ones(10))
    with pytest.raises(FloatingPointError, match="not finite"):
        lm.step(x, torch.full((10, 2), torch.inf))
    assert same_state(model, before)
