"""Networks for tables: equal rows are one, strengths follow the noise, nothing needs scaling."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers import default_dtype, seeded
from torch import Tensor

import kanlite as kl
from kanlite.edges import roughness
from kanlite.optim import LevenbergMarquardt
from kanlite.tables import (
    Recipe,
    Rows,
    Trained,
    _curvature,
    _network,
    _PenalizedLevenbergMarquardt,
    _Prior,
    _weighted_quantiles,
    fit_rows,
    importances,
    merge_rows,
    probabilities,
    split_rows,
)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def sine(count: int = 120, noise: float = 0.0, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(count, 1))
    return merge_rows(x, np.sin(2 * x) + noise * rng.normal(size=x.shape))


def trained(rows: Rows, seed: int = 0, outputs: int = 1, **options: Any) -> Any:
    return fit_rows(rows, Recipe(**options), outputs=outputs, generator=seeded(seed))


def test_equal_rows_are_one_row_of_their_weight() -> None:
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(9, 2)), rng.integers(0, 3, 9), rng.integers(0, 4, 9)
    mixed = rng.permutation(np.repeat(np.arange(9), w))
    once, often = merge_rows(x, y, w), merge_rows(x[mixed], y[mixed])
    assert once.y.dtype == torch.int64
    assert len(once) == (w > 0).sum()
    for name in ("x", "y", "weight"):
        assert torch.equal(getattr(once, name), getattr(often, name))


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_weights_that_are_none_are_refused(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="sample_weight must hold 2 finite numbers, at least 0"):
        merge_rows(np.zeros((2, 1)), np.zeros((2, 1)), np.array(weight))


def test_quantiles_follow_the_weights_and_keep_the_ends() -> None:
    x = torch.arange(5.0)[:, None]
    sample = _weighted_quantiles(x, torch.tensor([1.0, 1, 1, 1, 96]))
    assert sample[0] == 0
    assert sample[-1] == 4
    assert (sample > 3.4).double().mean() > 0.9


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_curvature_on_equal_knots_is_roughness(degree: int) -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline(6, degree, 3.0, 5.0), residual=None)
    torch.testing.assert_close(_curvature(layer), roughness(layer))


def test_curvature_costs_nothing_for_lines_and_forgives_bends_between_dense_knots() -> None:
    knots = kl.quantile_knots(torch.cat([torch.linspace(0, 1, 99), torch.tensor([100.0])]), 8, 3)
    layer = kl.KANLayer(1, 1, kl.BSpline(knots=knots), residual=None)
    x = torch.linspace(0, 100, 5000)

    def cost(y: Tensor) -> float:
        c = torch.linalg.lstsq(layer.basis(x), y[:, None]).solution[:, 0]
        return float(c @ _curvature(layer)[0] @ c)

    assert cost(3 + 2 * x) < 1e-12 * float(x.square().sum())
    bend = layer.basis(x)[:, 4]
    ours = cost(bend)
    theirs = float(roughness(layer)[0, 4, 4])
    assert ours < 1e-3 * theirs


def test_penalized_steps_minimize_what_the_prior_adds() -> None:
    """The matrix and the scalar agree: loss of a step = mean square + prior."""
    rows = sine(40)
    model = _network(rows, Recipe(widths=(2,)), 1, seeded())
    prior = _Prior(model, Recipe(smoothness=3.0, shrinkage=0.5), 40.0, "lm")
    lm = _PenalizedLevenbergMarquardt(model, prior)
    error = float((model(rows.x) - rows.y).detach().square().mean())
    expected = error + float(prior(model, rows.x).detach())
    assert lm.step(rows.x, rows.y) == pytest.approx(expected, rel=1e-12)
    assert lm.error == pytest.approx(error, rel=1e-9)
    assert prior.update(lm) == 0.0  # given numbers stay
    assert isinstance(lm, LevenbergMarquardt)


def test_the_evidence_finds_the_noise() -> None:
    """A linear model: strengths settle where their fixed point says, and errors beat both sides."""
    quiet, noisy = trained(sine(200), widths=()), trained(sine(200, noise=0.5), widths=())
    assert noisy.smoothness[0] > 100 * quiet.smoothness[0]
    clean = sine(300, seed=5)

    def error(model: kl.KAN) -> float:
        return float((model(clean.x) - clean.y).detach().square().mean().sqrt())

    free = trained(sine(200, noise=0.5), widths=(), num_intervals=30, smoothness=0, shrinkage=1e-9)
    learned = trained(sine(200, noise=0.5), widths=(), num_intervals=30)
    stiff = trained(sine(200, noise=0.5), widths=(), num_intervals=30, smoothness=1e4)
    assert error(learned.model) < 0.7 * error(free.model)
    assert error(learned.model) < 0.7 * error(stiff.model)


def test_units_do_not_matter() -> None:
    rows = sine()
    scaled = Rows(1e6 + 1e3 * rows.x, 1e-4 * rows.y - 7, rows.weight)
    one, other = trained(rows, steps=10).model, trained(scaled, steps=10).model
    gap = (other(scaled.x) + 7) * 1e4 - one(rows.x)
    assert float(gap.abs().max().detach()) < 1e-4


def test_a_column_that_never_varies_has_no_effect() -> None:
    rows = sine()
    both = Rows(torch.cat([rows.x, torch.full_like(rows.x, 3.0)], 1), rows.y, rows.weight)
    model = trained(both, steps=10).model
    elsewhere = both.x.clone()
    elsewhere[:, 1] = -50.0
    torch.testing.assert_close(model(elsewhere), model(both.x))


@pytest.mark.parametrize("optimizer", ["lm", "lbfgs", "adam"])
def test_every_optimizer_learns_a_weighted_table(optimizer: Any) -> None:
    rows = sine()
    rows.weight[:] = torch.linspace(0.5, 1.5, len(rows))
    steps = {"lm": 30, "lbfgs": 60, "adam": 600}[optimizer]
    done = trained(rows, optimizer=optimizer, steps=steps, batch_size=50)
    assert float((done.model(rows.x) - rows.y).square().mean().sqrt().detach()) < 0.15
    assert len(done.history.train_loss) <= steps
    assert done.history.seconds > 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_classes(outputs: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(150, 1))
    y = np.digitize(x[:, 0], [0.0] if outputs == 1 else [-0.4, 0.4])
    rows = merge_rows(x, y)
    model = trained(rows, outputs=outputs, task="classification", widths=(2,)).model
    share = probabilities(model(rows.x))
    assert float((share.argmax(1) == rows.y).double().mean()) > 0.97
    torch.testing.assert_close(share.sum(1), torch.ones(150))


def test_stopping_early_keeps_the_best() -> None:
    training, watched = split_rows(sine(40, noise=0.5), 0.3, seeded())
    done = fit_rows(
        training,
        Recipe(smoothness=0, shrinkage=1e-9, patience=3, steps=60),
        outputs=1,
        validation=watched,
        generator=seeded(),
    )
    losses = done.history.validation_loss
    assert len(losses) == losses.index(min(losses)) + 4 < 60
    spread = training.y.std(correction=0)
    best = ((done.model(watched.x) - watched.y) / spread).square().mean()
    assert float(best.detach()) == pytest.approx(min(losses), rel=1e-9)


def test_going_on_starts_where_the_last_training_ended() -> None:
    rows = sine()
    first = trained(rows, steps=20)
    again = fit_rows(rows, Recipe(steps=1), outputs=1, start=first, generator=seeded())
    assert again.history.train_loss[0] < 0.01 * first.history.train_loss[0]
    other = kl.KAN([1, 1], kl.Chebyshev(3), bias=True)
    with pytest.raises(ValueError, match="start must have B-splines, got Chebyshev"):
        fit_rows(rows, Recipe(), outputs=1, start=Trained(other, first.history, [], []))


def test_large_tables_take_cheaper_steps() -> None:
    from kanlite.tables import _chosen

    model = kl.KAN([10, 5, 1], kl.BSpline(), residual=None)
    assert _chosen(Recipe(), model, 1000) == "lm"
    assert _chosen(Recipe(), model, 10**5) == "lbfgs"
    assert _chosen(Recipe(task="classification"), model, 1000) == "lbfgs"
    assert _chosen(Recipe(), model, 10**7) == "adam"
    assert _chosen(Recipe(optimizer="lm"), model, 10**7) == "lm"


def test_splits_take_their_share_of_every_class() -> None:
    rows = merge_rows(np.arange(60.0)[:, None], np.arange(60) % 3)
    training, watched = split_rows(rows, 0.2, seeded())
    assert watched.y.bincount().tolist() == [4, 4, 4]
    assert len(training) == 48
    with pytest.raises(ValueError, match="rows must be at least 2 to be split, got 1"):
        split_rows(rows[torch.tensor([0])], 0.5)


def test_importances_are_shares() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 3))
    rows = merge_rows(x, x[:, :1] + 0.3 * x[:, 1:2] ** 2)
    shares = importances(trained(rows).model, rows.x)
    assert shares.argsort(descending=True).tolist() == [0, 1, 2]
    assert float(shares.sum()) == pytest.approx(1.0)
    assert importances(trained(rows, steps=1).model, rows.x[:1]).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (3, 0)}, r"widths must be numbers of at least 1, got \(3, 0\)"),
        ({"num_intervals": 0}, "num_intervals must be at least 1, got 0"),
        ({"degree": -1}, "degree must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1 or None, got 0"),
        ({"uniform_fraction": 0.0}, r"uniform_fraction must be in \(0, 1\], got 0.0"),
        ({"optimizer": "sgd"}, "optimizer must be 'auto', 'lm', 'lbfgs' or 'adam', got 'sgd'"),
        ({"optimizer": "lm", "task": "classification"}, "for classification, got 'lm'"),
        ({"smoothness": -1.0}, "smoothness must be 'auto' or finite and at least 0, got -1.0"),
        ({"shrinkage": "some"}, "shrinkage must be 'auto' or finite and at least 0, got 'some'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**options)


def test_a_bar_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    rows, options = sine(20), Recipe(steps=2)
    fit_rows(rows, options, outputs=1, progress=True)
    assert "2/2" in capsys.readouterr().err
    fit_rows(rows, options, outputs=1, progress="auto")
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="progress must be True, False or 'auto', got 'yes'"):
        fit_rows(rows, options, outputs=1, progress="yes")  # type: ignore[arg-type]
