r"""Basis functions other than B-splines, behind the same :class:`~kanlite.Basis`.

Each member knows its values and its derivatives of any order in closed form or by a finite
recursion: no derivative here is a numerical one, and none needs autograd.

Glossary
    x         inputs, shape (..., *F)
    F         feature_shape: () for one basis shared by all features, (in_features,) for one each
    u, w      centers (*F, num_basis) and width (*F) of bumps
    z         x in the coordinate of the basis: (x - u) / w, or the domain mapped to [-1, 1]
    series    Taylor coefficients a_0, ..., a_order of a function of x at the inputs, a list of
              tensors of shape (..., *F); its derivative of order m is m! a_m
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from kanlite.bases import Basis

__all__ = ["Chebyshev", "Fourier", "GaussianRBF", "Rational", "ReflectionalSwitch"]

Series = list[Tensor]


class _ClosedForm(Basis):
    """What all of them share: values are derivatives of order 0, buffers have rows per feature.

    A subclass names in `_per_feature` the buffers that differ between features, and of each the
    dimension that counts the features (if the domain has any); and in `_options` what its
    constructor is told besides the ends of the domain.
    """

    _per_feature: ClassVar[tuple[tuple[str, int], ...]]
    _options: ClassVar[tuple[str, ...]] = ()

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """F: () or (in_features,)."""
        return tuple(self.low.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Basis functions at x: (..., *F) -> (..., *F, num_basis)."""
        return self.derivative(x, 0)

    def select(self, features: Sequence[int] | Tensor) -> Self:
        """The same functions for a subset (or reordering) of the features; a copy if shared.

        Where features share parameters in groups, all groups remain.
        """
        chosen = copy.deepcopy(self)
        if self.feature_shape:
            index = torch.as_tensor(features, dtype=torch.long, device=self.low.device)
            for name, dim in self._per_feature:
                rows = getattr(self, name).movedim(dim, 0)[index]
                setattr(chosen, name, rows.movedim(0, dim).contiguous())
        return chosen

    def config(self) -> dict[str, Any]:
        """Its options and the shape of the domain."""
        options = {name: getattr(self, name) for name in self._options}
        return options | {"feature_shape": list(self.feature_shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Functions of the shape that :meth:`config` tells, on a placeholder domain."""
        ones = torch.ones(config["feature_shape"])
        return cls(low=-ones, high=ones, **{name: config[name] for name in cls._options})

    def _checked(self, x: Tensor, order: int) -> Tensor:
        """x, if it fits; an infinity becomes NaN, so that no basis turns it into a number."""
        if order < 0:
            raise ValueError(f"order must be at least 0, got {order}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}")
        if self.feature_shape and tuple(x.shape[-1:]) != self.feature_shape:
            raise ValueError(
                f"x must have last dimension {self.feature_shape[0]}, one for each feature of the "
                f"basis, got shape {tuple(x.shape)}"
            )
        return x + 0 * x

    def _ends_text(self) -> str:
        low, high = self.domain
        return f"[{low.item():g}, {high.item():g}]" if low.dim() == 0 else f"{len(low)} domains"


# Bumps: one shape, moved to each center --------------------------------------------------------


class _Bumps(_ClosedForm):
    """Copies of one function of z = (x - u) / w, one for each center u."""

    _per_feature = (("centers", 0), ("width", 0))
    centers: Tensor
    width: Tensor

    def __init__(self, centers: Tensor, width: float | Tensor | None) -> None:
        super().__init__()
        _check_centers(centers)
        if width is None:
            width = (centers[..., -1] - centers[..., 0]) / (centers.shape[-1] - 1)
        width = torch.as_tensor(width, dtype=centers.dtype, device=centers.device)
        if width.shape not in ((), centers.shape[:-1]):
            raise ValueError(
                f"width must be a number or have shape {tuple(centers.shape[:-1])}, "
                f"one for each row of centers, got shape {tuple(width.shape)}"
            )
        if not ((width > 0) & width.isfinite()).all():
            raise ValueError(f"width must be positive and finite, got {width.tolist()}")
        self.num_basis = centers.shape[-1]
        self.register_buffer("centers", centers.detach().clone())
        self.register_buffer("width", width.detach().expand(centers.shape[:-1]).clone())

    @staticmethod
    @abstractmethod
    def _bump(z: Tensor, order: int) -> Tensor:
        """The derivative by z, of the given order, of the shape that is moved around."""

    @property
    def domain(self) -> tuple[Tensor, Tensor]:
        """The first and the last center, each of shape F."""
        return self.centers[..., 0], self.centers[..., -1]

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Their derivative of the given order, at least 0, in closed form."""
        x = self._checked(x, order).unsqueeze(-1)
        width = self.width.unsqueeze(-1)
        values = self._bump((x - self.centers) / width, order)
        return values if order == 0 else values / width**order

    def config(self) -> dict[str, Any]:
        """The shape of the centers."""
        return {"centers_shape": list(self.centers.shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Bumps of the shape that :meth:`config` tells, on placeholder centers."""
        *features, size = config["centers_shape"]
        made = cls.__new__(cls)
        _Bumps.__init__(made, torch.arange(float(size)).expand(*features, size), 1.0)
        return made

    def extra_repr(self) -> str:
        """Number of functions, domain and width, for ``print(model)``."""
        width = f"{self.width.item():.4g}" if self.width.dim() == 0 else f"{len(self.width)} widths"
        return f"num_basis={self.num_basis}, {self._ends_text()}, width={width}"


class GaussianRBF(_Bumps):
    r"""Gaussian bumps around fixed centers: the basis of FastKAN.

    .. math:: B_m(x) = \exp\!\Big(-\Big(\frac{x - u_m}{w}\Big)^2\Big), \qquad
              B_m^{(d)}(x) = \Big(\frac{-1}{w}\Big)^{d} H_d\Big(\frac{x - u_m}{w}\Big) B_m(x),

    with the physicists' Hermite polynomials :math:`H_{d+1}(z) = 2 z H_d(z) - 2 d H_{d-1}(z)`.
    Off the domain the functions fade to zero.

    Args:
        num_basis: Number of centers, at least 2, equally spaced from low to high.
        low: The first center, the left end of the domain.
        high: The last center, the right end of the domain.
        centers: Instead of the three: increasing centers u of shape (num_basis,), or
            (in_features, num_basis) for a row per feature.
        width: w, positive, a number or one for each row; the mean distance between centers if
            None.

    Shape:
        (..., *F) -> (..., *F, num_basis).

    Attributes:
        centers: Buffer u, shape (*F, num_basis).
        width: Buffer w, shape F.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> GaussianRBF(num_basis=3, low=-1.0, high=1.0)(torch.tensor([0.0]))
        tensor([[0.3679, 1.0000, 0.3679]])

    Source: Li, Kolmogorov-Arnold networks are radial basis function networks (2024),
    arXiv:2405.06721.
    """

    def __init__(
        self,
        num_basis: int = 8,
        low: float = -2.0,
        high: float = 2.0,
        *,
        centers: Tensor | None = None,
        width: float | Tensor | None = None,
    ) -> None:
        super().__init__(_centers(centers, (num_basis, low, high), (8, -2.0, 2.0)), width)

    @staticmethod
    def _bump(z: Tensor, order: int) -> Tensor:
        hermite, before = torch.ones_like(z), torch.zeros_like(z)  # H_0 and, unused, H_{-1}
        for d in range(order):
            hermite, before = 2 * z * hermite - 2 * d * before, hermite
        values = torch.exp(-(z**2))
        return values if order == 0 else (-1) ** order * hermite * values


class ReflectionalSwitch(_Bumps):
    r"""Bumps made of the hyperbolic tangent: the basis of FasterKAN.

    .. math:: B_m(x) = 1 - \tanh^2\!\Big(\frac{x - u_m}{w}\Big).

    With t the tangent, every derivative is a polynomial in t: :math:`p_0(t) = 1 - t^2` and, as
    :math:`t' = 1 - t^2`, :math:`p_{d+1}(t) = p_d'(t)\,(1 - t^2)`. Off the domain the functions
    fade to zero.

    Args:
        num_basis: Number of centers, at least 2, equally spaced from low to high.
        low: The first center, the left end of the domain.
        high: The last center, the right end of the domain.
        centers: Instead of the three: increasing centers u of shape (num_basis,), or
            (in_features, num_basis) for a row per feature.
        width: w, positive, a number or one for each row.

    Shape:
        (..., *F) -> (..., *F, num_basis).

    Attributes:
        centers: Buffer u, shape (*F, num_basis).
        width: Buffer w, shape F.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> ReflectionalSwitch(num_basis=3, low=-1.0, high=1.0)(torch.tensor([0.0]))
        tensor([[0.4200, 1.0000, 0.4200]])

    Source: Delis, FasterKAN (2024), github.com/AthanasiosDelis/faster-kan.
    """

    def __init__(
        self,
        num_basis: int = 8,
        low: float = -1.2,
        high: float = 1.2,
        *,
        centers: Tensor | None = None,
        width: float | Tensor = 1.0,
    ) -> None:
        super().__init__(_centers(centers, (num_basis, low, high), (8, -1.2, 1.2)), width)

    @staticmethod
    def _bump(z: Tensor, order: int) -> Tensor:
        t = torch.tanh(z)
        factor = [1]  # p_d = (1 - t^2) factor(t), coefficients from the constant upward, exact
        for _ in range(order):
            p = [a - b for a, b in zip([*factor, 0, 0], [0, 0, *factor], strict=True)]
            factor = [j * a for j, a in enumerate(p)][1:]
        value = torch.full_like(t, factor[-1])
        for a in reversed(factor[:-1]):
            value = value * t + a
        return (1 - t * t) * value


# Functions on an interval ----------------------------------------------------------------------


class _OnInterval(_ClosedForm):
    """What bases share whose functions live on [low, high], mapped to z in [-1, 1]."""

    _per_feature: ClassVar[tuple[tuple[str, int], ...]] = (("ends", 1),)
    ends: Tensor

    def __init__(self, low: float | Tensor, high: float | Tensor) -> None:
        super().__init__()
        self.register_buffer("ends", _stacked_ends(low, high))

    @property
    def domain(self) -> tuple[Tensor, Tensor]:
        """Ends (low, high) of the domain, each of shape F."""
        return self.ends[0], self.ends[1]

    def _coordinate(self, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """z at x, shape (..., *F), and dz/dx, shape F. On [-1, 1], z is x to the last bit."""
        low, high = self.domain
        slope = 2 / (high - low)
        return (self._checked(x, order) - (low + high) / 2) * slope, slope


class Chebyshev(_OnInterval):
    r"""Chebyshev polynomials of tanh, as in ChebyKAN, or of the domain itself.

    .. math:: B_d(x) = T_d(s(z)), \qquad T_0 = 1, \quad T_1(s) = s, \quad
              T_{d+1}(s) = 2 s\, T_d(s) - T_{d-1}(s),

    where z maps the domain to [-1, 1] and s(z) is tanh z or z. The tangent makes every input
    safe, but bends the functions; without it they are the polynomials that approximation theory
    praises, and grow like :math:`|z|^d` off the domain. Derivatives run the same recursion on
    Taylor series.

    The tangent is a function of one variable and so a part of the basis: edge functions stay
    functions of x_i. What mixes features, like LayerNorm, is the layer's `normalize`.

    Args:
        degree: The largest d, at least 0.
        low: Left end of the domain, a number or one for each feature, shape (in_features,).
        high: Right end of the domain, likewise.
        squash: "tanh", or None for polynomials of z.

    Shape:
        (..., *F) -> (..., *F, degree + 1).

    Attributes:
        ends: Buffer, low and high, shape (2, *F).

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> Chebyshev(3, squash=None)(torch.tensor([0.5]))
        tensor([[ 1.0000,  0.5000, -0.5000, -1.0000]])

    Source: Sidharth et al., Chebyshev polynomial-based Kolmogorov-Arnold networks (2024),
    arXiv:2405.07200.
    """

    _options = ("degree", "squash")

    def __init__(
        self,
        degree: int,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        *,
        squash: Literal["tanh"] | None = "tanh",
    ) -> None:
        if degree < 0:
            raise ValueError(f"degree must be at least 0, got {degree}")
        if squash not in ("tanh", None):
            raise ValueError(f"squash must be 'tanh' or None, got {squash!r}")
        super().__init__(low, high)
        self.degree = degree
        self.squash = squash
        self.num_basis = degree + 1

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Derivative of the given order, at least 0: (..., *F) -> (..., *F, num_basis)."""
        s = _linear_series(*self._coordinate(x, order), order)
        if self.squash == "tanh":
            s = _tanh_series(s)
        terms = [_constant_series(s), s]  # T_0 and T_1
        for _ in range(self.degree - 1):
            raised = _product(s, terms[-1])
            terms.append([2 * a - b for a, b in zip(raised, terms[-2], strict=True)])
        values = torch.stack([term[order] for term in terms[: self.num_basis]], dim=-1)
        return values * math.factorial(order)

    def extra_repr(self) -> str:
        """Degree, domain and squash, for ``print(model)``."""
        return f"degree={self.degree}, {self._ends_text()}, squash={self.squash!r}"


class Fourier(_ClosedForm):
    r"""Cosines and sines whose longest period is the domain: the basis of FourierKAN.

    .. math:: B_{k-1}(x) = \cos k \theta, \quad B_{K+k-1}(x) = \sin k \theta, \quad
              k = 1, \dots, K, \qquad \theta = \omega\, (x - c),

    with the middle c of the domain and :math:`\omega = 2 \pi / (\mathrm{high} - \mathrm{low})`;
    on the default domain, :math:`[-\pi, \pi]`, :math:`\theta = x`. There is no constant among
    them: give the layer a bias. Off the domain the functions repeat. A derivative turns the phase
    by a quarter and multiplies by the frequency.

    Args:
        num_frequencies: K, at least 1.
        low: Left end of the domain, a number or one for each feature, shape (in_features,).
        high: Right end of the domain, likewise.

    Shape:
        (..., *F) -> (..., *F, 2 K).

    Attributes:
        center: Buffer c, shape F.
        speed: Buffer :math:`\omega`, shape F.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> Fourier(2, 0.0, 6.0)(torch.tensor([4.0]))  # a sixth of a turn: cosines, then sines
        tensor([[ 0.5000, -0.5000,  0.8660,  0.8660]])

    Source: GistNoesis, FourierKAN (2024), github.com/GistNoesis/FourierKAN.
    """

    _per_feature = (("center", 0), ("speed", 0))
    _options = ("num_frequencies",)
    center: Tensor
    speed: Tensor

    def __init__(
        self,
        num_frequencies: int,
        low: float | Tensor = -math.pi,
        high: float | Tensor = math.pi,
    ) -> None:
        super().__init__()
        if num_frequencies < 1:
            raise ValueError(f"num_frequencies must be at least 1, got {num_frequencies}")
        self.num_frequencies = num_frequencies
        self.num_basis = 2 * num_frequencies
        ends = _stacked_ends(low, high)
        # Not the ends, so that the default stays 0 and 1 exactly when the dtype changes.
        self.register_buffer("center", ends.mean(0))
        self.register_buffer("speed", 2 * math.pi / (ends[1] - ends[0]))

    @property
    def domain(self) -> tuple[Tensor, Tensor]:
        """Ends (low, high) of the domain, one period apart, each of shape F."""
        half = math.pi / self.speed
        return self.center - half, self.center + half

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Derivative of the given order, at least 0: (..., *F) -> (..., *F, num_basis)."""
        theta = (self._checked(x, order) - self.center) * self.speed
        k = torch.arange(1, self.num_frequencies + 1, dtype=theta.dtype, device=theta.device)
        phase = theta.unsqueeze(-1) * k  # (..., *F, K)
        c, s = torch.cos(phase), torch.sin(phase)
        turned = ((c, s), (-s, c), (-c, -s), (s, -c))[order % 4]
        values = torch.cat(turned, dim=-1)
        return values if order == 0 else values * (k.repeat(2) * self.speed[..., None]) ** order

    def extra_repr(self) -> str:
        """Number of frequencies and domain, for ``print(model)``."""
        return f"num_frequencies={self.num_frequencies}, {self._ends_text()}"


class Rational(_OnInterval):
    r"""Powers over a learned denominator that groups of features share: the basis of KAT.

    .. math:: B_p(x) = \frac{z^p}{1 + |b_1 z + \dots + b_q z^q|}, \qquad p = 0, \dots, P,

    where z maps the domain to [-1, 1] (and is x on the default one). The denominator has no
    root; where the polynomial Q inside it changes sign, the functions have a kink, at which
    derivatives are those of autograd (the sign of zero is zero). A layer's coefficients are the
    numerators, so that each edge is a rational function P/(1+|Q|) with a numerator of its own.
    KAT, which has one numerator for all features and multiplies by one weight per edge, is the
    special case of coefficients a_p W_oi. Derivatives come from the division of Taylor series.

    Args:
        numerator_degree: P, at least 0.
        denominator_degree: q, at least 1.
        low: Left end of the domain, a number or one for each feature, shape (in_features,).
        high: Right end of the domain, likewise.
        in_features: Number of features, if they form groups; None for one denominator shared by
            any number of features (unless low or high tell the number).
        num_groups: Number of denominators; divides in_features, neighbors belong together.
        denominator: Initial b, shape (num_groups, q); Q = z^q if None. (With b = 0 the gradient
            by b would be zero for ever.)

    Shape:
        (..., *F) -> (..., *F, P + 1).

    Attributes:
        denominator: Parameter b, shape (num_groups, q).
        group: Buffer, the group of each feature, int64, shape F.
        ends: Buffer, low and high, shape (2, *F).

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> Rational(2, 1, denominator=torch.tensor([[3.0]]))(torch.tensor([1.0, -1.0])).detach()
        tensor([[ 0.2500,  0.2500,  0.2500],
                [ 0.2500, -0.2500,  0.2500]])

    Source: Yang and Wang, Kolmogorov-Arnold transformer (2025), arXiv:2409.10594.
    """

    _per_feature = (("ends", 1), ("group", 0))
    _options = ("numerator_degree", "denominator_degree")
    group: Tensor

    def __init__(
        self,
        numerator_degree: int = 5,
        denominator_degree: int = 4,
        low: float | Tensor = -1.0,
        high: float | Tensor = 1.0,
        *,
        in_features: int | None = None,
        num_groups: int = 1,
        denominator: Tensor | None = None,
    ) -> None:
        if numerator_degree < 0 or denominator_degree < 1:
            raise ValueError(
                "numerator_degree must be at least 0 and denominator_degree at least 1, "
                f"got {numerator_degree} and {denominator_degree}"
            )
        ends = _stacked_ends(low, high)
        if in_features is None and ends.dim() == 2:
            in_features = ends.shape[1]
        _check_groups(in_features, num_groups)
        shape = () if in_features is None else (in_features,)
        if ends.shape[1:] not in ((), shape):
            raise ValueError(
                f"low and high must be numbers or have shape {shape} = (in_features,), "
                f"got shape {tuple(ends.shape[1:])}"
            )
        super().__init__(*ends.reshape(2, *ends.shape[1:] or [1] * len(shape)).expand(2, *shape))
        self.num_basis = numerator_degree + 1
        self.denominator_degree = denominator_degree
        if denominator is None:
            denominator = self.ends.new_zeros(num_groups, denominator_degree)
            denominator[:, -1] = 1
        if denominator.shape != (num_groups, denominator_degree):
            raise ValueError(
                f"denominator must have shape (num_groups, denominator_degree) = "
                f"({num_groups}, {denominator_degree}), got {tuple(denominator.shape)}"
            )
        self.denominator = nn.Parameter(denominator.detach().clone())
        features = torch.arange(math.prod(shape)).reshape(shape)
        self.register_buffer("group", features * num_groups // math.prod(shape))

    @property
    def numerator_degree(self) -> int:
        """P."""
        return self.num_basis - 1

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """Derivative of the given order, at least 0: (..., *F) -> (..., *F, num_basis)."""
        z = _linear_series(*self._coordinate(x, order), order)
        powers = [_constant_series(z)]
        for _ in range(max(self.num_basis - 1, self.denominator_degree)):
            powers.append(_product(powers[-1], z))
        b = self.denominator[self.group].unbind(-1)  # q tensors of shape F
        q = [
            torch.stack([c * power[m] for c, power in zip(b, powers[1:], strict=False)]).sum(0)
            for m in range(order + 1)
        ]
        sign = q[0].sign()
        below = [sign * term for term in q]
        below[0] = 1 + q[0].abs()
        over = _reciprocal(below)
        values = [_product(power, over)[order] for power in powers[: self.num_basis]]
        stacked = torch.stack(values, dim=-1)
        return stacked if order == 0 else stacked * math.factorial(order)

    def config(self) -> dict[str, Any]:
        """Degrees, number of features and number of groups."""
        return super().config() | {"num_groups": len(self.denominator)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Functions of the shape that :meth:`config` tells, groups and all still to be loaded."""
        made = super().from_config(config)
        made.group = torch.zeros(config["feature_shape"], dtype=torch.long)
        shape = (config["num_groups"], config["denominator_degree"])
        made.denominator = nn.Parameter(torch.zeros(shape))
        return made

    def extra_repr(self) -> str:
        """Degrees, domain and groups, for ``print(model)``."""
        return (
            f"numerator_degree={self.numerator_degree}, "
            f"denominator_degree={self.denominator_degree}, {self._ends_text()}, "
            f"num_groups={len(self.denominator)}"
        )


# Taylor series of functions of x ---------------------------------------------------------------


def _linear_series(z: Tensor, slope: Tensor, order: int) -> Series:
    """z and its slope; 0 * z carries a NaN into what does not depend on z."""
    zero = 0 * z
    return [z, zero + slope, *[zero] * (order - 1)][: order + 1]


def _constant_series(like: Series) -> Series:
    zero = 0 * like[0]
    return [zero + 1, *[zero] * (len(like) - 1)]


def _product(a: Series, b: Series) -> Series:
    """Cauchy's product: c_m = sum over j of a_j b_{m-j}."""
    return [_convolved(a, b, m, 0) for m in range(len(a))]


def _convolved(a: Series, b: Series, m: int, first: int) -> Tensor:
    total = a[first] * b[m - first]
    for j in range(first + 1, m + 1):
        total = total + a[j] * b[m - j]
    return total


def _reciprocal(a: Series) -> Series:
    """The series r of 1 / a: r_m = -(sum over j > 0 of a_j r_{m-j}) / a_0."""
    result = [1 / a[0]]
    for m in range(1, len(a)):
        result.append(-_convolved(a, result, m, 1) / a[0])
    return result


def _tanh_series(z: Series) -> Series:
    """tanh of a linear series, from t' = (1 - t^2) z'."""
    t = [torch.tanh(z[0])]
    for m in range(len(z) - 1):
        square = _convolved(t, t, m, 0)
        t.append((1 - square if m == 0 else -square) * z[1] / (m + 1))
    return t


# Checks and small things -----------------------------------------------------------------------


def _check_centers(centers: Tensor) -> None:
    if not centers.is_floating_point() or centers.dim() not in (1, 2) or centers.shape[-1] < 2:
        raise ValueError(
            "centers must be floating point of shape (num_basis,) or (in_features, num_basis) "
            f"with num_basis at least 2, got {centers.dtype} of shape {tuple(centers.shape)}"
        )
    if not (centers.isfinite().all() and (centers.diff(dim=-1) > 0).all()):
        raise ValueError("centers must be finite and increase along the last dimension")


def _check_groups(in_features: int | None, num_groups: int) -> None:
    if num_groups < 1 or (in_features is None and num_groups > 1):
        raise ValueError(f"num_groups must be 1 where in_features is None, got {num_groups}")
    if in_features is not None and (in_features < 1 or in_features % num_groups):
        raise ValueError(
            f"in_features must be a positive multiple of num_groups = {num_groups}, "
            f"got {in_features}"
        )


def _centers(
    centers: Tensor | None, given: tuple[int, float, float], default: tuple[int, float, float]
) -> Tensor:
    """The given centers, or equally spaced ones: as many as given, from low to high."""
    if centers is not None:
        if given != default:
            raise ValueError("centers already say num_basis, low and high: give only the centers")
        return centers
    num_basis, low, high = given
    if num_basis < 2:
        raise ValueError(f"num_basis must be at least 2, got {num_basis}")
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"low and high must be finite with low < high, got {low} and {high}")
    equal = torch.linspace(low, high, num_basis, dtype=torch.float64)
    return equal.to(torch.get_default_dtype())


def _stacked_ends(low: float | Tensor, high: float | Tensor) -> Tensor:
    """Both ends of the domain in one tensor of shape (2, *F)."""
    given = [torch.as_tensor(end).detach() for end in (low, high)]
    dtype = next((end.dtype for end in (low, high) if isinstance(end, Tensor)), None)
    first, last = (end.to(dtype or torch.get_default_dtype()) for end in given)
    if (
        first.dim() > 1
        or last.dim() > 1
        or (first.dim() and last.dim() and len(first) != len(last))
    ):
        raise ValueError(
            "low and high must be numbers or have shape (in_features,), "
            f"got shapes {tuple(first.shape)} and {tuple(last.shape)}"
        )
    shape = max(first.shape, last.shape, key=len)
    ends = torch.stack([first.expand(shape), last.expand(shape)])
    if not (ends.isfinite().all() and (ends[0] < ends[1]).all()):
        raise ValueError(
            f"low and high must be finite with low < high, got {first.tolist()} and {last.tolist()}"
        )
    return ends
