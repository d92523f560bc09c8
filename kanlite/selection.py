r"""Which function for which edge: the best of each, then runners-up, then splines that stay.

Each edge of a network has a list of suggestions (:func:`edge_slots`). Many networks compute one
function, and edges of the one that was trained are then near to something simple only: the joint
fit of the whole formula to the data is the judge (:meth:`Search.run`).

Glossary
    phi      values of edges, (samples, out, in)
    slot     an edge, what it may be, and what it is for now
    e        root mean square error relative to the spread of the targets
    goal     the e at which a formula explains the data
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kanlite.candidates import Candidate, Suggestion, ranked, suggest
from kanlite.composition import Composition, Edge, Groups, fixed_gauge, refit
from kanlite.edges import edge_inputs
from kanlite.layers import KANLayer
from kanlite.samples import Rows

__all__ = ["EdgeChoice", "Fitted", "Search", "Slot", "edge_slots"]

NUMERIC, CONSTANT = -1, -2  # choices that are no suggestion


@dataclass(frozen=True)
class EdgeChoice:
    """What became of one edge of the network.

    Attributes:
        layer, out_index, in_index: Which edge it is.
        chosen: Name of the candidate; "numeric" for a spline that stays, "constant" for an edge
            that does not vary.
        error: Held-out error of the edge's own fit by what was chosen, relative to its spread.
        runner_up: Name of the best other candidate, or "".
        runner_up_error: Its error.
    """

    layer: int
    out_index: int
    in_index: int
    chosen: str
    error: float
    runner_up: str
    runner_up_error: float

    @property
    def numeric(self) -> bool:
        """Whether no candidate fits, so that the formula holds a spline here."""
        return self.chosen == "numeric"


@dataclass
class Slot:
    """An edge of the network, what it may be, and what it is for now.

    Attributes:
        layer, j, i: Which edge it is.
        suggestions: What it may be, the best first.
        spline: What it is in the network.
        score: Its share of what enters output j.
        freedom: Number of basis functions of the spline.
        shared: Gives what it may be up to multiples of others on the same input.
        choice: Which suggestion it is for now; -1 for the spline, -2 for a constant.
    """

    layer: int
    j: int
    i: int
    suggestions: list[Suggestion]
    spline: Candidate
    score: float
    freedom: int
    shared: Callable[[], list[Suggestion]]
    choice: int = 0

    @property
    def numeric(self) -> bool:
        """Whether it is left a spline."""
        return self.choice == NUMERIC

    @property
    def misfit(self) -> float:
        """How much of the outputs' spread the choice may get wrong."""
        return self.score * self.suggestions[self.choice].error if self.choice >= 0 else 0.0

    def row(self) -> EdgeChoice:
        """The edge's line in the table."""
        where, others = (self.layer, self.j, self.i), list(self.suggestions)
        if self.choice == CONSTANT:
            return EdgeChoice(*where, "constant", 0.0, "", 0.0)
        chosen, error = "numeric", 0.0
        if self.choice >= 0:
            best = others.pop(self.choice)
            chosen, error = best.candidate.name, best.error
        if not others:
            return EdgeChoice(*where, chosen, error, "", math.inf)
        return EdgeChoice(*where, chosen, error, others[0].candidate.name, others[0].error)


def edge_slots(
    net: nn.Sequential,
    layers: Sequence[KANLayer],
    x: Tensor,
    candidates: Sequence[Candidate],
    floor: float,
) -> tuple[list[Slot], list[Tensor]]:
    """All edges of a network, with suggestions for those that vary.

    Args:
        net: The network, in float64.
        layers: Its KAN layers.
        x: Inputs, shape (samples, in_features).
        candidates: What an edge may be.
        floor: The expected relative error of the edges' values.

    Returns:
        The edges, and for each layer what biases and edges that do not vary add to the outputs,
        shape (out_features,).

    Example:
        >>> from kanlite import CANDIDATES, KAN, BSpline
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]
        >>> net = KAN([1, 1], BSpline(), residual=None).double().requires_grad_(False)
        >>> _ = net[0].coef.copy_(torch.linspace(-1, 1, 8)[:, None])
        >>> (slot,), _ = edge_slots(net, list(net), x, CANDIDATES, 1e-6)
        >>> slot.row().chosen
        'x'
    """
    slots: list[Slot] = []
    constants: list[Tensor] = []
    for number, (layer, z) in enumerate(zip(layers, edge_inputs(net, x), strict=True)):
        phi = layer.edges(z)
        spread = phi.std(0, correction=0)
        still = spread <= 1e-10 * phi.abs().amax((0, 2))[:, None]
        constants.append(torch.where(still, phi.mean(0), 0.0).sum(1))
        if layer.bias is not None:
            constants[-1] = constants[-1] + layer.bias
        share = spread / spread.sum(1, keepdim=True).clamp(min=1e-300)
        freedom = layer.basis.num_basis
        for j, i in itertools.product(range(layer.out_features), range(layer.in_features)):
            request = functools.partial(
                suggest,
                z[:, i],
                phi[:, j, i],
                candidates=candidates,
                freedom=freedom,
                floor=floor,
            )
            others = [k for k in range(layer.out_features) if k != j and not still[k, i]]
            shared = functools.partial(request, beside=phi[:, others, i]) if others else list
            spline = Candidate(f"phi_{number}_{j}_{i}", _spline(layer, j, i), "", 0)
            slot = Slot(number, j, i, [], spline, float(share[j, i]), freedom, shared, CONSTANT)
            if not still[j, i]:
                slot.suggestions = request()
                slot.choice = 0 if slot.suggestions else NUMERIC
            slots.append(slot)
    return slots, constants


def _spline(layer: KANLayer, j: int, i: int) -> Callable[[Tensor], Tensor]:
    """Edge [j, i] as a function of one variable."""
    theta = layer.coef[i, :, j]
    if layer.residual_weight is not None:
        theta = torch.cat([theta, layer.residual_weight[i, j, None]])

    def phi(z: Tensor) -> Tensor:
        columns = z.unsqueeze(-1).expand(*z.shape, layer.in_features)
        value: Tensor = layer.features(columns)[..., i, :] @ theta
        return value

    return phi


class Fitted(NamedTuple):
    """A formula, its constants theta as they were fit to the data, and its error e on all rows."""

    net: Composition
    theta: Tensor
    error: float


@dataclass
class Search:
    """Which candidate for which edge.

    Attributes:
        slots: The edges; the search leaves its choices in them.
        constants: For each layer what is added to the outputs, shape (out_features,).
        groups: For each layer the outputs that are multiplied into each node.
        rows: The data.
        goal: The e that is good enough.
        floor: The finest relative error of the edges that suggestions are weighed at.
        reached: Whether the last fit met the goal.
    """

    slots: list[Slot]
    constants: list[Tensor]
    groups: tuple[Groups, ...]
    rows: Rows
    goal: float
    floor: float
    reached: bool = False

    def run(self) -> Fitted:
        """Choose, until the goal is reached or what does not fit is left numeric."""
        best = self.by_accuracy()
        for _ in range(2):
            if self.reached:
                return best
            before = best.error
            if len(self.culprits()) > 3:
                break
            for slot in self.culprits():
                best = self.try_others(slot, best)
                if self.reached:
                    return best
            if best.error > 0.9 * before:
                break
        for slot in self.culprits()[:3]:
            best = self.try_shared(slot, best)
            if self.reached:
                return best
        while not self.reached and (symbolic := [s for s in self.active() if s.choice >= 0]):
            worst = max(symbolic, key=lambda s: s.misfit)
            worst.choice = NUMERIC
            best = self.fit()
        return best

    def by_accuracy(self) -> Fitted:
        """The best suggestions at coarse and then at fine accuracy, until the data agree."""
        seen: set[tuple[str, ...]] = set()
        for floor in (*(f for f in (1e-2, 1e-3, 1e-4, 1e-5) if f > self.floor), self.floor):
            for slot in self.active():
                slot.suggestions = ranked(slot.suggestions, slot.freedom, floor)
            names = tuple(s.suggestions[0].candidate.name for s in self.active() if s.suggestions)
            if names not in seen:
                seen.add(names)
                fitted = self.fit()
                if self.reached:
                    return fitted
        return self.fit()

    def culprits(self) -> list[Slot]:
        """Edges that their functions do not fit well enough, the worst first.

        Where there are many of them, no exchange of one function helps.
        """
        bad = [s for s in self.active() if s.choice >= 0 and s.misfit > self.goal]
        return sorted(bad, key=lambda s: -s.misfit)

    def active(self) -> list[Slot]:
        """Edges that vary."""
        return [slot for slot in self.slots if slot.choice != CONSTANT]

    def fit(self) -> Fitted:
        """The formula of the present choices, its constants fit to the data."""
        edges: list[Edge] = []
        numbers: list[float] = []
        constants = [values.clone() for values in self.constants]
        for slot in self.active():
            if slot.numeric:
                candidate, (a, b, c, d) = slot.spline, (1.0, 0.0, 1.0, 0.0)
            else:
                candidate, (a, b, c, d, _) = slot.suggestions[slot.choice][:2]
            edges.append(Edge(slot.layer, slot.j, slot.i, candidate, len(numbers)))
            numbers += [a, b, c]
            constants[slot.layer][slot.j] += d
        net = Composition(self.groups, edges)
        theta = torch.cat([torch.tensor(numbers, dtype=torch.float64), *constants])
        theta, free = fixed_gauge(net, theta)
        theta, error = refit(net, theta, free, self.rows, steps=150, patience=1e-2)
        held, share = net.error(theta, self.rows, held=True), len(self.rows.held_x) / self.rows.size
        error = math.sqrt((1 - share) * error**2 + share * held**2)
        self.reached = error <= self.goal
        return Fitted(net, theta, error)

    def try_others(self, slot: Slot, fitted: Fitted, most: int = 5) -> Fitted:
        """Give one edge the candidate that serves the whole formula best."""
        best, least = slot.choice, min((s.error for s in slot.suggestions), default=0.0)
        for choice, suggestion in enumerate(slot.suggestions[:most]):
            if choice == best or suggestion.error > 30 * least:
                continue
            slot.choice = choice
            trial = self.fit()
            if trial.error < 0.9 * fitted.error:
                fitted, best = trial, choice
                if self.reached:
                    break
        slot.choice = best
        return fitted

    def try_shared(self, slot: Slot, fitted: Fitted) -> Fitted:
        """Give one edge a candidate that is right up to functions that other edges can take.

        In g(x) + (y + k) f(x), any k f(x) may move from one edge to the other.
        """
        kept = slot.suggestions, slot.choice
        slot.suggestions, slot.choice = [kept[0][kept[1]], *slot.shared()], 0
        fitted = self.try_others(slot, fitted)
        if slot.choice == 0:
            slot.suggestions, slot.choice = kept
        return fitted
