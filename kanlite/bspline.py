r"""B-splines as pure functions on tensors.

Everything here follows one equation, the Cox-de Boor recursion
(:func:`evaluate_basis`); the rest is knots going in and derivatives, refined
knots or SciPy objects coming out.

Glossary
    x         points, shape (..., *F)
    F         () where one knot vector serves all features, (in_features,) where each has its own
    t, knots  non-decreasing knots, shape (*F, K)
    k         degree, the polynomial power
    G         number of intervals of the domain
    n         num_basis = K - k - 1, the number of basis functions (G + k for simple knots)
    B         basis functions at the points, shape (..., *F, n)
    c, coef   coefficients, shape (n, ...)
    domain    [t[k], t[n]]: where the basis functions sum to one
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.interpolate import BSpline as ScipyBSpline

__all__ = [
    "bspline_basis",
    "check_knots",
    "check_points",
    "check_sizes",
    "evaluate_basis",
    "find_cell",
    "insert_knots",
    "to_scipy",
    "uniform_knots",
]


# Knots ---------------------------------------------------------------------------------------


def uniform_knots(
    num_intervals: int,
    degree: int,
    low: float = -1.0,
    high: float = 1.0,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Equally spaced knots on [low, high], continued by `degree` steps on each side.

    .. math:: t_i = \mathrm{low} + (i - k)\,h, \qquad h = (\mathrm{high} - \mathrm{low}) / G,
              \qquad i = 0, \dots, G + 2k.

    Args:
        num_intervals: G, the number of intervals on the domain, at least 1.
        degree: k, the polynomial power, at least 0.
        low: Left end of the domain.
        high: Right end of the domain, above `low`.
        dtype: Of the result; PyTorch's default dtype if None.

    Returns:
        Knots of shape (G + 2k + 1,).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> uniform_knots(2, 1, 0.0, 1.0)
        tensor([-0.5000,  0.0000,  0.5000,  1.0000,  1.5000])

    Book: *B-splines*. Source: de Boor, A Practical Guide to Splines (2001), chapter IX.
    """
    check_sizes(num_intervals, degree)
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"low and high must be finite with low < high, got {low} and {high}")
    s = torch.arange(-degree, num_intervals + degree + 1, dtype=torch.float64) / num_intervals
    knots = (1 - s) * low + s * high  # this form meets both ends exactly
    return knots.to(dtype or torch.get_default_dtype())


def check_sizes(num_intervals: int, degree: int) -> None:
    """Refuse a number of intervals below 1 and a degree below 0.

    Raises:
        ValueError: Naming the one that is too small.
    """
    if num_intervals < 1:
        raise ValueError(f"num_intervals must be at least 1, got {num_intervals}")
    if degree < 0:
        raise ValueError(f"degree must be at least 0, got {degree}")


def check_knots(knots: Tensor, degree: int) -> None:
    """Refuse what is no knot vector of this degree, saying why.

    Args:
        knots: Shape (K,) or (in_features, K): finite, non-decreasing, with
            K >= 2 * degree + 2 and a domain [t[k], t[n]] of positive length.
        degree: k, at least 0.

    Raises:
        ValueError: Naming the first rule that is broken and where.
    """
    if degree < 0:
        raise ValueError(f"degree must be at least 0, got {degree}")
    if not knots.is_floating_point() or knots.dim() not in (1, 2):
        raise ValueError(
            "knots must be floating point of shape (K,) or (in_features, K), "
            f"got {knots.dtype} of shape {tuple(knots.shape)}"
        )
    if knots.shape[-1] < 2 * degree + 2:
        raise ValueError(
            f"knots must number at least 2 * degree + 2 = {2 * degree + 2}, got {knots.shape[-1]}"
        )
    if not torch.isfinite(knots).all():
        raise ValueError("knots must be finite, got a NaN or an infinity")
    steps = knots.diff(dim=-1)
    if (steps < 0).any():
        at = tuple((steps < 0).nonzero()[0].tolist())
        before, after = knots[at].item(), knots[(*at[:-1], at[-1] + 1)].item()
        raise ValueError(f"knots must be non-decreasing, got {before} followed by {after} at {at}")
    if not (knots[..., degree] < knots[..., -degree - 1]).all():
        raise ValueError(
            "knots must leave a domain of positive length between knots[degree] and "
            f"knots[-degree-1], got {knots[..., degree].tolist()} and "
            f"{knots[..., -degree - 1].tolist()}"
        )


def check_points(x: Tensor, knots: Tensor) -> None:
    """Refuse points that do not fit the knots, by their type and shape alone.

    Args:
        x: Points, floating point, shape (..., *F).
        knots: Shape (*F, K).

    Raises:
        ValueError: Naming the rule that is broken.
    """
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    if knots.dim() == 2 and x.shape[-1:] != knots.shape[:1]:
        raise ValueError(
            f"x must have last dimension {knots.shape[0]}, one for each row of knots, "
            f"got shape {tuple(x.shape)}"
        )


# Basis functions -----------------------------------------------------------------------------


def find_cell(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """The cell that holds each point: c with t[c] <= x < t[c+1].

    The right end of the domain, t[n], belongs to the last cell before it, so that the
    domain is closed. All paths of the package share this function, and thus its
    conventions: right limits at knots, left limits at the right end.

    Args:
        x: Points, shape (..., *F).
        knots: Shape (*F, K).
        degree: k.

    Returns:
        Cells, int64, shape (..., *F); -1 left of all knots (and for NaN), K - 1 right of them.

    Example:
        >>> find_cell(torch.tensor([0.0, 0.5, 1.0]), uniform_knots(2, 0, 0.0, 1.0), 0)
        tensor([0, 1, 1])
    """
    x = x.unsqueeze(-1)
    high = knots[..., -degree - 1].unsqueeze(-1)
    return ((knots <= x) & ((knots < x) | (x != high))).sum(-1) - 1


def bspline_basis(x: Tensor, knots: Tensor, degree: int, *, derivative: int = 0) -> Tensor:
    r"""All B-splines of one degree, or a derivative of them, at the points x.

    The Cox-de Boor recursion starts from the indicator of the cell that holds x and
    raises the degree one at a time,

    .. math::
        B_{i,0}(x) = [t_i \le x < t_{i+1}], \qquad
        B_{i,k}(x) = \frac{x - t_i}{t_{i+k} - t_i} B_{i,k-1}(x)
                   + \frac{t_{i+k+1} - x}{t_{i+k+1} - t_{i+1}} B_{i+1,k-1}(x),

    where a quotient with equal knots counts as zero. Derivatives come in closed form from

    .. math::
        B_{i,k}'(x) = \frac{k}{t_{i+k} - t_i} B_{i,k-1}(x)
                    - \frac{k}{t_{i+k+1} - t_{i+1}} B_{i+1,k-1}(x),

    and, to any order, from autograd.

    Args:
        x: Points, floating point, shape (..., *F). Non-finite points give non-finite values.
        knots: Shape (*F, K), with F = () or (in_features,); rules in :func:`check_knots`.
        degree: k, at least 0.
        derivative: Order d of the derivative, at least 0; zero everywhere where d > k.

    Returns:
        Shape (..., *F, n) with n = K - k - 1: non-negative (d = 0), at most k + 1 of them
        not zero, summing to one on the domain [t[k], t[n]], exactly zero outside the knots.
        Right limits at knots, left limits at t[n].

    Raises:
        ValueError: If an argument breaks its rule.

    Example:
        >>> bspline_basis(torch.tensor([0.5]), uniform_knots(1, 2, 0.0, 1.0), 2)
        tensor([[0.1250, 0.7500, 0.1250]])

    Book: *B-splines*. Source: de Boor, On calculating with B-splines (1972),
    doi:10.1016/0021-9045(72)90080-9.
    """
    check_knots(knots, degree)
    check_points(x, knots)
    if derivative < 0:
        raise ValueError(f"derivative must be at least 0, got {derivative}")
    return evaluate_basis(x, knots, degree, derivative)


def evaluate_basis(
    x: Tensor, knots: Tensor, degree: int, derivative: int = 0, *, beyond: Tensor | None = None
) -> Tensor:
    r""":func:`bspline_basis` without its checks, which read data: for compiled and hot code.

    With `beyond`, of the shape of x, the values are those of the tangents at x, continued to
    x + beyond: :math:`B_i(x) + \mathrm{beyond} \cdot B_i'(x)`. On a cell, the recursion with an
    argument of its own in every step is affine in each of them (the blossom of the polynomial), so
    that the tangent is what the last step gives at x + k beyond.
    """
    t, n_cells = knots, knots.shape[-1] - 1
    cells = torch.arange(n_cells, device=knots.device)
    x = x.unsqueeze(-1)
    # 0 * x carries a NaN or an infinity into degree 0, where no product with x follows.
    basis = (find_cell(x.squeeze(-1), t, degree).unsqueeze(-1) == cells) + 0 * x
    if derivative > degree:
        return 0 * basis[..., : n_cells - degree]
    for k in range(1, degree + 1):
        if k == degree and beyond is not None:
            x = x + degree * beyond.unsqueeze(-1)
        span = t[..., k:] - t[..., :-k]  # (*F, K - k): t_{i+k} - t_i
        scaled = basis / torch.where(span > 0, span, 1)  # equal knots: B is 0 already
        if k <= degree - derivative:  # raise the degree
            basis = (x - t[..., : -k - 1]) * scaled[..., :-1] + (t[..., k + 1 :] - x) * scaled[
                ..., 1:
            ]
        else:  # differentiate, which raises it too
            basis = k * (scaled[..., :-1] - scaled[..., 1:])
    return basis


# Knot insertion and export -------------------------------------------------------------------


def insert_knots(knots: Tensor, coef: Tensor, degree: int, new: Tensor) -> tuple[Tensor, Tensor]:
    r"""Finer knots for the same spline, exactly (Boehm's algorithm).

    Inserting one knot :math:`\bar t` in the cell :math:`[t_c, t_{c+1}]` replaces k
    coefficients by k + 1 averages of neighbors,

    .. math::
        \bar c_i = w_i c_i + (1 - w_i) c_{i-1}, \qquad
        w_i = \min\!\Big(1, \max\!\Big(0,
              \frac{\bar t - t_i}{t_{i+k} - t_i}\Big)\Big),

    with :math:`w_i = 1` for :math:`i \le c - k` and 0 for :math:`i > c`.

    Args:
        knots: Shape (K,).
        coef: Coefficients, shape (n, ...) with n = K - k - 1.
        degree: k, at least 0.
        new: Knots to add, shape (m,), finite, inside the domain [t[k], t[n]]; repetitions raise
            the multiplicity, to degree + 1 at most.

    Returns:
        The new knots (K + m,) and coefficients (n + m, ...).

    Raises:
        ValueError: If an argument breaks its rule.

    Example:
        >>> insert_knots(uniform_knots(1, 1, 0.0, 1.0), torch.tensor([0.0, 1.0]), 1,
        ...              torch.tensor([0.5]))[1]
        tensor([0.0000, 0.5000, 1.0000])

    Source: Boehm, Inserting new knots into B-spline curves (1980),
    doi:10.1016/0010-4485(80)90154-2.
    """
    check_knots(knots, degree)
    if knots.dim() != 1 or coef.shape[:1] != (knots.shape[0] - degree - 1,):
        raise ValueError(
            f"coef must have shape (K - degree - 1, ...) = ({knots.shape[-1] - degree - 1}, ...) "
            f"for knots of shape (K,), got {tuple(coef.shape)} and {tuple(knots.shape)}"
        )
    low, high = knots[degree], knots[-degree - 1]
    if not ((new >= low) & (new <= high)).all():
        raise ValueError(
            f"new must lie in the domain [{low.item()}, {high.item()}], got {new.tolist()}"
        )
    for knot in new.to(knots.dtype).flatten():
        if (knots == knot).sum() > degree:
            raise ValueError(f"new must not raise a multiplicity above {degree + 1}: {knot.item()}")
        cell = int(find_cell(knot, knots, degree))
        i = torch.arange(coef.shape[0] + 1, device=knots.device)
        inside = (i > cell - degree) & (i <= cell)
        left = knots[: i.numel()]  # t_i
        span = torch.where(inside, knots[degree : degree + i.numel()] - left, 1)
        weight = torch.where(inside, (knot - left) / span, (i <= cell - degree).to(knots.dtype))
        weight = weight.reshape(-1, *[1] * (coef.dim() - 1))  # (n + 1, 1, ...)
        padded = torch.cat([coef[:1], coef, coef[-1:]])  # c_{i-1} and c_i for i = 0..n
        coef = weight * padded[1:] + (1 - weight) * padded[:-1]
        knots = torch.cat([knots[: cell + 1], knot[None], knots[cell + 1 :]])
    return knots, coef


def to_scipy(knots: Tensor, coef: Tensor, degree: int) -> ScipyBSpline:
    """The same spline as a :class:`scipy.interpolate.BSpline`, in float64.

    Args:
        knots: Shape (K,).
        coef: Shape (K - degree - 1, ...).
        degree: k.

    Returns:
        A SciPy spline; it agrees on the domain and continues its end polynomials outside.

    Raises:
        ImportError: If SciPy is not installed (``pip install kanlite[scipy]``).
    """
    from scipy.interpolate import BSpline as ScipyBSpline

    t, c = (a.detach().cpu().double().numpy() for a in (knots, coef))
    return ScipyBSpline(t, c, degree)
