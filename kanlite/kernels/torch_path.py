r"""B-spline layers in plain PyTorch, fast: closed forms, cache-sized blocks, nothing kept.

The three operations of :mod:`kanlite.kernels`, each of which evaluates the basis functions anew
from x, block by block of inputs, so that no tensor of shape (batch, in_features, num_basis) ever
exists. Three forms of the basis share the work:

- *closed*: on equally spaced knots every basis function is one function, the cardinal spline,

  .. math:: N_k(a) = \frac{1}{k!} \sum_{j=0}^{\lfloor k/2 \rfloor} (-1)^j \binom{k+1}{j}
            \Big(\frac{k+1}{2} - j - a\Big)_+^k ,

  of the distance a to its center in units of the spacing: a handful of vector expressions on
  whole planes, then a matrix product.
- *local*: on any knots, the k + 1 values that are not zero by the recursion of de Boor on the
  cell of x alone, scattered into planes.
- *bags*: where planes would be mostly zeros (many intervals), the same k + 1 values as weights
  of rows of coefficients, summed by ``embedding_bag``.

Glossary
    x, g      inputs (batch, in) and gradients of outputs (batch, out)
    h         weight of each sample and input, shape (batch, in), or None for ones
    W, R      coef (in, n, out) and residual_weight (in, out) or None: the SiLU branch
    d         order of the derivative
    P         planes: basis functions of a block, shape (inputs, n, rows)
    z         x moved to the nearest point of the domain, shape (inputs, rows)
    k, n      degree and number of basis functions
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from kanlite.bspline import evaluate_basis

__all__ = ["forward", "gradients", "input_gradient", "silu", "weight_gradient"]

PLANES = 2**17  # numbers in the planes of one block: they stay in the second-level cache
ROWS = 256  # samples of a block at least, so that products are worth their call
TABLE = 2**19  # numbers in the rows of coefficients that one call of embedding_bag reads
BAGS_FROM = 16  # basis functions from which bags beat planes


# The three operations ------------------------------------------------------------------------


def forward(
    x: Tensor,
    coef: Tensor,
    residual_weight: Tensor | None,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""F: :math:`y_{bo} = \sum_i h_{bi} s_{bio}`, see :mod:`kanlite.kernels`.

    Args:
        x: Shape (batch, in).
        coef: W, shape (in, n, out), in the dtype of the result.
        residual_weight: R, shape (in, out), or None.
        knots: Shape (K,) or (in, K).
        degree: k.
        extrapolate: One of "linear", "constant", "zero", "natural".
        order: d, at least 0.
        weight: h, shape (batch, in), or None.

    Returns:
        y, shape (batch, out).
    """
    spline = _Spline(x, knots, degree, extrapolate, order)
    y = _residual_output(spline, coef, residual_weight, weight)  # (out, batch)
    in_bags = spline.in_bags(coef)
    y = y.t().contiguous() if in_bags else y
    for rows, part in spline.blocks(coef) if order <= degree else ():
        scale = None if weight is None else weight[rows, part].t()
        table = coef[part].flatten(0, 1)  # (inputs * n, out)
        if in_bags:
            index, weights = spline.bags(rows, part, scale)
            y[rows].add_(_bag(table, index.flatten(1), weights.flatten(1)))
        else:
            planes = spline.planes(rows, part, scale).to(coef.dtype).flatten(0, 1)
            y[:, rows].addmm_(table.t(), planes)
    return y if in_bags else y.t().contiguous()


def input_gradient(
    x: Tensor,
    coef: Tensor,
    residual_weight: Tensor | None,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 1,
) -> Tensor:
    r"""X: :math:`u_{bi} = \sum_o g_{bo} s_{bio}`, see :mod:`kanlite.kernels`.

    Args:
        x, coef, residual_weight, knots, degree, extrapolate, order: As in :func:`forward`.
        grad: g, shape (batch, out).

    Returns:
        u, shape (batch, in), in the dtype in which the basis is evaluated.
    """
    spline = _Spline(x, knots, degree, extrapolate, order)
    u = 0 * spline.x if order > degree else torch.empty_like(spline.x)  # (in, batch)
    across, in_bags = grad.t().contiguous(), spline.in_bags(coef)  # (out, batch)
    grad = grad.contiguous() if in_bags else grad
    for rows, part in spline.blocks(coef) if order <= degree else ():
        table = coef[part].flatten(0, 1)  # (inputs * n, out)
        if in_bags:
            index, weights = spline.bags(rows, part, None)
            dots = _dots(grad[rows], table, index.flatten(1)).view_as(weights)
            u[part, rows] = (dots * weights).sum(-1).t()
        else:
            planes = spline.planes(rows, part, None)
            products = torch.mm(table, across[:, rows]).view_as(planes)
            torch.sum(planes.mul_(products), 1, out=u[part, rows])
    if residual_weight is not None:
        u.addcmul_(silu(spline.x, order), torch.mm(residual_weight, across).to(u.dtype))
    return u.t()


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 0,
    weight: Tensor | None = None,
    with_residual: bool = True,
) -> tuple[Tensor, Tensor | None]:
    r"""W: :math:`\sum_b h_{bi} B_m^{(d)}(x_{bi}) g_{bo}`, and the same sum with SiLU for B.

    Args:
        x, knots, degree, extrapolate, order, weight: As in :func:`forward`.
        grad: g, shape (batch, out).
        with_residual: Whether the second sum is wanted.

    Returns:
        Gradients of W, shape (in, n, out), and of R, shape (in, out) or None.
    """
    spline = _Spline(x, knots, degree, extrapolate, order)
    across = grad.t().contiguous()  # (out, batch)
    residual = None
    if with_residual:
        slopes = silu(spline.x, order)
        slopes = slopes if weight is None else slopes * weight.t()
        residual = torch.mm(slopes.to(grad.dtype), across.t())
    shape = (x.shape[1], spline.num_basis, grad.shape[1])
    if order > degree or len(x) == 0:
        return grad.new_zeros(shape), residual
    coef = grad.new_empty(shape)
    in_bags = spline.in_bags(coef)
    grad = grad.contiguous() if in_bags else grad
    for rows, part in spline.blocks(coef):
        scale = None if weight is None else weight[rows, part].t()
        if in_bags:
            spline.add_bags(rows, part, scale, grad[rows], coef[part].zero_())
        else:
            planes = spline.planes(rows, part, scale).to(grad.dtype).flatten(0, 1)
            _add_product(coef[part], planes, across, rows)
    lost = (0 * spline.x).sum(1)  # NaN for inputs that have no cell: all their sums are lost
    if lost.isnan().any():
        coef += lost.to(coef.dtype)[:, None, None]
    return coef, residual


def gradients(
    x: Tensor,
    coef: Tensor,
    residual_weight: Tensor | None,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """X with d = 1 and W with d = 0 in one go: all that a plain backward pass asks for.

    Args:
        x, coef, residual_weight, grad, knots, degree, extrapolate: As in :func:`input_gradient`.

    Returns:
        Gradients of x, coef and residual_weight.
    """
    spline = _Spline(x, knots, degree, extrapolate, 0)
    if spline.grid is None or degree < 2 or spline.in_bags(coef) or len(x) == 0:
        with_residual = residual_weight is not None
        rest = (knots, degree, extrapolate)
        return (
            input_gradient(x, coef, residual_weight, grad, *rest),
            *weight_gradient(x, grad, *rest, with_residual=with_residual),
        )
    across = grad.t().contiguous()  # (out, batch)
    u, coef_grad = torch.empty_like(spline.x), coef.new_empty(coef.shape)  # contiguous
    residual_grad = None
    for rows, part in spline.blocks(coef):
        values, slopes = spline.values_and_slopes(rows, part, spline.grid)
        _add_product(coef_grad[part], values.to(coef.dtype).flatten(0, 1), across, rows)
        products = torch.mm(coef[part].flatten(0, 1), across[:, rows]).view_as(slopes)
        torch.sum(slopes.mul_(products), 1, out=u[part, rows])
    if residual_weight is not None:
        residual_grad = torch.mm(silu(spline.x, 0).to(grad.dtype), across.t())
        u.addcmul_(silu(spline.x, 1), torch.mm(residual_weight, across).to(u.dtype))
    return u.t(), coef_grad, residual_grad


def silu(x: Tensor, order: int) -> Tensor:
    r"""The derivative of :math:`x\,\sigma(x)` of any order.

    .. math:: r^{(d)} = d\,\sigma^{(d-1)} + x\,\sigma^{(d)},

    where :math:`\sigma^{(d)} = \sigma (1 - \sigma)\,p_d(\sigma)` with polynomials
    :math:`p_1 = 1` and :math:`p_{d+1}(s) = (s (1 - s) p_d(s))'`.
    """
    if order == 0:
        return nnf.silu(x)
    s = torch.sigmoid(x)
    if order == 1:
        return torch.addcmul(s, x, torch.addcmul(s, s, s, value=-1))
    p: list[list[int]] = [[1]]
    for _ in range(order - 1):
        product = [a - b for a, b in zip([0, *p[-1], 0], [0, 0, *p[-1]], strict=True)]
        p.append([m * a for m, a in enumerate(product)][1:])
    below, above = (sum(a * s**m for m, a in enumerate(q)) for q in p[-2:])
    return (s - s * s) * (order * below + x * above)


# Basis functions of a block ------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """What equally spaced knots tell, as numbers."""

    low: float
    high: float
    step: float
    centers: Tensor  # of the basis functions, shape (n, 1)
    slopes: Tensor  # at both ends, of the functions that have one there, shape (2, k, 1)


_GRIDS = WeakTensorKeyDictionary()  # knots -> (version, degree, dtype, _Grid or None)


def _grid(knots: Tensor, degree: int, dtype: torch.dtype) -> _Grid | None:
    """The grid of equally spaced knots, or None; remembered as long as they stay the same."""
    if knots.dim() != 1 or degree == 0:
        return None
    if knots.is_inference():
        return _find_grid(knots, degree, dtype)
    key = (knots._version, degree, dtype)
    known = _GRIDS.get(knots)  # type: ignore[no-untyped-call]
    if known is None or known[0] != key:
        known = _GRIDS[knots] = (key, _find_grid(knots, degree, dtype))
    grid: _Grid | None = known[1]
    return grid


def _find_grid(knots: Tensor, degree: int, dtype: torch.dtype) -> _Grid | None:
    t = knots.detach().double()
    low, high = float(t[degree]), float(t[-degree - 1])
    step = (high - low) / (len(t) - 2 * degree - 1)
    even = low + step * torch.arange(-degree, len(t) - degree, device=t.device, dtype=t.dtype)
    if float((t - even).abs().max()) > 100 * torch.finfo(knots.dtype).eps * step:
        return None
    last = len(t) - degree - 1
    half = (degree + 1) // 2
    centers = (t[half : half + last] + t[degree + 1 - half : degree + 1 - half + last]) / 2
    slopes = evaluate_basis(torch.stack([t[degree], t[-degree - 1]]), t, degree, 1)
    sloped = max(degree, 2)  # the first ones at the left end, the last ones at the right end
    slopes = torch.stack([slopes[0, :sloped], slopes[1, -sloped:]])
    return _Grid(low, high, step, centers[:, None].to(dtype), slopes[..., None].to(dtype))


class _Spline:
    """Derivatives of one order of the basis functions at x, block by block."""

    def __init__(self, x: Tensor, knots: Tensor, degree: int, extrapolate: str, order: int) -> None:
        dtype = torch.promote_types(x.dtype, knots.dtype)
        dtype = torch.promote_types(dtype, torch.float32)  # half precision is too coarse for this
        self.x = x.to(dtype).t().contiguous()  # (in, batch)
        self.grid = _grid(knots, degree, dtype)
        self.knots = knots.to(dtype)
        self.degree, self.extrapolate, self.order = degree, extrapolate, order
        self.num_basis = knots.shape[-1] - degree - 1

    def in_bags(self, coef: Tensor) -> bool:
        """Whether rows of coefficients are summed one by one, and not by a matrix product."""
        return (
            self.num_basis >= BAGS_FROM
            and self.extrapolate != "natural"
            and coef.dtype == self.x.dtype
            and coef.device.type == "cpu"
        )

    def blocks(self, coef: Tensor) -> Iterator[tuple[slice, slice]]:
        """Slices of samples and of inputs that keep a block in the cache."""
        inputs, batch = self.x.shape
        if self.in_bags(coef):
            rows, part = batch, max(1, TABLE // (self.num_basis * coef.shape[-1]))
        else:
            rows = min(batch, max(ROWS, 2 * PLANES // self.num_basis))
            part = max(1, PLANES // (self.num_basis * max(rows, 1)))
        for start in range(0, batch, max(rows, 1)):
            for first in range(0, inputs, part):
                yield slice(start, start + rows), slice(first, first + part)

    def planes(self, rows: slice, part: slice, scale: Tensor | None) -> Tensor:
        """P, times h if it is given: shape (inputs, n, rows)."""
        x = self.x[part, rows].contiguous()
        if self.grid is not None and self.order < self.degree:
            planes = self._closed_planes(x, self.grid)
        elif self.extrapolate == "natural":
            knots = self._knots(part)
            planes = evaluate_basis(x.t(), knots, self.degree, self.order).permute(1, 2, 0)
            planes = planes.contiguous()
        else:
            first, weights = self._local(x, self._knots(part))
            index = first[:, None] + torch.arange(self.degree + 1, device=x.device)[:, None]
            planes = x.new_zeros(len(x), self.num_basis, x.shape[1]).scatter_(1, index, weights)
        return planes if scale is None else planes.mul_(scale[:, None])

    def bags(self, rows: slice, part: slice, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows of the block's table and their weights, both of shape (rows, inputs, k + 1)."""
        x = self.x[part, rows].contiguous()
        first, weights = self._local(x, self._knots(part))
        first += torch.arange(0, len(x) * self.num_basis, self.num_basis)[:, None]
        index = first.t()[..., None] + torch.arange(self.degree + 1)
        weights = weights if scale is None else weights.mul_(scale[:, None])
        return index, weights.permute(2, 0, 1).contiguous()

    def add_bags(
        self, rows: slice, part: slice, scale: Tensor | None, grad: Tensor, coef: Tensor
    ) -> None:
        """Add this block's gradient to coef (inputs, n, out): a bag of samples for each cell."""
        x = self.x[part, rows].contiguous()
        first, weights = self._local(x, self._knots(part))
        cells = self.num_basis - self.degree
        samples = first.argsort(dim=1)  # (inputs, rows): samples in the order of their cells
        first += torch.arange(0, len(x) * cells, cells)[:, None]
        ends = torch.bincount(first.flatten(), minlength=len(x) * cells).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        for j, w in enumerate(weights.unbind(1)):
            w = (w if scale is None else w * scale).gather(1, samples)
            sums = _embedding_bag(grad, samples.flatten(), starts, w.flatten())
            coef[:, j : j + cells].add_(sums.view(len(x), cells, -1))

    def _knots(self, part: slice) -> Tensor:
        return self.knots if self.knots.dim() == 1 else self.knots[part]

    def values_and_slopes(self, rows: slice, part: slice, grid: _Grid) -> tuple[Tensor, Tensor]:
        """Planes of orders 0 and 1 from the same powers."""
        z, beyond = self._nearest(self.x[part, rows].contiguous(), grid)
        values, slopes = _cardinal_and_slopes(z, grid.centers, grid.step, self.degree)
        return (
            self._extrapolated(values, beyond, grid, 0),
            self._extrapolated(slopes, beyond, grid, 1),
        )

    def _closed_planes(self, x: Tensor, grid: _Grid) -> Tensor:
        z, beyond = self._nearest(x, grid)
        planes = _cardinal(z, grid.centers, grid.step, self.degree, self.order)
        return self._extrapolated(planes, beyond, grid, self.order)

    def _nearest(self, x: Tensor, grid: _Grid) -> tuple[Tensor, Tensor | None]:
        """z, and how far x is beyond it, or None if no x is: an infinite x makes z NaN."""
        if self.extrapolate == "natural":
            return torch.add(x, x, alpha=0), None
        z = x.clamp(grid.low, grid.high)
        if not x.is_cuda and torch.equal(x, z):  # as a rule; to ask a GPU would make it wait
            return x, None
        beyond = x - z
        return torch.add(z, beyond, alpha=0), beyond

    def _extrapolated(
        self, planes: Tensor, beyond: Tensor | None, grid: _Grid, order: int
    ) -> Tensor:
        if beyond is None or _continues(self.extrapolate, order):
            return planes
        if (self.extrapolate, order) != ("linear", 0):
            return planes.mul_((beyond == 0)[:, None])
        k = grid.slopes.shape[1]
        planes[:, :k].add_(beyond.clamp(max=0)[:, None] * grid.slopes[0])
        planes[:, -k:].add_(beyond.clamp(min=0)[:, None] * grid.slopes[1])
        return planes

    def _local(self, x: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
        """First rows (inputs, rows), and weights of k + 1 rows from there (inputs, k + 1, rows)."""
        k, n = self.degree, self.num_basis
        low, high = knots[..., k, None], knots[..., n, None]
        z = torch.minimum(torch.maximum(x, low), high)
        beyond = x - z
        if self.grid is not None and self.order < k:
            first = ((z - low) * (1 / self.grid.step)).long().clamp_(0, n - k - 1)
            within = z - knots[first + k] + 0 * beyond  # from the left end of the cell
            centers = self.grid.step * (torch.arange(k + 1, device=x.device) - (k - 1) / 2)
            weights = _cardinal(within, centers[:, None].to(x.dtype), self.grid.step, k, self.order)
        else:
            inner = knots[..., k + 1 : n].contiguous()
            first = torch.searchsorted(inner, z, right=True)
            first = torch.minimum(
                first, (inner < high).sum(-1, keepdim=True)
            )  # t[n] is in the last
            weights = _recursion(z + 0 * beyond, knots, first, k, self.order)
        if self.order == 0 and self.extrapolate == "linear":
            if k and not torch.equal(x, z):
                weights.addcmul_(_recursion(z, knots, first, k, 1), beyond[:, None])
        elif not _continues(self.extrapolate, self.order):
            weights.mul_((beyond == 0)[:, None])
        return first, weights


def _continues(extrapolate: str, order: int) -> bool:
    """Whether a derivative keeps, off the domain, its value at the end."""
    return (extrapolate, order) in (("constant", 0), ("linear", 1))


def _cardinal(z: Tensor, centers: Tensor, step: float, degree: int, order: int) -> Tensor:
    """A derivative below the degree at z (inputs, rows): shape (inputs, centers, rows)."""
    power = degree - order
    # With scale^power = step^-order / power!, no plane needs a factor.
    scale = (step**-order / math.factorial(power)) ** (1 / power)
    gap, pieces = _pieces(z, centers, step, degree, scale)
    planes, *others = (_power(p, power) for p in pieces)
    for factor, q in zip(_factors(degree), others, strict=True):
        planes.add_(q, alpha=factor)
    return planes.mul_(gap.sign_()) if order % 2 else planes


def _cardinal_and_slopes(
    z: Tensor, centers: Tensor, step: float, degree: int
) -> tuple[Tensor, Tensor]:
    """Orders 0 and 1 of :func:`_cardinal`, degree at least 2, from the same powers."""
    scale = (1 / math.factorial(degree)) ** (1 / degree)
    gap, (p, *others) = _pieces(z, centers, step, degree, scale)
    slopes = _power(p, degree - 1)
    values = slopes * p
    for factor, q in zip(_factors(degree), others, strict=True):
        power = _power(q, degree - 1)
        values.addcmul_(power, q, value=factor)
        slopes.add_(power, alpha=factor)
    return values, slopes.mul_(gap.sign_().mul_(degree * scale / step))


def _pieces(
    z: Tensor, centers: Tensor, step: float, degree: int, scale: float
) -> tuple[Tensor, list[Tensor]]:
    """Centers minus z, and scale times the positive parts of the formula, j = 0, 1, ..."""
    gap = centers - z[:, None]
    p = gap.abs().mul_(-scale / step).add_((degree + 1) / 2 * scale).relu_()
    return gap, [p, *(nnf.softshrink(p, j * scale) for j in range(1, degree // 2 + 1))]


def _factors(degree: int) -> list[int]:
    """(-1)^j binomial(k + 1, j) for j = 1, 2, ..., as far as the formula has terms."""
    return [(-1) ** j * math.comb(degree + 1, j) for j in range(1, degree // 2 + 1)]


def _power(p: Tensor, power: int) -> Tensor:
    """p^power by multiplications: p itself for the first power."""
    if power <= 3:
        return p if power == 1 else p.pow(power)
    fourth = p.square().square_()
    return fourth if power == 4 else fourth.mul_(p)


def _recursion(z: Tensor, knots: Tensor, first: Tensor, degree: int, order: int) -> Tensor:
    """De Boor's recursion on the cell of z: its k + 1 basis functions, or their derivatives."""
    t = [  # t[c + 1 - k], ..., t[c + k] for the cell c = first + k
        knots[first + m] if knots.dim() == 1 else knots.gather(1, first + m)
        for m in range(1, 2 * degree + 1)
    ]
    weights = [torch.ones_like(z)]
    for k in range(1, degree + 1):
        lows, highs = t[degree - k : degree], t[degree : degree + k]
        scaled = [w / (b - a) for w, a, b in zip(weights, lows, highs, strict=True)]
        if k <= degree - order:
            rising = [s * (z - a) for s, a in zip(scaled, lows, strict=True)]
            falling = [s * (b - z) for s, b in zip(scaled, highs, strict=True)]
        else:
            rising, falling = [s * k for s in scaled], [s * -k for s in scaled]
        middle = [a + b for a, b in zip(rising[:-1], falling[1:], strict=True)]
        weights = [falling[0], *middle, rising[-1]]
    stacked = torch.stack(weights, 1)  # (inputs, k + 1, rows)
    return stacked + 0 * z[:, None] if order == degree else stacked


# Rows of coefficients ------------------------------------------------------------------------


def _residual_output(
    spline: _Spline, coef: Tensor, residual_weight: Tensor | None, weight: Tensor | None
) -> Tensor:
    """The SiLU branch of y, shape (out, batch), or zeros (NaN where x is not finite)."""
    if residual_weight is None:
        y = coef.new_zeros(coef.shape[-1], spline.x.shape[1])
        return y + (0 * spline.x).sum(0) if spline.order > spline.degree else y
    slopes = silu(spline.x, spline.order)
    slopes = slopes if weight is None else slopes * weight.t()
    return torch.mm(residual_weight.t(), slopes.to(coef.dtype))


def _add_product(coef: Tensor, planes: Tensor, across: Tensor, rows: slice) -> None:
    """Planes times gradients of some samples, added up in coef (inputs, n, out) from the first."""
    first = rows.start == 0
    coef.flatten(0, 1).addmm_(planes, across[:, rows].t(), beta=0 if first else 1)


def _bag(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows: index and weights (bags, m) -> (bags, out)."""
    starts = torch.arange(0, index.numel(), index.shape[1])
    return _embedding_bag(table, index.flatten(), starts, weights.flatten())


def _embedding_bag(table: Tensor, index: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    sums: Tensor = nnf.embedding_bag(index, table, starts, mode="sum", per_sample_weights=weights)
    return sums


def _dots(grad: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Products of each sample's gradient (rows, out) with the rows of its index (rows, m)."""
    bag = torch.arange(len(index)).repeat_interleave(index.shape[1])
    starts = torch.arange(0, index.numel(), index.shape[1])
    dots: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad, table, index.flatten(), starts, bag, 0
    )
    return dots
