"""Second-order training through fit, and training from coarse grids to fine ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kanlite as kl
from tests.helpers import default_dtype, same_state, seeded, snapshot, uniform


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def data(samples: int = 300, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = uniform(samples, 2, seed=seed)
    return x, torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)


def model_of(num_intervals: int = 5, widths: tuple[int, ...] = (2, 5, 1)) -> kl.KAN:
    return kl.KAN(widths, kl.BSpline(num_intervals), generator=seeded())


def test_lm_reaches_in_fifty_steps_what_others_do_not() -> None:
    losses = {}
    for optimizer in ("adam", "lbfgs", "lm"):
        history = kl.fit(model_of(), data(), optimizer=optimizer, steps=50)
        losses[optimizer] = history.train_loss[-1]
    assert losses["lm"] < 1e-5
    assert losses["lm"] < 1e-2 * min(losses["adam"], losses["lbfgs"])


def test_lm_takes_residuals_as_its_loss() -> None:
    same = []
    for loss in ("mse", lambda prediction, target: prediction - target):
        model = model_of(3)
        history = kl.fit(
            model, data(80), optimizer="lm", steps=4, loss=loss, validation=data(40, seed=1)
        )
        same.append((history.train_loss, history.validation_loss))
    for one, two in zip(*same, strict=True):
        assert one == pytest.approx(two, rel=1e-6)


def test_lm_stops_where_nothing_helps() -> None:
    x = uniform(60, 1)
    model = kl.KAN([1, 1], kl.BSpline(4), residual=None, generator=seeded())
    history = kl.fit(model, (x, torch.sin(3 * x)), optimizer="lm", steps=500, validation=(x, x))
    assert len(history.train_loss) < 500
    assert history.validation_steps[-1] == len(history.train_loss)


def test_lm_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model_of(3)
    kl.fit(whole, data(), optimizer="lm", steps=10)
    parts, file = model_of(3), tmp_path / "checkpoint.pt"

    class Stop(Exception):
        pass

    step, seen = kl.LevenbergMarquardt.step, 0

    def interrupted(self: kl.LevenbergMarquardt, *args: Tensor) -> float:
        nonlocal seen
        seen += 1
        if seen == 8:
            raise Stop
        return step(self, *args)

    monkeypatch.setattr(kl.LevenbergMarquardt, "step", interrupted)
    with pytest.raises(Stop):
        kl.fit(parts, data(), optimizer="lm", steps=10, checkpoint=file, checkpoint_every=3)
    resumed = model_of(3)
    history = kl.fit(
        resumed, data(), optimizer="lm", steps=10, checkpoint=file, checkpoint_every=3, resume=True
    )
    assert len(history.train_loss) == 10
    assert same_state(resumed, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 10}, "needs full batches"),
        ({"penalty": kl.Penalty(magnitude=1.0)}, "smoothness alone"),
        ({"penalty": lambda model, x: x.sum()}, "smoothness alone"),
    ],
)
def test_lm_says_what_it_cannot_do(options: dict[str, object], message: str) -> None:
    model = model_of()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        kl.fit(model, data(), optimizer="lm", steps=2, **options)
    assert same_state(model, before)


def test_lm_takes_a_smoothness_penalty() -> None:
    rough = {}
    for weight in (0.0, 1e-4):
        x = uniform(60, 1)
        noisy = torch.sin(3 * x) + 0.3 * torch.randn(60, 1, generator=seeded(1))
        model = kl.KAN([1, 1], kl.BSpline(30), residual=None, generator=seeded())
        kl.fit(model, (x, noisy), optimizer="lm", steps=20, penalty=kl.Penalty(smoothness=weight))
        fine = torch.linspace(-1, 1, 400)[:, None]
        rough[weight] = (model(fine) - torch.sin(3 * fine)).square().mean().item()
    assert rough[1e-4] < 0.5 * rough[0.0]


def test_lm_stops_when_something_is_not_finite() -> None:
    model = model_of(3)
    before = snapshot(model)
    with pytest.raises(FloatingPointError, match="step 0"):
        kl.fit(
            model,
            data(),
            optimizer="lm",
            steps=3,
            adapt_knots=False,
            loss=lambda prediction, target: (prediction - target) / 0.0,
        )
    assert same_state(model, before)


def test_finer_grids_make_the_error_fall_like_the_fourth_power() -> None:
    model = kl.KAN([2, 1, 1], kl.BSpline(5), residual=None, generator=seeded())
    before = snapshot(model)
    x, y = data(2000, seed=2)
    errors = []
    for grids in ([5, 10], [5, 10, 20]):
        trained, history = kl.fit_coarse_to_fine(
            model,
            (x, y),
            num_intervals=grids,
            restarts=3,
            steps=30,
            validation=data(300, seed=1),
            generator=seeded(1),
        )
        assert trained[0].basis.num_intervals == grids[-1]
        assert history.validation_steps[-1] == len(history.train_loss)
        errors.append(history.validation_loss[-1] ** 0.5)
    assert same_state(model, before)
    assert errors[1] < errors[0] / 2**3.5


def test_a_refined_model_can_go_on_with_any_optimizer() -> None:
    coarse, _ = kl.fit_coarse_to_fine(model_of(2), data(60), num_intervals=[2, 4], steps=2)
    for optimizer in ("adam", "lbfgs", "lm"):
        model = kl.refine(coarse, 8)
        assert all(parameter.is_contiguous() for parameter in model.parameters())
        history = kl.fit(model, data(60), optimizer=optimizer, steps=5)
        assert history.train_loss[-1] < history.train_loss[0]


def test_restarts_are_chosen_by_validation() -> None:
    x, y = data(100)
    options = {"num_intervals": [3], "steps": 3, "validation": data(100, seed=5)}
    losses = [
        kl.fit_coarse_to_fine(
            model_of(3), (x, y), restarts=restarts, generator=seeded(3), **options
        )[1].validation_loss[-1]
        for restarts in (1, 3, 9)
    ]
    assert losses[0] >= losses[1] >= losses[2]
    assert losses[2] < losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_intervals": []}, "increasing and not empty"),
        ({"num_intervals": [8, 4]}, "increasing and not empty"),
        ({"num_intervals": [4], "restarts": 0}, "restarts must be at least 1"),
        ({"num_intervals": [4], "steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_plans_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kl.fit_coarse_to_fine(model_of(), data(), **options)


def test_other_modules_keep_their_kind() -> None:
    model = nn.Sequential(nn.Tanh(), kl.KANLayer(2, 1, kl.BSpline(3), generator=seeded()))
    trained, _ = kl.fit_coarse_to_fine(model, data(), num_intervals=[3, 6], steps=3)
    assert isinstance(trained[0], nn.Tanh)
    assert trained[1].basis.num_intervals == 6
