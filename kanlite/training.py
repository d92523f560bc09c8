r"""Training: one function, :func:`fit`, for tensors and data loaders.

A step is one parameter update: take a batch, move knots if it is time, evaluate
loss + penalty, and let the optimizer act. What is not finite stops the training with the
model put back into its last good state.

Glossary
    x, y      inputs (samples, in_features) and targets
    step      number of parameter updates done so far
    epoch     one pass over the data
"""

from __future__ import annotations

import copy
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any, Literal, TypeGuard, TypeVar, cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from kanlite.edges import edge_layers
from kanlite.layers import KANLayer
from kanlite.optim import LevenbergMarquardt
from kanlite.parallel import Processes, processes
from kanlite.penalties import Penalty
from kanlite.persistence import BROKEN, fingerprint, read_file, write_file
from kanlite.refinement import adapt_knots_, refine, refined

__all__ = ["History", "fit", "fit_coarse_to_fine"]

M = TypeVar("M", bound=nn.Module)
Pair = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
PenaltyFunction = Callable[[nn.Module, Tensor], Tensor]


@dataclass
class History:
    """What :func:`fit` saw.

    Attributes:
        train_loss: Loss (with the penalty, if any) at each step, before its update.
        validation_loss: Loss on the validation data, after the updates in `validation_steps`.
        validation_steps: Numbers of updates after which it was evaluated: all of them in short
            runs, about a hundred in long ones, always the last.
        seconds: Wall time, resumed runs added up.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def followed_by(self, later: History) -> History:
        """The history of this training and of the one that went on from it."""
        done = len(self.train_loss)
        return History(
            self.train_loss + later.train_loss,
            self.validation_loss + later.validation_loss,
            self.validation_steps + [done + step for step in later.validation_steps],
            self.seconds + later.seconds,
        )


def fit(
    model: nn.Module,
    data: Pair | Iterable[Pair],
    *,
    optimizer: Literal["adam", "lbfgs", "lm"] | OptimizerFactory = "adam",
    steps: int = 1000,
    loss: Literal["mse", "cross_entropy"] | Loss = "mse",
    batch_size: int | None = None,
    validation: Pair | None = None,
    penalty: PenaltyFunction | None = None,
    adapt_knots: bool = True,
    generator: torch.Generator | None = None,
    progress: bool | Literal["auto"] = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    resume: bool = False,
) -> History:
    r"""Train a model, in place.

    Minimizes the mean loss over the data plus the penalty,

    .. math:: \min_\theta\; \frac1N \sum_{s=1}^{N} \ell(f_\theta(x_s), y_s) + R(f_\theta, x).

    Under ``torchrun`` the processes train one model together: each works on its share of every
    batch, gradients are added up, and the first process writes the checkpoints and shows the
    progress. At the same total batch the result is that of one process, to rounding. Tensors (or
    a list of batches) must be the same in all of them; a DataLoader needs a DistributedSampler,
    and a penalty is then the mean over the processes' shares. A loss must be a mean over
    samples. "lm" runs in full in every process.

    Args:
        model: Any module; what has B-spline layers can have its knots adapted.
        data: Tensors (x, y) on one device, or any re-iterable of such pairs: a DataLoader, a list.
        optimizer: "adam" (learning rate 0.01), "lbfgs", "lm" (Levenberg-Marquardt, the choice
            for regression with up to a few thousand parameters), or a callable from parameters
            to an optimizer, for example ``lambda p: torch.optim.AdamW(p, lr=1e-3)``. The second
            and the third need full batches.
        steps: Number of parameter updates, at least 1. "lm" stops before when nothing lowers
            the loss any more.
        loss: "mse" (y shaped like the prediction), "cross_entropy" (y of class indices), or a
            callable (prediction, target) -> scalar. With "lm": "mse", or a callable that gives
            the residuals of one sample, whose mean square is the loss.
        batch_size: Samples per step, drawn anew each epoch; all of them if None. For tensors only.
        validation: Tensors (x, y) to watch; they influence nothing.
        penalty: A callable (model, x) -> scalar that is added to the loss, such as
            :class:`kanlite.Penalty`. "lm" takes the latter's smoothness alone.
        adapt_knots: Whether B-spline domains follow the activations, at steps 0, 1, 2, 4, 8, ...
            of the first half (see :func:`kanlite.refinement.adapt_knots_`). The optimizer
            forgets its moments when they move.
        generator: For the order of the samples; PyTorch's global one seeds a new one if None.
        progress: A bar: True, False, or "auto" (on a terminal or in a live notebook).
        checkpoint: File to write the whole state of the training to; None for none.
        checkpoint_every: Steps between two checkpoints, at least 1.
        resume: Go on from `checkpoint` if it exists. On the CPU, with tensors or with a
            DataLoader that has its own generator and no workers, the result is bit for bit
            that of an uninterrupted run (PyTorch's global generator is set back too); with any
            other loader the epoch starts again, with a warning.

    Returns:
        Losses and time.

    Raises:
        ValueError: If an argument breaks its rule, data are empty or not finite, or the
            checkpoint is broken or of another model; nothing has changed then.
        FloatingPointError: If a loss, gradient or weight is not finite; it names the step, and
            the model is back in its last good state.

    Example:
        >>> import kanlite as kl
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(200, 1, generator=g)
        >>> model = kl.KAN([1, 1], kl.BSpline(num_intervals=5, low=0.0), generator=g)
        >>> history = fit(model, (x, torch.sin(6 * x)), optimizer="lbfgs", steps=30)
        >>> history.train_loss[-1] < 1e-4
        True

    Book: *Training a KAN*.
    """
    _check_numbers(steps=steps, batch_size=batch_size, checkpoint_every=checkpoint_every)
    together = processes(model)
    run = _Run(
        model=model,
        batches=_batches(data, batch_size, generator, together),
        optimizer=_optimizer(optimizer, model, penalty, _is_full_batch(data, batch_size), together),
        loss=_loss(loss),
        penalty=penalty,
        validation=None if validation is None else _checked_pair(validation, "validation"),
        adapt_knots=adapt_knots,
        steps=steps,
        together=together,
    )
    if resume:
        run.restore(checkpoint)
    with _progress_bar(progress if together.is_first else False, steps, run.step) as bar:
        run.train(bar, checkpoint, checkpoint_every)
    return run.history


def fit_coarse_to_fine(
    model: M,
    data: Pair,
    *,
    num_intervals: Sequence[int],
    restarts: int = 1,
    steps: int = 50,
    optimizer: Literal["adam", "lbfgs", "lm"] | OptimizerFactory = "lm",
    loss: Literal["mse", "cross_entropy"] | Loss = "mse",
    validation: Pair | None = None,
    penalty: PenaltyFunction | None = None,
    adapt_knots: bool = True,
    generator: torch.Generator | None = None,
    progress: bool | Literal["auto"] = "auto",
) -> tuple[M, History]:
    """Train on a coarse grid first, then refine and go on, grid by grid.

    A coarse grid has few bad minima and is cheap, so the restarts happen there: each but the
    first draws new weights, and the best one by validation loss (by training loss, if there are
    no validation data) is refined. Finer grids start from the function that the coarser one has
    found; they keep it exactly where the number of intervals is a multiple of the one before.

    Args:
        model: A module with KAN layers on B-splines; it is not changed.
        data: Tensors (x, y).
        num_intervals: Numbers of intervals to go through, increasing.
        restarts: Trainings on the first grid, at least 1.
        steps: Parameter updates on each grid, at least 1.
        optimizer, loss, validation, penalty, adapt_knots, generator, progress: As in
            :func:`fit`; the generator also draws the new weights of restarts.

    Returns:
        The trained model, and the history of the winner over all grids.

    Raises:
        ValueError: If an argument breaks its rule.
        FloatingPointError: If a training stops because something is not finite.

    Example:
        >>> import kanlite as kl
        >>> g = torch.Generator().manual_seed(0)
        >>> x = 2 * torch.rand(500, 2, generator=g, dtype=torch.float64) - 1
        >>> model = kl.KAN([2, 2, 1], kl.BSpline(), residual=None, generator=g).double()
        >>> y = x[:, :1] * x[:, 1:]
        >>> model, history = fit_coarse_to_fine(model, (x, y), num_intervals=[2, 4, 8])
        >>> history.train_loss[-1] < 1e-9
        True

    Book: *Training a KAN*.
    """
    _check_numbers(restarts=restarts, steps=steps)
    grids = _increasing(num_intervals)

    def train(candidate: M) -> tuple[M, History]:
        return candidate, fit(
            candidate,
            data,
            optimizer=optimizer,
            steps=steps,
            loss=loss,
            validation=validation,
            penalty=penalty,
            adapt_knots=adapt_knots,
            generator=generator,
            progress=progress,
        )

    coarse, _ = refined(model, grids[0])
    trained = [train(_redrawn(coarse, generator, keep=not n)) for n in range(restarts)]
    best, history = min(trained, key=lambda pair: _last_loss(pair[1]))
    for grid in grids[1:]:
        best, later = train(refine(best, grid))
        history = history.followed_by(later)
    return best, history


def _increasing(num_intervals: Sequence[int]) -> list[int]:
    grids = list(num_intervals)
    if not grids or any(after <= before for before, after in itertools.pairwise(grids)):
        raise ValueError(f"num_intervals must be increasing and not empty, got {grids}")
    return grids


def _redrawn(model: M, generator: torch.Generator | None, *, keep: bool) -> M:
    """A copy of a model, with its own weights or new ones."""
    copied = copy.deepcopy(model)
    if not keep:
        for layer in edge_layers(copied):
            layer.reset_parameters(layer.init, generator=generator)
    return copied


def _last_loss(history: History) -> float:
    return (history.validation_loss or history.train_loss)[-1]


@dataclass
class _Share:
    """This process's samples of a batch, their share in it, and all that it knows of the batch."""

    x: Tensor
    y: Tensor
    weight: float
    all_x: Tensor
    all_y: Tensor


@dataclass
class _Run:
    """The state of a training, and how it advances."""

    model: nn.Module
    batches: _Batches
    optimizer: torch.optim.Optimizer | LevenbergMarquardt
    loss: Loss
    penalty: PenaltyFunction | None
    validation: Pair | None
    adapt_knots: bool
    steps: int
    together: Processes = field(default_factory=Processes)
    step: int = 0
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self.good = {name: value.clone() for name, value in self.model.state_dict().items()}

    def is_done(self) -> bool:
        """Whether no step is left to do."""
        stuck = isinstance(self.optimizer, LevenbergMarquardt) and self.optimizer.converged
        return self.step >= self.steps or stuck

    def train(self, bar: Any, path: str | os.PathLike[str] | None, every: int) -> None:
        """All steps that are left, with a checkpoint now and then, and at the end."""
        started = time.perf_counter() - self.history.seconds
        while not self.is_done():
            self.advance()
            self.history.seconds = time.perf_counter() - started
            if path is not None and (self.step % every == 0 or self.is_done()):
                self.save(path)
            bar.set_postfix(loss=f"{self.history.train_loss[-1]:.3g}", refresh=False)
            bar.update()

    def advance(self) -> None:
        """One parameter update; if anything goes wrong, the model is as it was before it."""
        stride = max(1, self.steps // 100)
        try:
            self._update(self._share(*self._to_model(*self.batches.next())))
            if self.validation is not None and (self.step % stride == 0 or self.is_done()):
                self._validate(self.validation)
        except BaseException:
            self.model.load_state_dict(self.good)
            raise

    def _share(self, x: Tensor, y: Tensor) -> _Share:
        """What of a batch is this process's to do."""
        together = self.together
        if self.batches.is_shared_out:
            share = together.count(len(x), x.device) / len(x)
            return _Share(x, y, 1 / share, x, y)
        my_x, my_y = together.share(x, y)
        if not len(my_x):  # fewer samples than processes: one sample, which does not count
            return _Share(x[:1], y[:1], 0.0, x, y)
        return _Share(my_x, my_y, len(my_x) / len(x), x, y)

    def _update(self, batch: _Share) -> None:
        if self.adapt_knots and self.step <= self.steps // 2 and _is_power_of_two(self.step):
            self._adapt(batch.all_x)
        if isinstance(self.optimizer, LevenbergMarquardt):
            count = len(batch.x) if batch.weight else 0
            self._second_order(self.optimizer, batch.x[:count], batch.y[:count])
        else:
            self._first_order(self.optimizer, batch)
        self.step += 1
        if self.step == self.steps:  # no next loss will tell
            for name, parameter in self.model.named_parameters():
                self._check(parameter, name)

    def _second_order(self, optimizer: LevenbergMarquardt, x: Tensor, y: Tensor) -> None:
        self._remember()
        try:
            if self.loss is _mse:
                value = optimizer.step(x, y)
            else:
                value = optimizer.step_residual(lambda f, a, b: self.loss(f(a), b), x, y)
        except FloatingPointError as error:
            raise self._stopped(str(error)) from error
        self.history.train_loss.append(value)

    def _first_order(self, optimizer: torch.optim.Optimizer, batch: _Share) -> None:
        evaluations = 0

        def closure() -> Tensor:
            nonlocal evaluations
            optimizer.zero_grad()
            value = self._objective(batch)
            value.backward()  # type: ignore[no-untyped-call]
            value = value.detach()
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.together.sum_([value, *gradients])
            if evaluations == 0:
                self._check(value, "the loss")
                self._remember()
                self.history.train_loss.append(value.item())
                for name, parameter in self.model.named_parameters():
                    if parameter.grad is not None:
                        self._check(parameter.grad, f"the gradient of {name}")
            evaluations += 1
            return value

        optimizer.step(closure)  # type: ignore[arg-type]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that the next step depends on; the first process does."""
        if self.together.is_first:
            self._write(path)
        self.together.wait()

    def _write(self, path: str | os.PathLike[str]) -> None:
        content = {
            "step": self.step,
            "modules": fingerprint(self.model),
            "model": dict(self.model.state_dict()),
            "optimizer_type": type(self.optimizer).__name__,
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state(),
            "history": vars(self.history),
            "global_generator": torch.get_rng_state(),
        }
        write_file(path, "checkpoint", content)

    def restore(self, path: str | os.PathLike[str] | None) -> None:
        """Go back to where a checkpoint was written, if there is one."""
        if path is None:
            raise ValueError("resume needs checkpoint, the file to go on from, got None")
        if not os.path.exists(path):
            return
        content, name = read_file(path, "checkpoint"), os.fspath(path)
        try:
            self._restore(content)
        except BROKEN as error:
            self.model.load_state_dict(self.good)
            raise ValueError(f"checkpoint {name} does not fit: {error}") from error

    def _restore(self, content: dict[str, Any]) -> None:
        ours, theirs = self.model.state_dict(), content["model"]
        if _layout(ours) != _layout(theirs):
            raise ValueError("it is of another model, whose weights differ in shape or dtype")
        here, there = fingerprint(self.model), content["modules"]
        for name in {**there, **here}:
            if here.get(name) != there.get(name):
                raise ValueError(
                    f"it is of another model: {name or 'the whole'!r} is {there.get(name)} there "
                    f"and {here.get(name)} here"
                )
        if content["optimizer_type"] != type(self.optimizer).__name__:
            raise ValueError(
                f"it is of another optimizer, {content['optimizer_type']}, "
                f"not {type(self.optimizer).__name__}"
            )
        self.history, self.step = History(**content["history"]), int(content["step"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.model.load_state_dict(theirs)
        self.batches.restore(content["batches"])
        torch.set_rng_state(content["global_generator"])
        self._remember()

    def _objective(self, batch: _Share) -> Tensor:
        """This process's part of loss + penalty: their sum over all processes is the whole."""
        value = self.loss(self.model(batch.x), batch.y)
        if not isinstance(value, Tensor) or value.dim() != 0:
            shape = getattr(value, "shape", type(value).__name__)
            raise ValueError(f"loss must return a tensor of shape (), got {shape}")
        value = value if self.together.size == 1 else batch.weight * value
        if self.penalty is None:
            return value
        return value + self.penalty(self.model, batch.all_x) / self.together.size

    def _adapt(self, x: Tensor) -> None:
        if not any(isinstance(module, KANLayer) for module in self.model.modules()):
            return
        try:
            moved = adapt_knots_(self.model, x, extrema=self.together.extrema)
        except FloatingPointError as error:
            raise self._stopped(str(error)) from error
        if moved and isinstance(self.optimizer, torch.optim.Optimizer):
            self.optimizer.state.clear()  # moments of coefficients that have changed meaning

    def _validate(self, data: Pair) -> None:
        training = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            with torch.no_grad():
                x, y = self._to_model(*data)
                value = self.loss(self.model(x), y)
                if isinstance(self.optimizer, LevenbergMarquardt):
                    value = value.square().mean() if value.dim() else value
        finally:
            for module, mode in training.items():
                module.training = mode
        self.history.validation_loss.append(value.item())
        self.history.validation_steps.append(self.step)

    def _to_model(self, x: Tensor, y: Tensor) -> Pair:
        weight = next(self.model.parameters())
        if x.is_floating_point() and x.dtype != weight.dtype:
            raise ValueError(
                f"x must have the dtype of the model's parameters, {weight.dtype}, got {x.dtype}: "
                "convert one of them (x.to(...), model.to(...))"
            )
        return x.to(weight.device), y.to(weight.device)

    @torch.no_grad()
    def _remember(self) -> None:
        for name, value in self.model.state_dict().items():
            self.good[name].copy_(value)

    def _check(self, value: Tensor, name: str) -> None:
        if not torch.isfinite(value).all():
            raise self._stopped(f"{name} is not finite")

    def _stopped(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"step {self.step}: {what}; the model is back in its last good state. "
            "A smaller learning rate, or inputs scaled to the domain, often help"
        )


# Batches: where the next one comes from, and how to get back there ---------------------------


class _TensorBatches:
    """Batches of tensors: all samples at once, or random ones of a given number."""

    is_shared_out = False  # every process sees the whole batch

    def __init__(
        self,
        pair: Pair,
        batch_size: int | None,
        generator: torch.Generator | None,
        together: Processes,
    ) -> None:
        self.x, self.y = pair
        self.batch_size = min(batch_size or len(self.x), len(self.x))
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        together.agree_on_order(generator)
        self.generator = generator
        self.epoch_start = generator.get_state()
        self.order = torch.empty(0, dtype=torch.long)
        self.position = 0

    def next(self) -> Pair:
        if self.batch_size == len(self.x):
            return self.x, self.y
        if self.position >= len(self.order):
            self._start_epoch()
        chosen = self.order[self.position : self.position + self.batch_size].to(self.x.device)
        self.position += self.batch_size
        return self.x[chosen], self.y[chosen]

    def _start_epoch(self) -> None:
        self.epoch_start = self.generator.get_state()
        device = self.generator.device
        self.order = torch.randperm(len(self.x), generator=self.generator, device=device)
        self.position = 0

    def state(self) -> dict[str, Any]:
        return {"epoch_start": self.epoch_start, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["epoch_start"])
        if state["position"]:
            self._start_epoch()
            self.position = state["position"]


class _LoaderBatches:
    """Batches of a DataLoader, or of any iterable of pairs that can be iterated again."""

    def __init__(self, loader: Iterable[Pair]):
        self.loader = loader
        self.iterator: Iterator[Pair] | None = None
        self.epoch_start: Tensor | None = None
        self.epoch = -1
        self.position = 0

    @property
    def sampler(self) -> DistributedSampler[Any] | None:
        """What gives each process its share, if the loader has it."""
        sampler = getattr(self.loader, "sampler", None)
        return sampler if isinstance(sampler, DistributedSampler) else None

    @property
    def is_shared_out(self) -> bool:
        """Whether each process has its own share of the batch already."""
        return self.sampler is not None

    @property
    def generator(self) -> torch.Generator | None:
        """The loader's own generator, if it alone decides the order of the samples."""
        loader = self.loader
        if not isinstance(loader, DataLoader) or loader.num_workers > 0:
            return None
        own = cast(torch.Generator | None, loader.generator)
        known = (
            type(loader.sampler) in (RandomSampler, SequentialSampler)
            and type(loader.batch_sampler) in (BatchSampler, type(None))
            and getattr(loader.sampler, "generator", own) is own
        )
        return own if known else None

    def next(self) -> Pair:
        if self.iterator is None:
            self._start_epoch()
        pair = next(cast(Iterator[Pair], self.iterator), None)
        if pair is None:
            self._start_epoch()
            pair = next(cast(Iterator[Pair], self.iterator), None)
        if pair is None:
            raise ValueError(
                "data must yield batches in every epoch, got none "
                "(it is empty, or an iterator that can be used only once)"
            )
        self.position += 1
        return _checked_pair(pair, "data")

    def _start_epoch(self) -> None:
        if self.generator is not None:
            self.epoch_start = self.generator.get_state()
        self.epoch += 1
        if self.sampler is not None:
            self.sampler.set_epoch(self.epoch)
        self.iterator = iter(self.loader)
        self.position = 0

    def state(self) -> dict[str, Any]:
        return {"epoch_start": self.epoch_start, "epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        if self.sampler is not None:
            self.epoch = state["epoch"] - 1
        elif self.generator is None or state["epoch_start"] is None:
            warnings.warn(
                "fit resumes from the start of the epoch: the order of this loader's samples "
                "cannot be restored (a DataLoader with its own generator and no workers can)",
                stacklevel=5,
            )
            return
        else:
            self.generator.set_state(state["epoch_start"])
        self._start_epoch()
        for _ in range(state["position"]):
            if next(cast(Iterator[Pair], self.iterator), None) is None:
                raise ValueError("it is of a loader with more batches")
            self.position += 1


_Batches = _TensorBatches | _LoaderBatches


def _batches(
    data: Pair | Iterable[Pair],
    batch_size: int | None,
    generator: torch.Generator | None,
    together: Processes,
) -> _Batches:
    if _is_pair(data):
        return _TensorBatches(_checked_pair(data, "data"), batch_size, generator, together)
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        raise ValueError(
            f"data must be tensors (x, y) or an iterable of them, got {type(data).__name__}"
        )
    if batch_size is not None:
        raise ValueError(f"batch_size must be None where data come in batches, got {batch_size}")
    batches = _LoaderBatches(cast(Iterable[Pair], data))
    if together.size > 1 and isinstance(data, DataLoader) and not batches.is_shared_out:
        raise ValueError(
            "data must be a DataLoader with a DistributedSampler where several processes train "
            f"together, got one with a {type(data.sampler).__name__}"
        )
    return batches


def _is_pair(data: Pair | Iterable[Pair]) -> TypeGuard[Pair]:
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor)


def _checked_pair(pair: Pair, name: str) -> Pair:
    """The pair, if both are tensors of as many samples, at least one, all of them finite."""
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(part, Tensor) for part in pair)
    ):
        raise ValueError(f"{name} must give pairs of tensors (x, y), got {type(pair).__name__}")
    x, y = pair
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"x and y in {name} must hold the same number of samples, at least one, "
            f"got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    for part, label in ((x, "x"), (y, "y")):
        if not torch.isfinite(part).all():
            bad = int((~torch.isfinite(part)).sum())
            raise ValueError(f"{label} in {name} must be finite, got {bad} NaN or infinite entries")
    return x, y


# Named choices -------------------------------------------------------------------------------


def _mse(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        raise ValueError(
            f"y must have the shape of the prediction, {tuple(prediction.shape)}, "
            f"got {tuple(target.shape)}"
        )
    if not target.is_floating_point():
        raise ValueError(f"y must be floating point, got {target.dtype}")
    return nnf.mse_loss(prediction, target)


def _cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    shape = prediction.shape[:1] + prediction.shape[2:]
    if target.dtype != torch.long or target.shape != shape:
        raise ValueError(
            f"y must hold class indices, torch.int64 of shape {tuple(shape)}, "
            f"got {target.dtype} of shape {tuple(target.shape)}"
        )
    return nnf.cross_entropy(prediction, target)


def _loss(loss: str | Loss) -> Loss:
    if callable(loss):
        return loss
    named: dict[str, Loss] = {"mse": _mse, "cross_entropy": _cross_entropy}
    if loss not in named:
        raise ValueError(f"loss must be one of {list(named)} or a callable, got {loss!r}")
    return named[loss]


def _optimizer(
    optimizer: str | OptimizerFactory,
    model: nn.Module,
    penalty: PenaltyFunction | None,
    full_batch: bool,
    together: Processes,
) -> torch.optim.Optimizer | LevenbergMarquardt:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("model must have parameters to train, got none")
    if callable(optimizer):
        return optimizer(parameters)
    if optimizer == "adam":
        return torch.optim.Adam(parameters, lr=0.01)
    if optimizer not in ("lbfgs", "lm"):
        raise ValueError(
            f"optimizer must be 'adam', 'lbfgs', 'lm' or a callable, got {optimizer!r}"
        )
    if not full_batch:
        raise ValueError(
            f'optimizer="{optimizer}" needs full batches: pass tensors, batch_size=None'
        )
    if optimizer == "lm":
        return LevenbergMarquardt(model, smoothness=_smoothness(penalty), together=together)
    return torch.optim.LBFGS(
        parameters,
        max_iter=1,
        max_eval=26,  # the line search lives on what one evaluation leaves of these
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )


def _smoothness(penalty: PenaltyFunction | None) -> float:
    """The one penalty that is a sum of squares of linear functions of the parameters."""
    if penalty is None:
        return 0.0
    if not isinstance(penalty, Penalty) or penalty.magnitude or penalty.entropy:
        raise ValueError(
            f'penalty must be a kanlite.Penalty with smoothness alone for optimizer="lm", '
            f'got {penalty}: use "adam" or "lbfgs" for others'
        )
    return penalty.smoothness


def _is_full_batch(data: Pair | Iterable[Pair], batch_size: int | None) -> bool:
    if _is_pair(data):
        return batch_size is None
    return isinstance(data, Sized) and length_hint(data, 0) == 1  # a loader may have no length


def _layout(state: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in state.items()}


def _check_numbers(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _is_power_of_two(step: int) -> bool:
    return step & (step - 1) == 0  # 0 counts as one here


def _progress_bar(progress: bool | str, steps: int, done: int) -> Any:
    if not (isinstance(progress, bool) or progress == "auto"):
        raise ValueError(f"progress must be True, False or 'auto', got {progress!r}")
    live = _is_live()
    if live and progress:
        from tqdm.auto import tqdm  # a widget; its import complains where no one could see it
    else:
        from tqdm import tqdm
    shown = progress is True or (progress == "auto" and (live or sys.stderr.isatty()))
    return tqdm(total=steps, initial=done, unit="step", disable=not shown)


def _is_live() -> bool:
    """Whether a person watches a notebook: JupyterLab, VS Code or Colab, and not a converter."""
    live_hosts = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
    return "ipykernel" in sys.modules and any(name in os.environ for name in live_hosts)
