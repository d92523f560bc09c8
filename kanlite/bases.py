r"""Basis functions as modules: what turns a number into the features of an edge.

A KAN's edge function is a weighted sum of basis functions,
:math:`\phi(x) = \sum_m c_m B_m(x)`. A :class:`Basis` computes the
:math:`B_m(x)` and nothing else; the weights belong to the layer.

Glossary
    x         inputs, shape (..., *F)
    F         feature_shape: () for one basis shared by all features, (in_features,) for one each
    B         basis functions at the inputs, shape (..., *F, num_basis)
    domain    [low, high], where the basis is meant to be used
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kanlite.bspline import check_knots, check_points, evaluate_basis, uniform_knots
from kanlite.quantiles import quantile_knots

__all__ = ["BSpline", "Basis", "Extrapolation"]

Extrapolation = Literal["linear", "constant", "zero", "natural"]


class Basis(nn.Module, ABC):
    """What a layer asks of its basis functions.

    A new basis is a subclass that sets `num_basis` and implements :meth:`forward`,
    :meth:`derivative`, :meth:`select`, `domain` and :meth:`config`; the tests run every
    member of their list ``BASES`` through the same laws.

    Attributes:
        num_basis: Number of basis functions.
        feature_shape: F, () if shared by all features, (in_features,) if one for each.
        domain: Ends (low, high), each of shape F.
    """

    num_basis: int

    @property
    @abstractmethod
    def feature_shape(self) -> tuple[int, ...]:
        """F: () or (in_features,)."""

    @property
    @abstractmethod
    def domain(self) -> tuple[Tensor, Tensor]:
        """Ends (low, high) of the domain, each of shape F."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Basis functions at x: (..., *F) -> (..., *F, num_basis)."""

    @abstractmethod
    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Their derivative of the given order: (..., *F) -> (..., *F, num_basis)."""

    @abstractmethod
    def select(self, features: Sequence[int] | Tensor) -> Basis:
        """A new basis for a subset (or reordering) of the features."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain arguments that rebuild a basis of the same shape; its buffers hold the rest."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Basis:
        """A basis of the shape that :meth:`config` tells, its buffers still to be loaded."""

    @property
    def as_spline(self) -> tuple[Tensor, int, str] | None:
        """Knots, degree and extrapolation of B-splines, which have fast paths; None otherwise."""
        return None

    @property
    def low(self) -> Tensor:
        """Left end of the domain, shape F."""
        return self.domain[0]

    @property
    def high(self) -> Tensor:
        """Right end of the domain, shape F."""
        return self.domain[1]

    def outside(self, x: Tensor) -> Tensor:
        """Which inputs lie off the domain (a NaN does): (..., *F) -> bool, same shape."""
        low, high = self.domain
        return ~((x >= low) & (x <= high))

    def off_domain(self, x: Tensor) -> Tensor:
        """Share of the inputs that lie off the domain.

        Args:
            x: Inputs, shape (..., *F).

        Returns:
            Shares in [0, 1], shape F; 0 for an empty batch.
        """
        outside = self.outside(x).reshape(-1, *self.feature_shape)
        return outside.to(torch.get_default_dtype()).sum(0) / max(len(outside), 1)


class BSpline(Basis):
    r"""B-splines of one degree, with a stated behavior off their domain.

    .. math:: x \mapsto \big(B_{0,k}(x), \dots, B_{n-1,k}(x)\big), \qquad n = G + k.

    On the domain these are the functions of :func:`kanlite.bspline_basis`. Outside,
    with e the nearer end, `extrapolate` chooses

    - ``"linear"``: :math:`B_m(e) + (x - e) B_m'(e)`, which is C1 (the default);
    - ``"constant"``: :math:`B_m(e)`;
    - ``"zero"``: 0 at once;
    - ``"natural"``: what the functions on the padded knots give, fading to zero over k
      intervals, as in the KAN paper and efficient-kan.

    Args:
        num_intervals: G, the number of intervals, at least 1.
        degree: k, the polynomial power, at least 0 (3 is a cubic).
        low: Left end of the domain.
        high: Right end of the domain.
        knots: Instead of the three: knots of shape (K,), or (in_features, K) for one knot
            vector per feature.
        extrapolate: Behavior off the domain.

    Shape:
        (..., *F) -> (..., *F, num_basis).

    Attributes:
        knots: Buffer, shape (*F, K).
        degree: k.
        num_intervals: G = K - 2k - 1 (intervals of length zero included).
        num_basis: n = K - k - 1.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> basis = BSpline(num_intervals=2, degree=1, low=0.0, high=1.0)
        >>> basis(torch.tensor([0.25, 2.0]))
        tensor([[ 0.5000,  0.5000,  0.0000],
                [ 0.0000, -2.0000,  3.0000]])

    Book: *B-splines*. Source: de Boor, A Practical Guide to Splines (2001), chapter IX.
    """

    knots: Tensor

    def __init__(
        self,
        num_intervals: int = 5,
        degree: int = 3,
        low: float = -1.0,
        high: float = 1.0,
        *,
        knots: Tensor | None = None,
        extrapolate: Extrapolation = "linear",
    ) -> None:
        super().__init__()
        if extrapolate not in get_args(Extrapolation):
            raise ValueError(
                f"extrapolate must be one of {get_args(Extrapolation)}, got {extrapolate!r}"
            )
        if knots is None:
            knots = uniform_knots(num_intervals, degree, low, high)
        elif (num_intervals, low, high) != (5, -1.0, 1.0):
            raise ValueError("knots already say num_intervals, low and high: give only the knots")
        check_knots(knots, degree)
        self.degree = degree
        self.extrapolate = extrapolate
        self.num_intervals = knots.shape[-1] - 2 * degree - 1
        self.num_basis = self.num_intervals + degree
        self.register_buffer("knots", knots.detach().clone())

    @classmethod
    def from_data(
        cls,
        x: Tensor,
        num_intervals: int = 5,
        degree: int = 3,
        *,
        uniform_fraction: float = 0.02,
        extrapolate: Extrapolation = "linear",
    ) -> BSpline:
        """B-splines whose knots follow the quantiles of x, one knot vector per feature.

        Args:
            x: Samples, shape (samples,) or (samples, in_features).
            num_intervals: G, at least 1.
            degree: k, at least 0.
            uniform_fraction: Share of equal spacing in the knots, in [0, 1].
            extrapolate: Behavior off the domain.

        Returns:
            A basis with feature_shape () or (in_features,); see
            :func:`kanlite.quantile_knots` for the rule and the errors.

        Example:
            >>> x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
            >>> BSpline.from_data(x, num_intervals=4).feature_shape
            (2,)
        """
        knots = quantile_knots(x, num_intervals, degree, uniform_fraction=uniform_fraction)
        return cls(degree=degree, knots=knots, extrapolate=extrapolate)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """F: () or (in_features,)."""
        return tuple(self.knots.shape[:-1])

    @property
    def domain(self) -> tuple[Tensor, Tensor]:
        """Ends (t[k], t[n]) of the domain, each of shape F."""
        return self.knots[..., self.degree], self.knots[..., -self.degree - 1]

    @property
    def as_spline(self) -> tuple[Tensor, int, str] | None:
        """Knots, degree and extrapolation; None for a subclass, which may compute otherwise."""
        return (self.knots, self.degree, self.extrapolate) if type(self) is BSpline else None

    def forward(self, x: Tensor) -> Tensor:
        """B-splines at x: (..., *F) -> (..., *F, num_basis)."""
        return self.derivative(x, 0)

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Derivative of the given order, of the extrapolation too.

        Args:
            x: Inputs, shape (..., *F).
            order: At least 0.

        Returns:
            Shape (..., *F, num_basis). At an end of the domain: the limit from inside.
        """
        if order < 0:
            raise ValueError(f"order must be at least 0, got {order}")
        check_points(x, self.knots)
        if self.extrapolate == "natural":
            return evaluate_basis(x, self.knots, self.degree, order)
        nearest = x.clamp(*self.domain)
        beyond = x - nearest  # exactly 0 on the domain, with gradient 0 there
        nearest = nearest + 0 * beyond  # an infinity becomes NaN, which its nearest point is not
        tangent = beyond if self.extrapolate == "linear" and order == 0 else None
        values = evaluate_basis(nearest, self.knots, self.degree, order, beyond=tangent)
        if (self.extrapolate, order) in (("linear", 0), ("linear", 1), ("constant", 0)):
            return values
        return torch.where((beyond == 0).unsqueeze(-1), values, 0 * values)

    def select(self, features: Sequence[int] | Tensor) -> BSpline:
        """The same B-splines for a subset (or reordering) of the features.

        Args:
            features: Indices, shape (m,).

        Returns:
            A new basis: a copy if one knot vector serves all features.
        """
        chosen = copy.deepcopy(self)
        if self.feature_shape:
            index = torch.as_tensor(features, dtype=torch.long, device=self.knots.device)
            chosen.knots = self.knots[index].clone()
        return chosen

    def config(self) -> dict[str, Any]:
        """Degree, extrapolation and the shape of the knots."""
        return {
            "degree": self.degree,
            "extrapolate": self.extrapolate,
            "knots_shape": list(self.knots.shape),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BSpline:
        """B-splines of the shape that :meth:`config` tells, on placeholder knots."""
        *features, size = config["knots_shape"]
        knots = torch.arange(float(size)).expand(*features, size)
        return cls(degree=config["degree"], knots=knots, extrapolate=config["extrapolate"])

    def extra_repr(self) -> str:
        """Sizes, domain and extrapolation, for ``print(model)``."""
        low, high = self.domain
        ends = f"[{low.item():g}, {high.item():g}]" if low.dim() == 0 else f"{len(low)} domains"
        return (
            f"num_intervals={self.num_intervals}, degree={self.degree}, {ends}, "
            f"extrapolate={self.extrapolate!r}"
        )
