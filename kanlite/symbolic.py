r"""Formulas from networks: known functions in place of splines, then exact constants.

Every edge gets the known function that serves it best (:mod:`kanlite.candidates`,
:mod:`kanlite.selection`), all constants of the composed formula are fit together to the data
(:mod:`kanlite.composition`), and become 2, 1/3 or pi where the data allow it
(:mod:`kanlite.snapping`). What comes of it is an expression of SymPy (:func:`to_formula`).

Glossary
    a, b, c, d   constants of an edge's function, c f(a x + b) + d
    theta        all constants of a formula
    e            root mean square error relative to the spread of the targets
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kanlite.candidates import CANDIDATES, Candidate
from kanlite.composition import Composition, Edge, Groups, fixed_gauge
from kanlite.layers import KANLayer
from kanlite.samples import Rows, check_finite, has_structure
from kanlite.selection import EdgeChoice, Search, edge_slots
from kanlite.snapping import Nice, rounded, snapped
from kanlite.variants import Multiply

__all__ = ["Formula", "to_formula"]


@dataclass(frozen=True)
class Formula:
    """What :func:`to_formula` gives.

    Attributes:
        expr: SymPy expression in plain symbols; a list of them for several outputs. Edges left
            numeric appear as undefined functions phi_layer_out_in.
        rmse: Root mean square error of the expression, with its constants as they are shown,
            on held-out rows.
        relative_error: The same, relative to the standard deviation of the targets.
        model_error: That of the network on the same rows (which it may have been trained on).
        found: Whether all edges are symbolic and the formula, before its constants were rounded,
            meets the tolerance, or is as good as the network and leaves residuals that look like
            noise (those of neighbors are not correlated) and less than half of the variance.
        table: One row per edge.
        names: Of the inputs.
    """

    expr: Any
    rmse: float
    relative_error: float
    model_error: float
    found: bool
    table: tuple[EdgeChoice, ...]
    names: tuple[str, ...]
    _network: Composition = field(repr=False)
    _theta: Tensor = field(repr=False)

    @property
    def is_symbolic(self) -> bool:
        """Whether no edge is left numeric."""
        return not any(row.numeric for row in self.table)

    def __call__(self, x: Tensor) -> Tensor:
        """The formula on tensors, (..., in_features) -> (..., out_features), in the dtype of x.

        Numeric edges are evaluated as the splines that they are. NaN where it has no value.
        """
        if x.dim() == 0 or x.shape[-1] != len(self.names):
            raise ValueError(f"x must have last dimension {len(self.names)}, got {tuple(x.shape)}")
        return self._network(x.double(), self._theta.to(x.device)).to(x.dtype)

    def latex(self) -> str:
        """The expression in LaTeX; one line for each of several outputs."""
        sympy = import_module("sympy")  # optional: loaded where it is used
        exprs = self.expr if isinstance(self.expr, list) else [self.expr]
        return "\n".join(sympy.latex(expr) for expr in exprs)

    def report(self) -> str:
        """The formula, its error and the table, as text."""
        verdict = "found" if self.found else "no short formula found: the best approximation"
        lines = [
            f"{self.expr}",
            f"{verdict}; relative error {self.relative_error:.1e} on held-out rows "
            f"(the network: {self.model_error:.1e})",
            f"{'edge':<12}{'chosen':<10}{'error':>9}   {'runner-up':<10}{'error':>9}",
        ]
        for row in self.table:
            edge = f"[{row.layer}] {row.in_index} -> {row.out_index}"
            lines.append(
                f"{edge:<12}{row.chosen:<10}{row.error:>9.1e}   "
                f"{row.runner_up or '-':<10}{row.runner_up_error:>9.1e}"
            )
        return "\n".join(lines)


@torch.no_grad()
def to_formula(
    model: nn.Sequential | KANLayer,
    x: Tensor,
    y: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    candidates: Sequence[Candidate] | None = None,
    tolerance: float | None = None,
    digits: int = 4,
    generator: torch.Generator | None = None,
) -> Formula:
    r"""The formula that a network has found, if there is one.

    Each edge gets its best candidate (:func:`suggest`); the composed formula

    .. math:: z_j = d_j + \sum_i c_{ji}\, f_{ji}(a_{ji} x_i + b_{ji}), \qquad \dots

    is fit to the data with all its constants at once, by second-order steps in float64, and
    runners-up are tried where it does not reach the goal. Edges that no candidate serves stay
    numeric and are marked. Then constants become integers, fractions, or multiples of pi and
    of roots, one at a time and only while errors on fit and held-out rows allow; the others are
    rounded to significant digits, and SymPy simplifies.

    Args:
        model: A :class:`~kanlite.KAN` (prune it first), a layer, or an nn.Sequential of KAN
            layers with :class:`~kanlite.Multiply` after some of them.
        x: Inputs, shape (..., in_features), finite, at least 20 samples; not the test set.
        y: Targets, shape (..., out_features), or (...) for one output; what the model gives if
            None. Formulas are more exact than networks if they can see the targets.
        names: Of the inputs; x1, x2, ... if None (x for one input).
        candidates: :data:`CANDIDATES` if None.
        tolerance: Relative error that is good enough, above 0; 1e-9 with y and 1e-3 without, if
            None. So is that of the model and what its overfitting may hide.
        digits: Significant digits of constants that are not nice, 1 to 15; more are kept where
            rounding would cost more accuracy than they promise.
        generator: Chooses the held-out fifth of the rows; a fixed seed if None.

    Returns:
        The formula, with what was chosen for each edge and errors on held-out rows.

    Raises:
        ValueError: If the model holds anything else or normalizes its inputs, or an argument
            breaks its rule.
        ImportError: If SymPy is not installed.

    Example:
        >>> import kanlite as kl
        >>> x = 2 * torch.rand(200, 1, generator=torch.Generator().manual_seed(0)) - 1
        >>> model = kl.KAN([1, 1], kl.BSpline(20), generator=torch.Generator().manual_seed(0))
        >>> _ = kl.fit(model, (x, x**2 / 2 + 3), optimizer="lbfgs", steps=50)
        >>> to_formula(model, x, x**2 / 2 + 3).expr
        x**2/2 + 3

    Book: *Reading a network*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.5;
    trying constants and structures against data follows Udrescu and Tegmark, AI Feynman (2020),
    doi:10.1126/sciadv.aay2631.
    """
    net, layers, groups, x, y, names, tolerance = _checked(model, x, y, names, tolerance, digits)
    generator = generator or torch.Generator().manual_seed(0)
    rows = Rows.split(x, y, generator, spread=_spread(y))
    goal, floor, model_error = _goals(net, rows, tolerance)
    slots, constants = edge_slots(net, layers, x, candidates or CANDIDATES, floor)
    search = Search(slots, constants, groups, rows, goal, floor)
    network, theta, _ = search.run()
    theta, free = fixed_gauge(network, theta)
    theta, nice = snapped(network, theta, free, rows)
    found = search.reached and not any(slot.numeric for slot in slots)
    if found and (error := network.error(theta, rows, held=True)) > tolerance:
        found = error < 0.7 and not has_structure(x, (network(x, theta) - y) / rows.spread)
    theta, digits = rounded(network, theta, nice, digits, rows)
    return Formula(
        expr=_expression(network, theta, nice, names, x, digits),
        rmse=float((network(rows.held_x, theta) - rows.held_y).square().mean().sqrt()),
        relative_error=network.error(theta, rows, held=True),
        model_error=model_error,
        found=found,
        table=tuple(slot.row() for slot in slots),
        names=names,
        _network=network,
        _theta=theta,
    )


# What is asked -------------------------------------------------------------------------------


def _parts(model: nn.Sequential | KANLayer) -> tuple[nn.Sequential, list[KANLayer], list[Groups]]:
    """A copy in float64 on the CPU, its layers, and which outputs of each make up a node."""
    modules = [model] if isinstance(model, KANLayer) else model
    if not isinstance(modules, list | nn.Sequential):
        raise ValueError(f"model must be a KAN or a KANLayer, got {type(model).__name__}")
    net = nn.Sequential(*copy.deepcopy(list(modules))).double().cpu().eval()
    layers: list[KANLayer] = []
    groups: list[Groups] = []
    for before, part in itertools.pairwise([None, *net]):
        if isinstance(part, KANLayer):
            layers.append(part)
            groups.append(tuple((j,) for j in range(part.out_features)))
        elif isinstance(part, Multiply) and isinstance(before, KANLayer):
            ends = list(itertools.accumulate((*[1] * part.num_sum, *part.arity), initial=0))
            groups[-1] = tuple(tuple(range(*pair)) for pair in itertools.pairwise(ends))
        else:
            raise ValueError(
                "model must hold KAN layers, with products after some, got "
                f"{type(part).__name__} after {type(before).__name__}"
            )
    if any(layer.normalize is not None for layer in layers):
        raise ValueError("model must not normalize its inputs: its edges then see more than one")
    return net, layers, groups


class _Request(NamedTuple):
    """What :func:`to_formula` is asked, checked: in float64 and on the CPU."""

    net: nn.Sequential
    layers: list[KANLayer]
    groups: tuple[Groups, ...]
    x: Tensor
    y: Tensor
    names: tuple[str, ...]
    tolerance: float


def _checked(
    model: nn.Sequential | KANLayer,
    x: Tensor,
    y: Tensor | None,
    names: Sequence[str] | None,
    tolerance: float | None,
    digits: int,
) -> _Request:
    """Arguments of :func:`to_formula`, if they keep their rules."""
    net, layers, groups = _parts(model)
    width, outputs = layers[0].in_features, len(groups[-1])
    x = x.detach().cpu().double().reshape(-1, x.shape[-1])
    if len(x) < 20 or x.shape[-1] != width:
        raise ValueError(
            f"x must hold at least 20 samples of {width} features, got {tuple(x.shape)}"
        )
    default = 1e-3 if y is None else 1e-9
    y = net(x) if y is None else y.detach().cpu().double().reshape(-1, outputs)
    if len(x) != len(y):
        raise ValueError(f"x and y must hold as many samples, got {len(x)} and {len(y)}")
    check_finite(x, y)
    if names is None:
        names = ["x"] if width == 1 else [f"x{i + 1}" for i in range(width)]
    if len(set(names)) != width:
        raise ValueError(f"names must be {width} different names, got {list(names)}")
    tolerance = default if tolerance is None else tolerance
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance must be finite and above 0, got {tolerance}")
    if not 1 <= digits <= 15:
        raise ValueError(f"digits must be in [1, 15], got {digits}")
    return _Request(net, layers, tuple(groups), x, y, tuple(names), tolerance)


def _spread(y: Tensor) -> Tensor:
    """The standard deviation of each target, or its size where it does not vary."""
    spread = y.std(0, correction=0)
    return torch.where(spread > 0, spread, y.abs().amax(0).clamp(min=1e-300))


def _goals(net: nn.Sequential, rows: Rows, tolerance: float) -> tuple[float, float, float]:
    """The error to reach, what accuracy is worth at most, and the network's held-out error."""
    gaps = [(net(x) - y) / rows.spread for x, y in ((rows.x, rows.y), (rows.held_x, rows.held_y))]
    fit, held = (float(gap.square().mean().sqrt()) for gap in gaps)
    every = float(torch.cat(gaps).square().mean().sqrt())
    size = sum(int(p.count_nonzero()) for p in net.parameters())
    share = min(size / rows.size, 0.75)
    goal = max(tolerance, 1.15 * every / math.sqrt(1 - share))  # the network fits noise, too
    return goal, max(1e-6, fit * math.sqrt(share)), held


# What SymPy makes of it ----------------------------------------------------------------------


def _expression(
    net: Composition,
    theta: Tensor,
    nice: dict[int, Nice],
    names: tuple[str, ...],
    x: Tensor,
    digits: int,
) -> Any:
    """The formula in SymPy, simplified."""
    sympy = import_module("sympy")

    def number(k: int) -> Any:
        if k in nice:
            return sympy.sympify(nice[k].name)
        value = float(theta[k])
        return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)

    positive = (x > 0).all(0).tolist()
    z: list[Any] = [
        sympy.Symbol(name, positive=True) if above else sympy.Symbol(name, real=True)
        for name, above in zip(names, positive, strict=True)
    ]
    plain = {symbol: sympy.Symbol(name) for symbol, name in zip(z, names, strict=True)}
    argument = sympy.Symbol("x")

    def function(e: Edge, z: Any) -> Any:
        known = e.candidate.expression
        return (
            sympy.sympify(known).subs(argument, z) if known else sympy.Function(e.candidate.name)(z)
        )

    z = net.evaluate(z, number, function)
    exprs = [_chopped(_simplified(expr), digits).subs(plain) for expr in z]
    return exprs[0] if len(exprs) == 1 else exprs


def _simplified(expr: Any, most_operations: int = 150) -> Any:
    """The shortest of several ways to write an expression; long ones stay as they are.

    The guard is a size, not a clock, so that results do not depend on the machine.
    """
    sympy = import_module("sympy")
    if sympy.count_ops(expr) > most_operations:
        return expr
    forms = [expr, sympy.expand(expr), sympy.expand(expr, trig=True)]
    forms += [sympy.powsimp(form) for form in forms]
    if sympy.count_ops(expr) <= most_operations / 3 and len(expr.atoms(sympy.Float)) < 3:
        logs = sympy.expand(expr.rewrite(sympy.log))  # atanh is two logarithms
        forms += [sympy.simplify(form) for form in (expr, forms[2], logs)]
    return min(forms, key=lambda form: (sympy.count_ops(form), len(str(form))))


def _chopped(expr: Any, digits: int) -> Any:
    """Numbers of so many digits, and no terms of a sum below 1e-13 of its largest coefficient."""
    sympy = import_module("sympy")
    terms = sympy.Add.make_args(expr)
    sizes = [abs(float(term.as_coeff_Mul()[0])) for term in terms]
    kept = [t for t, size in zip(terms, sizes, strict=True) if size > 1e-13 * max(sizes)]
    total = sympy.Add(*kept)
    return total.xreplace({f: sympy.Float(f, digits) for f in total.atoms(sympy.Float)})
