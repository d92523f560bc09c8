"""fit: what it minimizes, what it refuses, how it stops, and how it goes on after a kill."""

import copy
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import workers
from helpers import (
    default_dtype,
    forkserver,
    largest,
    same_state,
    seeded,
    small_model,
    snapshot,
    uniform,
    wait_for,
)
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import kanlite as kl
from kanlite import training
from kanlite.persistence import read_file, write_file


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    x = uniform(40, 2)
    return x, torch.sin(2 * x[:, :1]) * x[:, 1:]


def sgd(lr: float) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.02)


# What it minimizes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "steps", "goal"),
    [("adam", 150, 1e-2), ("lbfgs", 40, 1e-3), (adamw, 150, 1e-2), (sgd(0.3), 150, 3e-2)],
    ids=["adam", "lbfgs", "callable AdamW", "callable SGD"],
)
def test_optimizers_learn_a_smooth_function(
    optimizer: Any, steps: int, goal: float, data: tuple[Tensor, Tensor]
) -> None:
    history = kl.fit(small_model(), data, optimizer=optimizer, steps=steps)
    assert len(history.train_loss) == steps
    assert history.train_loss[0] > 3 * goal
    assert history.train_loss[-1] < goal
    assert history.seconds > 0


def test_full_batch_steps_are_those_of_a_loop_by_hand(data: tuple[Tensor, Tensor]) -> None:
    ours, theirs = small_model(), small_model()
    penalty = lambda model, x: 0.1 * model[0].coef.square().sum()  # noqa: E731
    history = kl.fit(
        ours, data, optimizer=adamw, steps=5, loss=nn.L1Loss(), penalty=penalty, adapt_knots=False
    )
    optimizer, losses = adamw(theirs.parameters()), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (theirs(data[0]) - data[1]).abs().mean() + penalty(theirs, data[0])
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert same_state(ours, theirs)
    assert history.train_loss == pytest.approx(losses, rel=1e-14)


def test_mini_batches_see_every_sample_once_per_epoch(data: tuple[Tensor, Tensor]) -> None:
    """Whatever the batch size; at the full size the order of the samples stays."""
    x, n = data[0], len(data[0])
    for size in (1, 7, n - 1, n, n + 1, 10 * n):
        seen: list[Tensor] = []

        def loss(prediction: Tensor, target: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(target)
            return (prediction - target[:, :1]).square().mean()

        epoch = math.ceil(n / min(size, n))
        kl.fit(
            small_model(), (x, x), steps=2 * epoch, loss=loss, batch_size=size, adapt_knots=False
        )
        assert [len(batch) for batch in seen[: epoch - 1]] == [min(size, n)] * (epoch - 1)
        epochs = torch.cat(seen[:epoch]), torch.cat(seen[epoch:])
        for one in epochs:
            assert torch.equal(one.sort(0).values, x.sort(0).values)
        assert torch.equal(*epochs) == (size >= n)


def test_one_step_is_enough(data: tuple[Tensor, Tensor]) -> None:
    for optimizer in ("adam", "lbfgs"):
        model = small_model()
        before = snapshot(model)
        history = kl.fit(model, data, optimizer=optimizer, steps=1, validation=data)
        assert not same_state(model, before)
        assert len(history.train_loss) == 1
        assert history.validation_steps == [1]


def test_several_outputs() -> None:
    x = uniform(60, 2)
    y = torch.stack([x[:, 0] ** 2, x[:, 1], x[:, 0] * x[:, 1]], -1)
    history = kl.fit(small_model(widths=(2, 4, 3)), (x, y), optimizer="lbfgs", steps=60)
    assert history.train_loss[-1] < 1e-3


def test_cross_entropy_learns_classes() -> None:
    x = uniform(100, 2)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    model = small_model(widths=(2, 3))
    kl.fit(model, (x, y), loss="cross_entropy", steps=200)
    assert (model(x).argmax(-1) == y).double().mean() > 0.9


def test_data_with_more_dimensions() -> None:
    x = uniform(8, 5, 2)
    history = kl.fit(small_model(), (x, x.sum(-1, keepdim=True)), optimizer="lbfgs", steps=30)
    assert history.train_loss[-1] < 1e-3


def test_a_float32_model_and_layers_among_others() -> None:
    with default_dtype(torch.float32):
        model = nn.Sequential(nn.Linear(3, 2), small_model(), nn.Linear(1, 1))
        x = uniform(30, 3)
        history = kl.fit(model, (x, x[:, :1]), steps=100)
    assert history.train_loss[-1] < 0.2 * history.train_loss[0]
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_any_module_can_be_trained(data: tuple[Tensor, Tensor]) -> None:
    """With no KAN layer there are no knots to adapt, even where it holds a bare basis."""

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.basis = kl.BSpline()
            self.head = nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.basis(x).flatten(-2))

    for model in (nn.Linear(2, 1), Features()):
        history = kl.fit(model, data, steps=20)
        assert history.train_loss[-1] < history.train_loss[0]


def test_frozen_parameters_stay(data: tuple[Tensor, Tensor]) -> None:
    model = small_model()
    model[0].requires_grad_(False)
    before = snapshot(model)
    kl.fit(model, data, steps=5, adapt_knots=False)
    assert torch.equal(model[0].coef, before["0.coef"])
    assert not torch.equal(model[1].coef, before["1.coef"])


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_penalty_is_minimized_with_the_loss(optimizer: Any, data: tuple[Tensor, Tensor]) -> None:
    def penalty(model: nn.Module, x: Tensor) -> Tensor:
        return 3.0 * model[0].edges(x).abs().mean()

    free, held = small_model(), small_model()
    plain = kl.fit(free, data, optimizer=optimizer, steps=60)
    history = kl.fit(held, data, optimizer=optimizer, steps=60, penalty=penalty)
    first = small_model()
    kl.fit(first, data, optimizer=sgd(0.0), steps=1)  # adapts its knots, and no more
    expected = plain.train_loss[0] + penalty(first, data[0]).item()
    assert history.train_loss[0] == pytest.approx(expected, rel=1e-12)
    with torch.no_grad():
        assert penalty(held, data[0]) < 0.5 * penalty(free, data[0])


# Loaders and other iterables -----------------------------------------------------------------


def batches_of(data: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(data[0].split(size), data[1].split(size), strict=True))


def test_a_list_of_batches_is_gone_through_again_and_again(data: tuple[Tensor, Tensor]) -> None:
    pairs, seen = batches_of(data, 15), []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return (prediction - target).square().mean()

    kl.fit(small_model(), pairs, steps=7, loss=loss)
    expected = [pairs[i % 3][1] for i in range(7)]
    assert all(map(torch.equal, seen, expected))
    assert len(seen) == 7


@pytest.mark.parametrize("kind", [list, tuple])
def test_pairs_may_be_lists_as_loaders_make_them(
    kind: Callable[[Any], Any], data: tuple[Tensor, Tensor]
) -> None:
    pairs = [kind(pair) for pair in batches_of(data, 20)]
    assert len(kl.fit(small_model(), pairs, steps=3).train_loss) == 3


def test_a_loader_of_one_batch_is_the_full_batch(data: tuple[Tensor, Tensor]) -> None:
    models = [small_model() for _ in range(3)]
    loader = DataLoader(TensorDataset(*data), batch_size=len(data[0]))
    for model, given in zip(models, (data, [data], loader), strict=True):
        kl.fit(model, given, optimizer="lbfgs", steps=5)
    assert same_state(models[0], models[1])
    assert same_state(models[0], models[2])


def test_a_seeded_loader_reproduces(data: tuple[Tensor, Tensor]) -> None:
    def run(seed: int) -> kl.KAN:
        loader = DataLoader(TensorDataset(*data), 7, shuffle=True, generator=seeded(seed))
        model = small_model()
        kl.fit(model, loader, steps=20)
        return model

    assert same_state(run(1), run(1))
    assert not same_state(run(1), run(2))


def test_a_generator_that_is_exhausted_says_so(data: tuple[Tensor, Tensor]) -> None:
    """Once through it is enough where its batches last."""
    pairs = batches_of(data, 10)
    assert len(kl.fit(small_model(), (pair for pair in pairs), steps=4).train_loss) == 4
    with pytest.raises(ValueError, match="an iterator that can be used only once"):
        kl.fit(small_model(), (pair for pair in pairs), steps=5)


# Random numbers, output and files: nothing on the side ---------------------------------------


def test_a_generator_reproduces_and_leaves_all_others_alone(data: tuple[Tensor, Tensor]) -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    models = [small_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        kl.fit(model, data, steps=10, batch_size=8, generator=seeded(seed))
    assert same_state(models[0], models[1])
    assert not same_state(models[0], models[2])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


def test_without_a_generator_the_global_one_decides(data: tuple[Tensor, Tensor]) -> None:
    models = [small_model() for _ in range(2)]
    with torch.random.fork_rng():
        for model in models:
            torch.manual_seed(9)
            kl.fit(model, data, steps=10, batch_size=8)
    assert same_state(*models)


def test_it_is_silent_and_writes_nothing(
    data: tuple[Tensor, Tensor],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    kl.fit(small_model(), data, steps=3, validation=data)
    kl.fit(small_model(), data, steps=3, progress=False)
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_a_bar_is_shown_where_it_is_wanted(
    data: tuple[Tensor, Tensor], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kl.fit(small_model(), data, steps=3, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "loss=" in err
    monkeypatch.setattr(training, "_is_live", lambda: True)  # a person watches a notebook
    kl.fit(small_model(), data, steps=3)
    assert "3/3" in "".join(capfd.readouterr())


@pytest.mark.parametrize("host", ["JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"])
def test_a_notebook_is_live_only_where_somebody_watches(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(training.sys.modules, "ipykernel", object())
    assert not training._is_live(), "a converter runs it"
    monkeypatch.setenv(host, "1")
    assert training._is_live()
    monkeypatch.delitem(training.sys.modules, "ipykernel")
    assert not training._is_live(), "a script in a terminal of the same program"


# History and validation ----------------------------------------------------------------------


def test_validation_watches_and_influences_nothing(data: tuple[Tensor, Tensor]) -> None:
    watched, alone = small_model(), small_model()
    validation = (uniform(9, 2, seed=5), uniform(9, 1, seed=6))
    history = kl.fit(watched, data, steps=30, validation=validation)
    plain = kl.fit(alone, data, steps=30)
    assert same_state(watched, alone)
    assert history.train_loss == plain.train_loss
    assert plain.validation_loss == plain.validation_steps == []
    assert history.validation_steps == list(range(1, 31))
    expected = (watched(validation[0]) - validation[1]).square().mean().item()
    assert history.validation_loss[-1] == pytest.approx(expected, rel=1e-14)


def test_long_runs_are_validated_about_a_hundred_times(data: tuple[Tensor, Tensor]) -> None:
    history = kl.fit(nn.Linear(2, 1), data, steps=455, validation=data)
    assert history.validation_steps == [*range(4, 455, 4), 455]
    assert len(history.validation_loss) == len(history.validation_steps)


def test_validation_is_in_evaluation_mode_and_every_module_gets_its_mode_back(
    data: tuple[Tensor, Tensor],
) -> None:
    modes: list[tuple[bool, bool]] = []
    model = nn.Sequential(small_model(), nn.Dropout(0.5), nn.BatchNorm1d(1))
    model[2].eval()  # frozen by its owner
    model.register_forward_hook(lambda *_: modes.append((model[1].training, model[2].training)))
    kl.fit(model, data, steps=2, validation=data, adapt_knots=False)
    assert modes == [(True, False), (False, False)] * 2
    assert [module.training for module in model] == [True, True, False]
    with pytest.raises(ValueError, match="y must have the shape of the prediction"):
        kl.fit(model, data, steps=2, validation=(data[0], data[1][:, 0]), adapt_knots=False)
    assert [module.training for module in model] == [True, True, False]


# Knots that follow the activations -----------------------------------------------------------


def test_knots_are_adapted_at_powers_of_two_in_the_first_half(
    data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original, count = training.adapt_knots_, 0

    def spy(model: nn.Module, x: Tensor, **options: Any) -> bool:
        steps.append(count)
        return original(model, x, **options)

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return (prediction - target).square().mean()

    monkeypatch.setattr(training, "adapt_knots_", spy)
    kl.fit(small_model(), data, steps=40, loss=loss)
    assert steps == [0, 1, 2, 4, 8, 16]
    kl.fit(small_model(), data, steps=3, adapt_knots=False)
    assert len(steps) == 6


def test_adapting_is_a_choice(data: tuple[Tensor, Tensor]) -> None:
    x = 5 * data[0]
    moved, still = small_model(), small_model()
    before = snapshot(still)
    kl.fit(moved, (x, data[1]), steps=10)
    kl.fit(still, (x, data[1]), steps=10, adapt_knots=False)
    assert torch.equal(still[0].basis.knots, before["0.basis.knots"])
    assert torch.equal(still[1].basis.knots, before["1.basis.knots"])
    assert not moved[0].off_domain(x).any()
    assert not moved[1].off_domain(moved[0](x)).any()


def test_the_optimizer_forgets_when_knots_move(data: tuple[Tensor, Tensor]) -> None:
    made: list[torch.optim.Optimizer] = []

    def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made.append(torch.optim.Adam(parameters))
        return made[0]

    model, ages = small_model(), []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        ages.append(len(made[0].state))
        if len(ages) == 6:  # activations leave the domain before step 8, unlike before 1, 2 and 4
            model[1].basis.knots = 0.01 * model[1].basis.knots
        return (prediction - target).square().mean()

    kl.fit(model, data, optimizer=adam, steps=20, loss=loss)
    assert ages[7] > 0
    assert ages[8] == 0
    assert ages[9] > 0


# What it refuses -----------------------------------------------------------------------------

X, Y = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)


def _with(value: float) -> Tensor:
    bad = Y.clone()
    bad[2, 0] = value
    return bad


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no samples": (
        {"data": (X[:0], Y[:0])},
        r"same number of samples, at least one, got shapes \(0, 2\) and \(0, 1\)",
    ),
    "no batches": ({"data": []}, "must yield batches in every epoch, got none"),
    "an empty batch": ({"data": [(X[:0], Y[:0])]}, "at least one"),
    "other numbers of samples": ({"data": (X, Y[:3])}, r"got shapes \(4, 2\) and \(3, 1\)"),
    "single numbers": ({"data": (X[0, 0], Y[0, 0])}, r"got shapes \(\) and \(\)"),
    "NaN in x": ({"data": (X * math.nan, Y)}, "x in data must be finite, got 8 NaN"),
    "NaN in y": ({"data": (X, _with(math.nan))}, "y in data must be finite, got 1 NaN"),
    "infinity in y": ({"data": (X, _with(-math.inf))}, "y in data must be finite, got 1 NaN"),
    "NaN in a batch": ({"data": [(X, Y), (X * math.nan, Y)]}, "x in data must be finite"),
    "NaN in validation": (
        {"validation": (X, _with(math.nan))},
        "y in validation must be finite, got 1 NaN",
    ),
    "only x": ({"data": X}, "data must be tensors .* or an iterable of them, got Tensor"),
    "nothing": ({"data": None}, "data must be .* got NoneType"),
    "a list of x and y": ({"data": [X, Y]}, "must give pairs of tensors .*, got Tensor"),
    "a list of numbers": ({"data": [1, 2]}, "must give pairs of tensors .*, got int"),
    "arrays": ({"data": (X.numpy(), Y.numpy())}, "must give pairs of tensors .*, got ndarray"),
    "x without y": ({"data": (X, None)}, "must give pairs of tensors"),
    "batches of three": ({"data": [(X, Y, Y)]}, "must give pairs of tensors .*, got tuple"),
    "validation of one tensor": ({"validation": X}, "validation must give pairs of tensors"),
    "x of another dtype": (
        {"data": (X.float(), Y)},
        r"x must have the dtype .* torch\.float64, got torch\.float32",
    ),
    "x of integers": ({"data": (X.long(), Y)}, r"x must be floating point, got torch\.int64"),
    "x of another width": ({"data": (X[:, :1], Y)}, "last dimension in_features = 2"),
    "y of integers": ({"data": (X, Y.long())}, r"y must be floating point, got torch\.int64"),
    "y without its last dimension": (
        {"data": (X, Y[:, 0])},
        r"y must have the shape of the prediction, \(4, 1\), got \(4,\)",
    ),
    "classes that are floating point": (
        {"data": (X, Y[:, 0]), "loss": "cross_entropy"},
        r"y must hold class indices, torch\.int64 of shape \(4,\), got torch\.float64",
    ),
    "classes in a column": (
        {"data": (X, Y.long()), "loss": "cross_entropy"},
        r"y must hold class indices, .* got torch\.int64 of shape \(4, 1\)",
    ),
    "no steps": ({"steps": 0}, "steps must be at least 1, got 0"),
    "no batch size": ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    "checkpoints never": ({"checkpoint_every": 0}, "checkpoint_every must be at least 1, got 0"),
    "a batch size for batches": (
        {"data": [(X, Y)], "batch_size": 2},
        "batch_size must be None where data come in batches, got 2",
    ),
    "unknown optimizer": (
        {"optimizer": "newton"},
        "optimizer must be 'adam', 'lbfgs', 'lm' or a callable, got 'newton'",
    ),
    "unknown loss": ({"loss": "hinge"}, "loss must be one of .*, got 'hinge'"),
    "unknown progress": ({"progress": "maybe"}, "progress must be .*, got 'maybe'"),
    "lbfgs with mini-batches": ({"optimizer": "lbfgs", "batch_size": 2}, "needs full batches"),
    "lbfgs with batches": ({"optimizer": "lbfgs", "data": [(X, Y)] * 2}, "needs full batches"),
    "lbfgs with a tuple of batches": (
        {"optimizer": "lbfgs", "data": ((X, Y), (X, Y))},
        "needs full batches",
    ),
    "lbfgs with an iterator": ({"optimizer": "lbfgs", "data": iter([(X, Y)])}, "full batches"),
    "loss per sample": (
        {"loss": lambda p, t: (p - t).square()[:, 0]},
        r"loss must return a tensor of shape \(\), got torch\.Size\(\[4\]\)",
    ),
    "loss that is a number": (
        {"loss": lambda p, t: (p - t).sum().item()},
        r"loss must return a tensor of shape \(\), got float",
    ),
    "resume from nowhere": ({"resume": True}, "resume needs checkpoint"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name_and_changes_nothing(case: str) -> None:
    arguments, message = REFUSED[case]
    arguments = {"data": (X, Y), "steps": 3, **arguments}
    model = small_model()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        kl.fit(model, arguments.pop("data"), **arguments)
    if case != "NaN in a batch":  # which comes after a good one
        assert same_state(model, before)


def test_a_model_without_parameters_is_refused(data: tuple[Tensor, Tensor]) -> None:
    frozen = small_model().requires_grad_(False)
    for model in (nn.Tanh(), frozen):
        with pytest.raises(ValueError, match="model must have parameters to train, got none"):
            kl.fit(model, data, steps=1)


# How it stops --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("adapt_knots", [True, False])
@pytest.mark.parametrize("at", [0, 1, 4, 7])
def test_a_loss_that_is_not_finite_stops_in_the_last_good_state(
    at: int, bad: float, adapt_knots: bool, data: tuple[Tensor, Tensor]
) -> None:
    """That of the last loss that was finite, bit for bit, with the knots of that time."""
    model = small_model()
    states = [snapshot(model)]

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        states.append(snapshot(model))
        value = (prediction - target).square().mean()
        return value * bad if len(states) == at + 2 else value

    with pytest.raises(FloatingPointError, match=rf"^step {at}: the loss is not finite; the model"):
        kl.fit(model, data, steps=30, loss=loss, adapt_knots=adapt_knots)
    assert len(states) == at + 2
    assert same_state(model, states[at])
    assert at == 0 or not same_state(model, states[at + 1])


def test_a_gradient_that_is_not_finite_is_named(data: tuple[Tensor, Tensor]) -> None:
    """Its loss was finite, so that its state is the last good one."""
    model, states = small_model(), []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        states.append(snapshot(model))
        error = (prediction - target).square().mean()
        return error + (error - error.detach()).sqrt() if len(states) == 4 else error

    with pytest.raises(FloatingPointError, match=r"^step 3: the gradient of 0\.coef is not finite"):
        kl.fit(model, data, steps=9, loss=loss)
    assert same_state(model, states[3])


@pytest.mark.parametrize("adapt_knots", [True, False])
@pytest.mark.parametrize("lr", [1e2, 1e5, 1e20, 1e150, 1e200])
def test_divergence_is_stopped_and_the_model_still_works(
    lr: float, adapt_knots: bool, data: tuple[Tensor, Tensor]
) -> None:
    """Whether a loss, a gradient, a weight or an activation overflows first."""
    model = small_model()
    with pytest.raises(FloatingPointError, match=r"^step \d+: .* is not finite; the model is back"):
        kl.fit(model, data, optimizer=sgd(lr), steps=4000, adapt_knots=adapt_knots)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert model(data[0]).isfinite().all()
    assert (model(data[0]) - data[1]).square().mean().isfinite()


def test_weights_that_are_not_finite_after_the_last_step_are_noticed(
    data: tuple[Tensor, Tensor],
) -> None:
    """No loss comes after them that would tell."""
    model = small_model()
    with pytest.raises(FloatingPointError, match=r"is not finite; the model is back"):
        kl.fit(model, data, optimizer=sgd(math.inf), steps=1)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_model_that_is_not_finite_from_the_start_is_named(data: tuple[Tensor, Tensor]) -> None:
    model = small_model()
    with torch.no_grad():
        model[0].coef[0, 2, 1] = math.nan
    with pytest.raises(FloatingPointError, match=r"^step 0: the input of layer 1 is not finite"):
        kl.fit(model, data, steps=3)
    with pytest.raises(FloatingPointError, match=r"^step 0: the loss is not finite"):
        kl.fit(model, data, steps=3, adapt_knots=False)


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), KeyboardInterrupt()])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_exception_leaves_the_model_at_its_last_good_state(
    error: BaseException, optimizer: Any, data: tuple[Tensor, Tensor]
) -> None:
    """In the middle of a line search too, where the weights are only tried."""
    for at in (1, 2, 5, 6, 9):
        model, states = small_model(), []

        def loss(
            prediction: Tensor,
            target: Tensor,
            at: int = at,
            model: nn.Module = model,
            states: list[dict[str, Tensor]] = states,
        ) -> Tensor:
            states.append(snapshot(model))
            if len(states) == at:
                raise error
            return (prediction - target).square().mean()

        start = snapshot(model)
        with pytest.raises(type(error)):
            kl.fit(model, data, optimizer=optimizer, steps=30, loss=loss, adapt_knots=False)
        assert any(same_state(model, good) for good in (start, *states[:-1]))
        if optimizer == "adam":
            assert same_state(model, states[-2] if at > 1 else start)
        else:
            value = (model(data[0]) - data[1]).square().mean()
            assert value <= (small_model()(data[0]) - data[1]).square().mean()


# Checkpoints ---------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "training.pt"


@pytest.mark.parametrize("name", workers.SCENARIOS)
def test_killed_and_resumed_is_bit_for_bit_as_uninterrupted(name: str, path: Path) -> None:
    """A process is killed by SIGKILL at a random time, twice, and its training resumed."""
    expected, full = workers.train(name)
    rng = random.Random(name)
    for kill in range(2):
        arguments = (name, str(path), kill > 0, 0.004)
        process = forkserver().Process(target=workers.train, args=arguments, daemon=True)
        process.start()
        assert wait_for(path.exists, seconds=120)
        if kill:
            done = read_file(path, "checkpoint")["step"]
            assert wait_for(lambda d=done: read_file(path, "checkpoint")["step"] > d, seconds=120)
        process.join(rng.uniform(0.0, 0.04))
        process.kill()
        process.join()
        assert process.exitcode == -9, "it must not have come to its end"
        assert 0 < read_file(path, "checkpoint")["step"] < workers.STEPS
    model, history = workers.train(name, str(path), resume=True)
    assert same_state(model, expected)
    assert history.train_loss == full.train_loss
    assert history.validation_loss == full.validation_loss
    assert history.validation_steps == full.validation_steps


@pytest.mark.parametrize("name", workers.SCENARIOS)
def test_resuming_from_any_step_is_as_uninterrupted(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every checkpoint, at the ends of epochs and where knots move among them."""
    files: list[bytes] = []
    original = training._Run.save

    def keep(run: training._Run, to: Any) -> None:
        original(run, to)
        files.append(Path(to).read_bytes())

    monkeypatch.setattr(training._Run, "save", keep)
    expected, full = workers.train(name, str(path))
    assert len(files) == workers.STEPS // 3 + 1
    for content in files[:6] + files[-1:]:
        path.write_bytes(content)
        model, history = workers.train(name, str(path), resume=True)
        assert same_state(model, expected)
        assert history.train_loss == full.train_loss


def test_checkpoints_change_nothing_and_come_as_often_as_asked(
    data: tuple[Tensor, Tensor], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def write(to: Any, kind: str, content: dict[str, Any]) -> None:
        assert kind == "checkpoint"
        steps.append(content["step"])
        write_file(to, kind, content)

    monkeypatch.setattr(training, "write_file", write)
    with_file, without = small_model(), small_model()
    kl.fit(with_file, data, steps=11, checkpoint=path, checkpoint_every=4)
    kl.fit(without, data, steps=11)
    assert same_state(with_file, without)
    assert steps == [4, 8, 11]
    assert os.listdir(path.parent) == ["training.pt"]


def test_resuming_where_there_is_nothing_yet_starts(
    data: tuple[Tensor, Tensor], path: Path
) -> None:
    fresh, plain = small_model(), small_model()
    kl.fit(fresh, data, steps=5, checkpoint=path, resume=True)
    kl.fit(plain, data, steps=5)
    assert same_state(fresh, plain)
    assert path.exists()


def test_without_resume_an_old_checkpoint_is_not_read(
    data: tuple[Tensor, Tensor], path: Path
) -> None:
    path.write_bytes(b"nonsense")
    history = kl.fit(small_model(), data, steps=3, checkpoint=path)
    assert len(history.train_loss) == 3
    assert read_file(path, "checkpoint")["step"] == 3


def test_resuming_what_is_complete_changes_nothing(data: tuple[Tensor, Tensor], path: Path) -> None:
    model, other = small_model(), small_model(seed=1)
    first = kl.fit(model, data, steps=6, checkpoint=path, validation=data)
    written = path.read_bytes()
    again = kl.fit(other, data, steps=6, checkpoint=path, validation=data, resume=True)
    assert same_state(other, model)
    assert again == first, "seconds too"
    assert path.read_bytes() == written


def test_more_steps_go_on_from_the_end(data: tuple[Tensor, Tensor], path: Path) -> None:
    model, at_once = small_model(), small_model()
    arguments: dict[str, Any] = {"optimizer": adamw, "adapt_knots": False}
    kl.fit(model, data, steps=5, checkpoint=path, **arguments)
    history = kl.fit(model, data, steps=12, checkpoint=path, resume=True, **arguments)
    full = kl.fit(at_once, data, steps=12, **arguments)
    assert same_state(model, at_once)
    assert history.train_loss == full.train_loss


def _loader(data: tuple[Tensor, Tensor], **arguments: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data), batch_size=15, **arguments)


class Stream(IterableDataset[Any]):
    """A data set without indices."""

    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(*self.data, strict=True))


LOADERS: dict[str, Callable[[tuple[Tensor, Tensor]], Any]] = {
    "a list": lambda data: batches_of(data, 15),
    "no generator": _loader,
    "workers": lambda data: _loader(data, num_workers=1, generator=seeded()),
    "a sampler of its own": lambda data: _loader(
        data, sampler=WeightedRandomSampler([1.0] * 40, 40), generator=seeded()
    ),
    "a sampler with another generator": lambda data: _loader(
        data, sampler=RandomSampler(range(40), generator=seeded(1)), generator=seeded()
    ),
    "batches of its own": lambda data: DataLoader(
        TensorDataset(*data), batch_sampler=[[0, 1], [2, 3]], generator=seeded()
    ),
    "a stream": lambda data: DataLoader(Stream(data), batch_size=15, generator=seeded()),
}


@pytest.mark.parametrize("kind", [kind for kind in LOADERS if kind != "workers"])
def test_other_loaders_start_the_epoch_again_and_say_so(
    kind: str, data: tuple[Tensor, Tensor], path: Path
) -> None:
    """Where the order of the samples is not known to hang on the loader's generator alone."""
    kl.fit(small_model(), LOADERS[kind](data), steps=2, checkpoint=path)
    seen: list[Tensor] = []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return (prediction - target).square().mean()

    with pytest.warns(UserWarning, match="resumes from the start of the epoch") as caught:
        kl.fit(small_model(), LOADERS[kind](data), steps=4, loss=loss, checkpoint=path, resume=True)
    assert caught[0].filename == __file__, "it points to the caller"
    assert len(seen) == 2
    if "sampler" not in kind:
        first = 2 if kind == "batches of its own" else 15
        assert torch.equal(seen[0], data[1][:first])


def test_loaders_with_workers_say_so_too(data: tuple[Tensor, Tensor]) -> None:
    """Without their processes, which take long to start."""
    batches = training._LoaderBatches(LOADERS["workers"](data))
    with pytest.warns(UserWarning, match="resumes from the start of the epoch"):
        batches.restore({"epoch_start": seeded().get_state(), "position": 1})


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no model": lambda c: c.pop("model"),
    "no modules": lambda c: c.pop("modules"),
    "modules that are a list": lambda c: c.update(modules=[1]),
    "no optimizer": lambda c: c.pop("optimizer"),
    "no step": lambda c: c.pop("step"),
    "a step that is a word": lambda c: c.update(step="many"),
    "no batches": lambda c: c.pop("batches"),
    "a generator of another kind": lambda c: c["batches"].update(epoch_start=torch.zeros(3)),
    "no generator": lambda c: c["batches"].update(epoch_start=None),
    "a global generator of another kind": lambda c: c.update(global_generator=torch.zeros(3)),
    "a history of other things": lambda c: c["history"].update(color="red"),
    "a model that is a list": lambda c: c.update(model=[1]),
    "an optimizer of other parameters": lambda c: c["optimizer"].update(param_groups=[]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_and_changes_nothing(
    name: str, data: tuple[Tensor, Tensor], path: Path
) -> None:
    kl.fit(small_model(), data, steps=3, checkpoint=path)
    content = read_file(path, "checkpoint")
    BROKEN[name](content)
    torch.save(content, path)
    _refuses(path, data, "does not fit")


def _refuses(path: Path, data: Any, message: str, **arguments: Any) -> None:
    model, random_numbers = small_model(seed=3), torch.get_rng_state()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        kl.fit(model, data, steps=5, checkpoint=path, resume=True, generator=seeded(), **arguments)
    assert same_state(model, before)
    assert torch.equal(torch.get_rng_state(), random_numbers)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(
    share: float, data: tuple[Tensor, Tensor], path: Path
) -> None:
    kl.fit(small_model(), data, steps=3, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    _refuses(path, data, r"training\.pt is .*not a kanlite checkpoint")


@pytest.mark.parametrize(
    "make",
    [
        lambda: small_model(widths=(2, 4, 1)),
        lambda: small_model(widths=(2, 3, 3, 1)),
        lambda: small_model().float(),
        lambda: kl.KAN([2, 3, 1], kl.BSpline(5, 2)),
        lambda: nn.Linear(2, 1),
    ],
    ids=["wider", "deeper", "float32", "another degree", "no KAN"],
)
def test_a_checkpoint_of_another_model_is_refused(
    make: Callable[[], nn.Module], data: tuple[Tensor, Tensor], path: Path
) -> None:
    model = make()
    dtype = next(model.parameters()).dtype
    kl.fit(model, (data[0].to(dtype), data[1].to(dtype)), steps=3, checkpoint=path)
    _refuses(path, data, "it is of another model")


# Models whose weights have the shapes of the small model's, and what tells them apart. (Another
# degree with as many functions has another number of knots.)
ALIKE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "residual": (
        lambda: kl.KAN([2, 3, 1], kl.BSpline(4, 3), residual="tanh"),
        r"'0' is KANLayer\(.*residual='tanh'.*\) there and KANLayer\(.*residual='silu'.*\) here",
    ),
    "custom residual": (
        lambda: kl.KAN([2, 3, 1], kl.BSpline(4, 3), residual=torch.sin),
        "'0' is KANLayer.*residual='custom', bias=False, sin",
    ),
    "extrapolation": (
        lambda: kl.KAN([2, 3, 1], kl.BSpline(4, 3, extrapolate="zero")),
        "'0.basis' is BSpline.*zero.* there and BSpline.*linear.* here",
    ),
    "normalization": (
        lambda: kl.KAN(
            [2, 3, 1],
            kl.BSpline(4, 3),
            normalize=lambda n: nn.LayerNorm(n, elementwise_affine=False),
        ),
        r"'0.normalize' is LayerNorm\(\(2,\), .* there and None here",
    ),
    "one more module": (
        lambda: small_model().append(nn.Tanh()),
        r"'2' is Tanh\(\) there and None here",
    ),
    "kind of the whole": (
        lambda: nn.Sequential(*small_model()),
        r"'the whole' is Sequential\(\) there and KAN\(\) here",
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_checkpoint_of_a_model_with_the_same_weights_is_refused_by_name(
    name: str, data: tuple[Tensor, Tensor], path: Path
) -> None:
    make, message = ALIKE[name]
    kl.fit(make(), data, steps=3, checkpoint=path)
    _refuses(path, data, f"does not fit: it is of another model: {message}")


def test_knots_that_have_moved_are_no_other_model(data: tuple[Tensor, Tensor], path: Path) -> None:
    kl.fit(small_model(), (3 * data[0], data[1]), steps=3, checkpoint=path)
    fresh = small_model(seed=1)
    assert read_file(path, "checkpoint")["model"]["0.basis.knots"].ne(fresh[0].basis.knots).any()
    kl.fit(fresh, (3 * data[0], data[1]), steps=5, checkpoint=path, resume=True)


def test_a_checkpoint_of_another_optimizer_or_other_data_is_refused(
    data: tuple[Tensor, Tensor], path: Path
) -> None:
    kl.fit(small_model(), data, steps=3, checkpoint=path)
    _refuses(path, data, "it is of another optimizer, Adam, not SGD", optimizer=sgd(0.1))
    _refuses(path, data, "another optimizer, Adam, not LBFGS", optimizer="lbfgs")
    loader = _loader(data, generator=seeded())
    kl.fit(small_model(), loader, steps=3, checkpoint=path)
    shorter = DataLoader(TensorDataset(*data), batch_size=40, generator=seeded())
    _refuses(path, shorter, "it is of a loader with more batches")


def test_a_model_file_is_no_checkpoint(data: tuple[Tensor, Tensor], path: Path) -> None:
    kl.save(small_model(), path)
    _refuses(path, data, "is not a kanlite checkpoint")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


def test_nothing_runs_from_a_malicious_checkpoint(
    data: tuple[Tensor, Tensor], path: Path, tmp_path: Path
) -> None:
    kl.fit(small_model(), data, steps=3, checkpoint=path)
    marker = tmp_path / "marker"
    torch.save({**read_file(path, "checkpoint"), "step": Bomb(marker)}, path)
    _refuses(path, data, "not safe to load")
    assert not marker.exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    data: tuple[Tensor, Tensor], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = torch.save, 0

    def full(content: object, file: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            file.write(b"half")
            raise OSError("no space left on device")
        original(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        kl.fit(small_model(), data, steps=9, checkpoint=path, checkpoint_every=3)
    assert read_file(path, "checkpoint")["step"] == 3
    assert os.listdir(path.parent) == ["training.pt"]


def test_a_copy_of_a_trained_model_is_the_same_function(data: tuple[Tensor, Tensor]) -> None:
    model = small_model()
    kl.fit(model, data, steps=5)
    assert largest(copy.deepcopy(model)(data[0]) - model(data[0])) == 0
