r"""Networks for tables: what the estimators and the command line train.

A table has few rows, columns of any unit, and noise. The network lives in the table's own units:
the knots of its first layer follow the weighted quantiles of each column, and its last layer
gives y itself, so that no scaling has to be carried beside it. What keeps it from following the
noise is a penalty for each layer,

.. math:: \min_\theta\; \frac{1}{W} \sum_s w_s\, \ell(f_\theta(x_s), y_s)
          + \sum_l \Big( \lambda_l \sum_{\text{edges}} \text{curvature}
          + \kappa_l \sum_{\text{edges}} |c|^2 \Big),

with curvature measured in lengths of the local interval. Second-order training finds
:math:`\lambda_l` and :math:`\kappa_l` from the training rows alone, by maximizing the evidence:
after a few steps, each is set to the value at which the penalty is as large as it would be if the
coefficients were drawn from the Gaussian that the penalty is the logarithm of, given how far the
data determine them (:meth:`_Prior.update`).

Glossary
    x, y      inputs (rows, in_features), targets (rows, outputs) or class indices (rows,)
    w, W      weights of the rows (rows,), and their sum: two equal rows are one of weight 2
    c         coefficients of a layer, shape (in, num_basis, out)
    lambda    strength of the curvature penalty of a layer
    kappa     strength of its shrinkage
    S         matrix of a penalty, A that of the whole problem: shape (P, P), P parameters
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from kanlite.bases import BSpline
from kanlite.edges import edge_layers
from kanlite.layers import KAN, KANLayer
from kanlite.optim import LevenbergMarquardt
from kanlite.parallel import Processes, is_first_process, processes
from kanlite.pruning import node_scores
from kanlite.refinement import adapt_knots_
from kanlite.training import History, fit

__all__ = [
    "Recipe",
    "Rows",
    "Trained",
    "fit_rows",
    "importances",
    "merge_rows",
    "probabilities",
    "split_rows",
]

Task = Literal["regression", "classification"]
# lambda and kappa per unit of weight, where the evidence is not at hand
LEARNED = (1.0, 0.1)  # where it is: to begin with, stiff
FIXED = {"regression": (1e-2, 1e-3), "classification": (1e-1, 1e-2)}


@dataclass(frozen=True)
class Recipe:
    """How to train a network for a table.

    Args:
        task: "regression" (squared error) or "classification" (cross-entropy; one output, the
            log-odds, for two classes).
        widths: Hidden widths; none for a sum of functions of one column each; "auto" for one layer
            of 5, or of twice the number of outputs if that is more.
        num_intervals: G of every spline, at least 1.
        degree: k of every spline, at least 0.
        uniform_fraction: Share of equal spacing in the knots of the columns, in (0, 1].
        optimizer: "lm", "lbfgs", "adam", or "auto": "lm" for regression where its steps are
            cheap, "adam" for very large tables, else "lbfgs".
        steps: Most parameter updates, at least 1; 50, 100 and 2000 for "lm", "lbfgs" and "adam"
            if None.
        batch_size: Rows in an update of "adam", at least 1.
        smoothness: lambda times W, at least 0; "auto" for the evidence with "lm", else a hundredth
            for regression, a tenth for classification.
        shrinkage: kappa times W, at least 0; "auto" likewise, else a tenth of that.
        patience: Validations without a better loss after which training stops, at least 1: one
            after each update of "lm", 10 of "lbfgs" and 50 of "adam".

    Raises:
        ValueError: Naming the argument, the rule and the value.
    """

    task: Task = "regression"
    widths: tuple[int, ...] | Literal["auto"] = "auto"
    num_intervals: int = 5
    degree: int = 3
    uniform_fraction: float = 0.5
    optimizer: Literal["auto", "lm", "lbfgs", "adam"] = "auto"
    steps: int | None = None
    batch_size: int = 256
    smoothness: float | Literal["auto"] = "auto"
    shrinkage: float | Literal["auto"] = "auto"
    patience: int = 20

    def __post_init__(self) -> None:
        if self.widths != "auto" and any(width < 1 for width in self.widths):
            raise ValueError(f"widths must be numbers of at least 1, got {self.widths}")
        least = {"num_intervals": 1, "degree": 0, "batch_size": 1, "patience": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1 or None, got {self.steps}")
        if not 0.0 < self.uniform_fraction <= 1.0:
            raise ValueError(f"uniform_fraction must be in (0, 1], got {self.uniform_fraction}")
        if self.optimizer not in ("auto", "lm", "lbfgs", "adam"):
            raise ValueError(
                f"optimizer must be 'auto', 'lm', 'lbfgs' or 'adam', got {self.optimizer!r}"
            )
        if self.optimizer == "lm" and self.task == "classification":
            raise ValueError(
                "optimizer must be 'auto', 'lbfgs' or 'adam' for classification, got 'lm': "
                "it needs squares"
            )
        for name in ("smoothness", "shrinkage"):
            value = getattr(self, name)
            if value != "auto" and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise ValueError(f"{name} must be 'auto' or finite and at least 0, got {value!r}")

    def all_widths(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """Of the whole network, ends included."""
        hidden = (max(5, 2 * outputs),) if self.widths == "auto" else self.widths
        return (inputs, *hidden, outputs)


@dataclass
class Rows:
    """Rows of a table: x (rows, in_features), y, and weights (rows,), all but classes float64."""

    x: Tensor
    y: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> Rows:
        return Rows(self.x[index], self.y[index], self.weight[index])


@dataclass
class Trained:
    """What :func:`fit_rows` gives.

    Attributes:
        model: The network, from the columns' own units to y, to log-odds, or to one logit per
            class; float64.
        history: Losses, of y in units of its standard deviation for regression.
        smoothness: lambda of each layer.
        shrinkage: kappa of each layer.
    """

    model: KAN
    history: History
    smoothness: list[float] = field(default_factory=list)
    shrinkage: list[float] = field(default_factory=list)


def merge_rows(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """Rows in a fixed order, equal ones merged into one that has their weights' sum.

    So a row of weight 2 and a row that stands there twice are the same thing, and the order of
    the rows is of no effect, to the last bit.

    Args:
        x: Shape (rows, in_features), finite.
        y: Shape (rows,) of integers, or (rows, outputs), finite.
        weight: Shape (rows,), at least 0 and finite; ones if None. Rows of weight 0 go.

    Returns:
        The rows, as tensors.

    Raises:
        ValueError: If a weight is negative or not finite, or none is above 0.

    Example:
        >>> rows = merge_rows(np.array([[2.0], [1.0], [2.0]]), np.array([[0.0], [5.0], [0.0]]))
        >>> rows.x.flatten().tolist(), rows.weight.tolist()
        ([1.0, 2.0], [1.0, 2.0])
    """
    w = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != (len(x),) or not np.isfinite(w).all() or (w < 0).any() or not (w > 0).any():
        raise ValueError(
            f"sample_weight must hold {len(x)} finite numbers, at least 0 and not all 0, "
            f"got shape {w.shape}"
        )
    columns = y.reshape(len(y), -1).astype(np.float64)
    table = np.hstack([np.asarray(x, dtype=np.float64), columns])[w > 0] + 0.0  # no -0.0
    unique, inverse = np.unique(table, axis=0, return_inverse=True)
    total = np.bincount(inverse.reshape(-1), weights=w[w > 0])
    first, last = np.split(unique, [x.shape[1]], axis=1)
    target = last[:, 0].astype(np.int64) if y.ndim == 1 else last
    return Rows(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (first, target, total)))


def fit_rows(
    rows: Rows,
    recipe: Recipe,
    *,
    outputs: int,
    validation: Rows | None = None,
    start: Trained | None = None,
    generator: torch.Generator | None = None,
    progress: bool | Literal["auto"] = False,
) -> Trained:
    """Train a network on the rows of a table.

    Args:
        rows: See :func:`merge_rows`.
        recipe: How.
        outputs: Numbers that the network gives.
        validation: Rows to stop by: the network is the best one on them. None to train to the
            end.
        start: What this function gave before, to go on from, instead of a random network.
        generator: Of the first weights and the batches; PyTorch's global one if None.
        progress: A bar: True, False, or "auto" (on a terminal).

    Returns:
        The network and how its training went.

    Raises:
        FloatingPointError: If something is not finite on the way.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.uniform(1900, 2000, size=(200, 1))  # a column in its own units
        >>> rows = merge_rows(x, np.sin(x / 20))
        >>> g = torch.Generator().manual_seed(0)
        >>> trained = fit_rows(rows, Recipe(widths=()), outputs=1, generator=g)
        >>> bool((trained.model(rows.x) - rows.y).abs().max() < 0.02)
        True

    Book: *Reading a network*. Source: the evidence for penalized least squares is that of MacKay,
    Bayesian interpolation, Neural Computation 4 (1992), 415-447; several penalties at once
    follow Wood and Fasiolo, A generalized Fellner-Schall method, Biometrics 73 (2017), 1071-1081.
    """
    run = _Run(rows, recipe, outputs, validation, start, generator)
    best, least, since = None, math.inf, 0
    started = time.perf_counter()
    with _bar(progress, run.steps) as bar:
        for done in run.advance():
            bar.set_postfix(loss=f"{run.history.train_loss[-1]:.3g}", refresh=False)
            bar.update(done)
            if validation is None:
                continue
            loss = run.validate()
            since += 1
            if loss < least:
                best, least, since = copy.deepcopy(run.model), loss, 0
            if since >= recipe.patience:
                break
    run.history.seconds = time.perf_counter() - started
    return run.finished(best)


def split_rows(
    rows: Rows, fraction: float, generator: torch.Generator | None = None
) -> tuple[Rows, Rows]:
    """Rows to train on, and rows to watch.

    Args:
        rows: At least two.
        fraction: Share to watch, in (0, 1); one row at least is on each side.
        generator: Of the choice; PyTorch's global one if None.

    Returns:
        Two tables without a common row. For classes, shares are as near as whole rows allow in
        each of them.

    Raises:
        ValueError: If there are fewer than two rows.

    Example:
        >>> rows = merge_rows(np.arange(10.0)[:, None], np.arange(10.0)[:, None])
        >>> [len(part) for part in split_rows(rows, 0.2)]
        [8, 2]
    """
    if len(rows) < 2:
        raise ValueError(f"rows must be at least 2 to be split, got {len(rows)}")
    order = torch.randperm(len(rows), generator=generator)
    if rows.y.dim() == 1:  # every class in turn, so that each gives its share
        order = order[rows.y[order].argsort(stable=True)]
    count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    places = ((torch.arange(count) + 0.5) * len(rows) / count).long()
    watched = torch.zeros(len(rows), dtype=torch.bool)
    watched[order[places]] = True
    return rows[~watched], rows[watched]


def probabilities(outputs: Tensor) -> Tensor:
    """Of the classes, (rows, classes), from logits of that shape or from log-odds (rows, 1).

    Example:
        >>> probabilities(torch.zeros(1, 1))
        tensor([[0.5000, 0.5000]])
    """
    if outputs.shape[1] == 1:
        return torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], 1)
    return outputs.softmax(1)


def importances(model: KAN, x: Tensor) -> Tensor:
    """Share of each input in the outputs, (in_features,): :func:`kanlite.node_scores`, sum 1.

    Args:
        model: A network.
        x: Inputs, shape (rows, in_features).

    Returns:
        Shares; zeros if the network is constant, or there is one row only.

    Example:
        >>> model = KAN([2, 1], BSpline(), generator=torch.Generator().manual_seed(0))
        >>> round(float(importances(model, torch.rand(20, 2)).sum()), 5)
        1.0
    """
    scores = node_scores(model, x)[0] if len(x) > 1 else x.new_zeros(x.shape[1])
    return scores / scores.sum().clamp(min=torch.finfo(scores.dtype).tiny)


class _Run:
    """A training on standardized targets, step by step."""

    def __init__(
        self,
        rows: Rows,
        recipe: Recipe,
        outputs: int,
        validation: Rows | None,
        start: Trained | None,
        generator: torch.Generator | None,
    ) -> None:
        self.recipe, self.generator, self.history = recipe, generator, History()
        self.mean, self.spread = _moments(rows, recipe.task, outputs)
        self.rows = self._standardized(rows)
        self.validation = None if validation is None else self._standardized(validation)
        self.model = (
            _network(rows, recipe, outputs, generator) if start is None else self._in(start.model)
        )
        self.optimizer = _chosen(recipe, self.model, len(rows))
        self.steps = recipe.steps or {"lm": 50, "lbfgs": 100, "adam": 2000}[self.optimizer]
        self.prior = _Prior(self.model, recipe, float(rows.weight.sum()), self.optimizer)
        if start is not None:
            self.prior.resume(start)

    def advance(self) -> Iterator[int]:
        """Train; yields the number of updates whenever some are done."""
        return self._second_order() if self.optimizer == "lm" else self._first_order()

    def _second_order(self) -> Iterator[int]:
        rows, least, together = self.rows, math.inf, processes(self.model)
        lm = _PenalizedLevenbergMarquardt(self.model, self.prior, together)
        x, y, weight = together.share(rows.x, rows.y, _relative(rows.weight))
        for step in range(self.steps):
            self._adapt(step)
            self.history.train_loss.append(lm.step(x, y, weight=weight))
            settled = lm.converged
            if step % 5 == 4:
                loss = self.history.train_loss[-1]
                settled |= abs(least - loss) <= 1e-3 * abs(loss)
                least = loss
            if step % 5 == 4 or settled:
                settled &= self.prior.update(lm) < 0.1
            yield 1
            if settled and step >= min(20, self.steps // 2):
                break

    def _first_order(self) -> Iterator[int]:
        rows, least, done = self.rows, math.inf, 0
        stochastic = self.optimizer == "adam"
        parameters = list(self.model.parameters())
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, lr=0.01) if stochastic else _lbfgs(parameters)
        )
        size = 50 if stochastic else 10
        while done < self.steps:
            if self._adapt(done // size):
                optimizer.state.clear()  # moments of coefficients that have changed meaning
            stride = min(size, self.steps - done)
            history = fit(
                self.model,
                (rows.x, _packed(rows)),
                optimizer=lambda parameters: optimizer,
                steps=stride,
                loss=self._loss,
                batch_size=min(self.recipe.batch_size, len(rows)) if stochastic else None,
                penalty=self.prior,
                adapt_knots=False,
                generator=self.generator,
                progress=False,
            )
            done += stride
            self.history.train_loss += history.train_loss
            loss = sum(history.train_loss) / stride
            yield stride
            if not stochastic and abs(least - loss) <= 1e-5 * abs(loss):
                break
            least = loss

    @torch.no_grad()
    def validate(self) -> float:
        """Loss on the validation rows, remembered."""
        rows = self.validation
        if rows is None:
            raise ValueError("validation must be rows to validate on, got None")
        loss = float(self._loss(self.model(rows.x), _packed(rows)))
        self.history.validation_loss.append(loss)
        self.history.validation_steps.append(len(self.history.train_loss))
        return loss

    @torch.no_grad()
    def finished(self, best: KAN | None) -> Trained:
        """The network in the units of y, columns that never vary without effect."""
        model = self.model if best is None else best
        first, last = model[0], model[-1]
        phi = first.edges(self.rows.x[:1])[0]  # (out, in)
        constant = self.rows.x.amax(0) == self.rows.x.amin(0)
        first.coef[constant] = phi.T[constant].unsqueeze(1).expand(-1, first.coef.shape[1], -1)
        last.coef.mul_(self.spread)
        last.bias.mul_(self.spread).add_(self.mean)
        strengths = self.prior.strength
        return Trained(model, self.history, *(strengths[:, k].tolist() for k in (0, 1)))

    @torch.no_grad()
    def _in(self, start: KAN) -> KAN:
        """A copy of a finished network, for standardized targets again."""
        model = copy.deepcopy(start)
        model[-1].coef.div_(self.spread)
        model[-1].bias.sub_(self.mean).div_(self.spread)
        return model

    def _standardized(self, rows: Rows) -> Rows:
        if self.recipe.task == "classification":
            return rows
        return Rows(rows.x, (rows.y - self.mean) / self.spread, rows.weight)

    def _adapt(self, step: int) -> bool:
        """Let hidden knots follow the activations, at steps 0, 1, 2, 4, ... of the first half."""
        if step > self.steps // 2 or step & (step - 1):
            return False
        moved = adapt_knots_(self.model, self.rows.x)
        if moved:
            self.prior.measure()
        return moved

    def _loss(self, prediction: Tensor, packed: Tensor) -> Tensor:
        """Weighted mean of the losses; the last column of `packed` holds the weights."""
        y, weight = packed[:, :-1], packed[:, -1]
        if self.recipe.task == "regression":
            each = (prediction - y).square().mean(1)
        elif prediction.shape[1] == 1:
            each = nnf.softplus(prediction[:, 0]) - y[:, 0] * prediction[:, 0]
        else:
            each = nnf.cross_entropy(prediction, y[:, 0].long(), reduction="none")
        return (weight * each).mean()


class _Prior:
    """Penalties of each layer on curvature and size, and how strong they are.

    Attributes:
        strength: lambda and kappa, shape (layers, 2).
        grams: Curvature of each layer's basis, (in, num_basis, num_basis).
    """

    def __init__(self, model: KAN, recipe: Recipe, weight: float, optimizer: str) -> None:
        self.layers = edge_layers(model)
        self.weight = weight
        given = (recipe.smoothness, recipe.shrinkage)
        self.learned = [optimizer == "lm" and value == "auto" for value in given]
        first = LEARNED if all(self.learned) else FIXED[recipe.task]
        fixed = [f if g == "auto" else float(g) for g, f in zip(given, first, strict=True)]
        self.strength = torch.tensor([fixed] * len(self.layers), dtype=torch.float64) / weight
        self.measure()

    def resume(self, start: Trained) -> None:
        """Take the strengths that an earlier training ended with, where they are learned."""
        for k, values in enumerate((start.smoothness, start.shrinkage)):
            if self.learned[k]:
                self.strength[:, k] = torch.tensor(values, dtype=torch.float64)

    def measure(self) -> None:
        """Curvature on the knots as they are now."""
        self.grams = [_curvature(layer) for layer in self.layers]

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """The penalties' sum, with a gradient."""
        total = x.new_zeros(())
        for layer, gram, (smooth, shrink) in self._each():
            rough = torch.einsum("igo,igh,iho->", layer.coef, gram, layer.coef)
            total = total + smooth * rough + shrink * layer.coef.square().sum()
        return total

    def matrices(self) -> dict[Tensor, Tensor]:
        """For the coefficients of each layer, S of shape (in, num_basis, num_basis)."""
        return {
            layer.coef: smooth * gram + shrink * torch.eye(gram.shape[1], dtype=gram.dtype)
            for layer, gram, (smooth, shrink) in self._each()
        }

    @torch.no_grad()
    def update(self, lm: _PenalizedLevenbergMarquardt) -> float:
        r"""Move the strengths towards those of largest evidence.

        With n = W q numbers in y and noise of variance :math:`\sigma^2`, for S = lambda S_1 + ...,

        .. math:: \lambda \leftarrow \lambda\, \frac{\sigma^2}{n}\,
                  \frac{\mathrm{tr}(S^{-1} S_1) - \mathrm{tr}(A^{-1} S_1)}{\theta^\top S_1 \theta},
                  \qquad \sigma^2 = \frac{n F}{n - \mathrm{tr}(A^{-1} (A - S))},

        where F is the mean squared error.

        Returns:
            The largest change of a logarithm.
        """
        if not any(self.learned):
            return 0.0
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(lm.matrix + 1e-14 * lm.eye()))
        n = self.weight * lm.outputs
        before, blocks, free = self.strength.clone(), self.matrices(), float(lm.size)
        spans = lm.spans()
        traces: list[list[Tensor]] = []
        for layer, gram, _ in self._each():
            i, g, o = layer.coef.shape
            part = inverse[spans[layer.coef], spans[layer.coef]].reshape(i, g, o, i, g, o)
            left = torch.einsum("igoiho->igh", part)  # (in, num_basis, num_basis)
            prior = o * torch.linalg.inv(blocks[layer.coef])
            traces.append([((prior - left) * gram).sum(), (prior - left).diagonal(0, 1, 2).sum()])
            free -= float((left * blocks[layer.coef]).sum())
        noise = lm.error / max(n - free, 0.05 * n)
        sizes = [
            [torch.einsum("igo,igh,iho->", layer.coef, gram, layer.coef), layer.coef.square().sum()]
            for layer, gram, _ in self._each()
        ]
        for k in (0, 1):
            if self.learned[k]:
                gain, size = (sum(float(pair[k]) for pair in table) for table in (traces, sizes))
                new = float(before[0, k]) * min(max(noise * gain / max(size, 1e-30), 0.1), 10.0)
                self.strength[:, k] = min(max(new, 1e-14), 1e3)
        return float((self.strength / before).log().abs().max())

    def _each(self) -> Iterator[tuple[KANLayer, Tensor, list[float]]]:
        yield from zip(self.layers, self.grams, self.strength.tolist(), strict=True)


class _PenalizedLevenbergMarquardt(LevenbergMarquardt):
    """Second-order steps under the penalties of a prior; remembers the last step's problem."""

    def __init__(self, model: KAN, prior: _Prior, together: Processes | None = None) -> None:
        super().__init__(model, together=together)
        self.prior = prior
        self.outputs = model.widths[-1]
        self.error = math.nan  # mean squared error before the step
        self.matrix = self.eye()  # A before the step

    def eye(self) -> Tensor:
        """The unit matrix, shape (P, P)."""
        return torch.eye(self.size, dtype=torch.float64)

    def spans(self) -> dict[Tensor, slice]:
        """Which entries of the vector of all parameters each of them takes."""
        ends = list(itertools.accumulate(p.numel() for p in self.named.values()))
        return {
            p: slice(end - p.numel(), end) for p, end in zip(self.named.values(), ends, strict=True)
        }

    def _roughness(self) -> Tensor:
        matrix, spans = torch.zeros_like(self.matrix), self.spans()
        for coef, block in self.prior.matrices().items():
            n, g, m = coef.shape
            view = matrix[spans[coef], spans[coef]].view(n, g, m, n, g, m)
            i, o = torch.arange(n)[:, None], torch.arange(m)
            view[i, :, o, i, :, o] = block[:, None].expand(n, m, g, g)
        return matrix

    def _normal_equations(self, problem: Any, rough: Tensor) -> tuple[Tensor, Tensor, float]:
        a, g, loss = super()._normal_equations(problem, rough)
        theta = self._vector()
        self.matrix, self.error = a, loss - float(theta @ rough @ theta)
        return a, g, loss


# Parts ---------------------------------------------------------------------------------------


def _moments(rows: Rows, task: Task, outputs: int) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of the targets, (outputs,); 1 where constant."""
    if task == "classification":
        return rows.x.new_zeros(outputs), rows.x.new_ones(outputs)
    share = (rows.weight / rows.weight.sum()).unsqueeze(1)
    mean = (share * rows.y).sum(0)
    spread = (share * (rows.y - mean).square()).sum(0).sqrt()
    constant = rows.y.amax(0) == rows.y.amin(0)
    return rows.y[0].where(constant, mean), torch.where(constant, 1.0, spread)


def _network(rows: Rows, recipe: Recipe, outputs: int, generator: torch.Generator | None) -> KAN:
    """Nearly straight lines at random, on knots that follow the columns' weighted quantiles."""
    G, k = recipe.num_intervals, recipe.degree
    widths = recipe.all_widths(rows.x.shape[1], outputs)
    layers = []
    for number, (n, m) in enumerate(itertools.pairwise(widths)):
        basis = BSpline(G, k).double()
        if number == 0:
            sample = _weighted_quantiles(rows.x, rows.weight)
            basis = BSpline.from_data(sample, G, k, uniform_fraction=recipe.uniform_fraction)
        bias = number == len(widths) - 2
        layer = KANLayer(n, m, basis, residual=None, bias=bias, generator=generator)
        layer = layer.double()
        _draw_(layer, generator)
        layers.append(layer)
    return KAN.from_layers(layers)


@torch.no_grad()
def _draw_(layer: KANLayer, generator: torch.Generator | None) -> None:
    """Slopes of a size that keeps the size of what comes in, and a tenth of it as noise."""
    n, g, m = layer.coef.shape
    line = torch.linspace(-1, 1, g, dtype=torch.float64)[:, None]
    slopes, noise = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((n, 1, m), (n, g, m))
    )
    layer.coef.copy_((slopes * line + 0.1 * noise) / math.sqrt(n))


def _weighted_quantiles(x: Tensor, weight: Tensor, count: int = 401) -> Tensor:
    """So many equally likely values of each column, ends included: (count, columns)."""
    places = np.linspace(0.0, 1.0, count)
    columns = []
    for column in x.T.numpy():
        order = np.argsort(column, kind="stable")
        w = weight.numpy()[order]
        above = np.cumsum(w) / w.sum()
        ends = np.stack([above - w / w.sum(), above], 1).ravel()  # each value on its own stretch
        columns.append(np.interp(places, ends, column[order].repeat(2)))
    sample = torch.from_numpy(np.stack(columns, 1))
    sample[0], sample[-1] = x.amin(0), x.amax(0)
    return sample


def _curvature(layer: KANLayer) -> Tensor:
    r"""Mean squared second derivative of each spline, with lengths in units of its own interval.

    .. math:: R_{gh} = \frac1G \sum_{\text{cells}} \frac{1}{h} \int_{\text{cell}}
              (G h)^{2d} B_g^{(d)} B_h^{(d)} dx,

    which on equal intervals h is :func:`kanlite.edges.roughness`, and elsewhere lets a function
    bend where its knots are dense. Shape (in, num_basis, num_basis); d is 2, or the degree if
    that is less.
    """
    basis = layer.basis
    if not isinstance(basis, BSpline):
        raise ValueError(f"start must have B-splines, got {type(basis).__name__}")
    order = min(2, basis.degree)
    breaks = basis.knots[..., basis.degree : basis.num_basis + 1]  # (*F, G + 1)
    nodes, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(6))
    length = breaks.diff(dim=-1)[..., None]  # (*F, G, 1)
    x = (breaks[..., :-1, None] + length * (nodes + 1) / 2).flatten(-2)  # (*F, points)
    unit = (basis.num_intervals * length) ** (2 * order)
    w = (unit * weights / (2 * basis.num_intervals)).flatten(-2)
    values = basis.derivative(x.movedim(-1, 0), order).movedim(0, -2)  # (*F, points, num_basis)
    gram = values.mT @ (w[..., None] * values)
    return gram.expand(layer.in_features, -1, -1)


def _chosen(recipe: Recipe, model: KAN, rows: int) -> str:
    """The optimizer that "auto" stands for."""
    if recipe.optimizer != "auto":
        return recipe.optimizer
    size = sum(p.numel() for p in model.parameters())
    cheap = size <= 2000 and rows * model.widths[-1] * size**2 <= 1e10
    if recipe.task == "regression" and cheap:
        return "lm"
    return (
        "lbfgs"
        if rows * sum(layer.coef[..., 0].numel() for layer in edge_layers(model)) <= 5e7
        else "adam"
    )


def _lbfgs(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(
        parameters,
        max_iter=1,
        max_eval=26,  # the line search lives on what one evaluation leaves of these
        history_size=50,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )


def _packed(rows: Rows) -> Tensor:
    """Targets and, as the last column, weights of mean 1."""
    y = rows.y if rows.y.dim() == 2 else rows.y.unsqueeze(1).double()
    return torch.cat([y, _relative(rows.weight).unsqueeze(1)], 1)


def _relative(weight: Tensor) -> Tensor:
    return weight / weight.mean()


def _bar(progress: bool | str, steps: int) -> Any:
    if not (isinstance(progress, bool) or progress == "auto"):
        raise ValueError(f"progress must be True, False or 'auto', got {progress!r}")
    from tqdm import tqdm

    shown = progress is True or (progress == "auto" and sys.stderr.isatty())
    return tqdm(total=steps, unit="step", disable=not (shown and is_first_process()))
