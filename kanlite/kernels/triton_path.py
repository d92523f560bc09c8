r"""The GPU path: B-spline layers in Triton, with nothing of size (batch, in, num_basis) in memory.

A tile of x becomes *records* in registers: the k + 1 basis functions that are not zero at each
x_bi, and the number of the first. From records the matrix of all basis functions is made again
one plane (one m) at a time, (batch block, input block), and goes straight into a tensor-core
product with the coefficients of that plane:

.. math:: y_{bo} = \sum_m \sum_i B_m(x_{bi}) \, W_{imo}.

The two gradients read the same records. Where there are many basis functions
(`DENSE_LIMIT`), most planes are zeros, and the *local* kernels touch only the k + 1 rows that a
sample needs; their weight gradient walks the samples sorted by cell, so that nothing is added
atomically and every run gives the same bits.

Everything that depends on knots, degree, extrapolation and order of the derivative is in a
:class:`Plan`, a table of polynomials, one per piece of the line.

Glossary
    b, i, o, m   sample, input, output, basis function; B, N, D, M are how many
    BB, BI, BO   how many of them one program handles (powers of 2, at least 16)
    row, w       a record: number of the first basis function, and the k + 1 values
    plane        B_m(x_bi) for one m, shape (BB, BI)
    piece        where the basis is one polynomial: a cell of the knots, or one of the two ends

Without a GPU the same kernels run in Triton's interpreter (``TRITON_INTERPRET=1``), as the tests
do. Book: *From loops to GEMM*.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from triton.runtime.errors import OutOfResources

from kanlite.bspline import evaluate_basis
from kanlite.kernels.tuning import Blocks, Tuner

__all__ = [
    "DENSE_LIMIT",
    "Plan",
    "forward",
    "input_gradient",
    "plan",
    "supports",
    "weight_gradient",
]

DENSE_LIMIT = 128  # more basis functions than this: local kernels
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
PLANES = 4  # planes of the weight gradient that one program accumulates
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


# Plans: knots as polynomials -----------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The basis functions of one order of derivative, as polynomials on pieces.

    Attributes:
        uniform: Whether the knots are shared and equally spaced; then `table` holds the
            polynomials in u - floor(u) for a cell, and in u for the two ends.
        table: Coefficients, lowest power first: (features, pieces, k + 1, k + 1), or, if uniform,
            (k + 1)^2 numbers for a cell and 2 (k + 1) for each end.
        starts: Where pieces begin, (features, pieces); the low end, the high end and 1 / h if
            uniform.
        origins: What is subtracted from x in a piece, (features, pieces).
        rows: First basis function of a piece, (features, pieces).
        last: The piece of the right end, (features,).
        pieces: How many pieces there are.
    """

    uniform: bool
    table: Tensor
    starts: Tensor
    origins: Tensor
    rows: Tensor
    last: Tensor
    pieces: int


_PLANS: WeakIdKeyDictionary = WeakIdKeyDictionary()
_TUNER = Tuner(
    Path(os.environ["KANLITE_CACHE"]) / "triton.json" if "KANLITE_CACHE" in os.environ else None
)


def plan(knots: Tensor, degree: int, extrapolate: str, order: int, dtype: torch.dtype) -> Plan:
    """The polynomials of a basis; made once for each version of the knots.

    Args:
        knots: Shape (K,), or (in, K).
        degree: k, 1 to 5.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative, at least 0.
        dtype: Of the tables: float32 or float64.
    """
    if knots.is_inference():  # nothing tells when such a tensor changes
        return _make_plan(knots, degree, extrapolate, order, dtype)
    version, made = _PLANS.get(knots, (None, {}))
    if version != knots._version:
        made = {}
        _PLANS[knots] = (knots._version, made)
    key = (degree, extrapolate, order, dtype)
    if key not in made:
        made[key] = _make_plan(knots.detach(), *key)
    found: Plan = made[key]
    return found


def _make_plan(
    knots: Tensor, degree: int, extrapolate: str, order: int, dtype: torch.dtype
) -> Plan:
    t = knots.double().cpu().reshape(-1, knots.shape[-1])  # (features, K)
    gaps = t.diff(dim=-1)
    step = gaps.mean()
    if len(t) == 1 and bool(((gaps - step).abs() <= 1e-6 * step).all()):
        parts = _uniform_parts(t[0], degree, extrapolate, order)
    else:
        parts = _general_parts(t, degree, extrapolate, order)
    table, starts, origins, rows, last = (part.to(knots.device) for part in parts)
    return Plan(
        uniform=len(starts.shape) == 1,
        table=table.to(dtype).contiguous(),
        starts=starts.to(dtype).contiguous(),
        origins=origins.to(dtype).contiguous(),
        rows=rows.int().contiguous(),
        last=last.int().contiguous(),
        pieces=starts.shape[-1],
    )


def _end_powers(extrapolate: str, order: int) -> int:
    """How many powers of x - end the basis keeps beyond an end of the domain."""
    return max({"linear": 2, "constant": 1}.get(extrapolate, 0) - order, 0)


def _taylor(t: Tensor, points: Tensor, degree: int, order: int, powers: int) -> Tensor:
    """B_m^(order + p)(points) / p! for p < powers: (*points, num_basis, powers)."""
    columns = [
        evaluate_basis(points, t, degree, order + p) / math.factorial(p) for p in range(powers)
    ]
    if not columns:
        return points.new_zeros(*points.shape, t.shape[-1] - degree - 1, 0)
    return torch.stack(columns, dim=-1)


def _uniform_parts(t: Tensor, degree: int, extrapolate: str, order: int) -> tuple[Tensor, ...]:
    k, n = degree, len(t) - degree - 1
    h = (t[n] - t[k]) / (n - k)
    cardinal = torch.arange(2.0 * k + 2, dtype=torch.float64) - k  # one cell, [0, 1]
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    cell = _taylor(cardinal, ends[:1], k, order, k + 1)[0]  # (k + 1, k + 1)
    beyond = torch.zeros(2, k + 1, 2, dtype=torch.float64)
    kept = _end_powers(extrapolate, order)
    beyond[..., :kept] = _taylor(cardinal, ends, k, order, kept)
    table = torch.cat([cell.flatten(), beyond.flatten()]) / h**order
    starts = torch.stack([t[k], t[n], 1 / h])
    none = torch.zeros(1, dtype=torch.float64)
    return table, starts, none, none, none


def _general_parts(t: Tensor, degree: int, extrapolate: str, order: int) -> tuple[Tensor, ...]:
    """Pieces: the left end, the cells, the right end; padded cells too if "natural"."""
    k, n = degree, t.shape[-1] - degree - 1
    natural = extrapolate == "natural"
    first, stop = (0, n + k) if natural else (k, n)  # cells t[c] to t[c + 1], first <= c < stop
    cells = torch.arange(first, stop)
    filled = (cells[:, None] < n) & (t.T[cells] < t.T[n])  # (cells, features)
    last = filled.long().cumsum(0).argmax(0)  # (features,): the cell that ends the domain
    starts = torch.cat([t[:, first, None], t[:, cells], t[:, stop, None]], dim=1)
    origins = starts.clone()
    origins[:, 1:-1] = (t[:, cells] + t[:, cells + 1]) / 2  # no doubt which cell a middle is in
    taylor = _taylor(t, origins.T, k, order, k + 1).transpose(0, 1)  # (features, pieces, n, k + 1)
    kept = _end_powers(extrapolate, order)
    taylor[:, [0, -1], :, kept:] = 0.0
    rows = torch.cat([cells[:1], cells, cells[-1:]]).repeat(len(t), 1) - k
    rows[:, -1] = last + first - k
    index = rows[..., None] + torch.arange(k + 1)  # (features, pieces, k + 1)
    inside = (index >= 0) & (index < n)
    table = taylor.gather(2, index.clamp(0, n - 1)[..., None].expand(*index.shape, k + 1))
    table = table * inside[..., None]
    return table, starts, origins, rows, last + 1


# Records and planes, in registers --------------------------------------------------------------


@triton.jit
def _polynomials(s, table, K: tl.constexpr, POWERS: tl.constexpr):
    """Values of K + 1 polynomials at s, coefficients lowest power first (Horner)."""
    values = ()
    for j in tl.static_range(K + 1):
        value = tl.load(table + (j * POWERS + POWERS - 1)) + 0 * s  # 0 * s: NaN stays NaN
        for p in tl.static_range(POWERS - 1):
            value = value * s + tl.load(table + (j * POWERS + POWERS - 2 - p))
        values = values + (value,)
    return values


@triton.jit
def _uniform_record(x, starts, table, K: tl.constexpr, G: tl.constexpr, NATURAL: tl.constexpr):
    """The cell by arithmetic; one polynomial serves all cells."""
    low, high, rate = tl.load(starts), tl.load(starts + 1), tl.load(starts + 2)
    u = (x - low) * rate
    cell = tl.floor(u)
    if NATURAL:
        cell = tl.minimum(tl.maximum(cell, -K - 1.0), G + K + 0.0)
        cell = tl.where(x == high, G - 1.0, cell)
    else:
        cell = tl.minimum(tl.maximum(cell, 0.0), G - 1.0)
    inner = _polynomials(u - cell, table, K, K + 1)
    w = ()
    if NATURAL:
        off = (u < -K) | (u >= G + K)
        for j in tl.static_range(K + 1):
            w = w + (tl.where(off, 0 * x, inner[j]),)
    else:
        left = _polynomials(u, table + (K + 1) * (K + 1), K, 2)
        right = _polynomials(u - G, table + (K + 1) * (K + 3), K, 2)
        for j in tl.static_range(K + 1):
            w = w + (tl.where(x < low, left[j], tl.where(x > high, right[j], inner[j])),)
    return cell.to(tl.int32), w


@triton.jit
def _general_record(
    x, f, starts, origins, rows, last, table, K: tl.constexpr, pieces, high_piece: tl.constexpr
):
    """The piece by counting the starts at or before x; its polynomials are gathered.

    f is the feature of each x, or 0 where all features share their knots; high_piece tells how
    many pieces lie beyond the high end.
    """
    piece = tl.zeros_like(x).to(tl.int32) + f * 0
    for q in range(1, pieces):
        piece += (x >= tl.load(starts + f * pieces + q)).to(tl.int32)
    high = tl.load(starts + f * pieces + (pieces - high_piece))
    piece = tl.where(x == high, tl.load(last + f), piece)
    at = f * pieces + piece
    s = x - tl.load(origins + at)
    base = table + at * ((K + 1) * (K + 1))
    return tl.load(rows + at), _polynomials(s, base, K, K + 1)


@triton.jit
def _record(
    x, f, starts, origins, rows, last, table, pieces,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr,
):  # fmt: skip
    """First basis function and the k + 1 values at each x."""
    if UNIFORM:
        row, w = _uniform_record(x, starts, table, K, G, NATURAL)
    else:
        if SHARED:
            f = f * 0
        row, w = _general_record(
            x, f, starts, origins, rows, last, table, K, pieces, K + 1 if NATURAL else 1
        )
    return row, w


@triton.jit
def _plane(row, w, m, K: tl.constexpr):
    """B_m at each x of the tile, from its records."""
    value = 0 * w[0]  # NaN stays NaN
    for j in tl.static_range(K + 1):
        value += tl.where(row + j == m, w[j], 0.0)
    return value


@triton.jit
def _silu(x, ORDER: tl.constexpr):
    """SiLU, x / (1 + exp(-x)), or one of its first three derivatives."""
    s = 1 / (1 + tl.exp(-x))
    if ORDER == 0:
        value = x * s
    elif ORDER == 1:
        value = s * (1 + x * (1 - s))
    elif ORDER == 2:
        value = s * (1 - s) * (2 + x * (1 - 2 * s))
    else:
        value = s * (1 - s) * (3 * (1 - 2 * s) + x * (1 - 6 * s * (1 - s)))
    return value


# Dense kernels: planes times coefficients --------------------------------------------------------


@triton.jit
def _forward_dense(
    X, W, R, H, Y, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, ORDER: tl.constexpr, RESIDUAL: tl.constexpr, WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)[:, None]  # (BB, 1)
    o = tl.program_id(1) * BO + tl.arange(0, BO)[None, :]  # (1, BO)
    y = tl.zeros((BB, BO), ACC)
    for i0 in range(0, N, BI):
        i = (i0 + tl.arange(0, BI)).to(tl.int64)
        tile = (b < B) & (i[None, :] < N)
        x = tl.load(X + b * N + i[None, :], tile, 0.0).to(ACC)  # (BB, BI)
        f = tl.minimum(i, N - 1)[None, :]
        row, w = _record(
            x, f, starts, origins, rows, last, table, pieces, K, G, UNIFORM, SHARED, NATURAL
        )
        scale = tl.load(H + b * N + i[None, :], tile, 0.0) if WEIGHTED else 1.0
        weights = (i[:, None] < N) & (o < D)
        for m in range(M):
            coef = tl.load(W + (i[:, None] * M + m) * D + o, weights, 0.0)  # (BI, BO)
            plane = (_plane(row, w, m, K) * scale).to(coef.dtype)
            y = tl.dot(plane, coef, y, input_precision=PRECISION, out_dtype=ACC)
        if RESIDUAL:
            coef = tl.load(R + i[:, None] * D + o, weights, 0.0)
            plane = (_silu(x, ORDER) * scale).to(coef.dtype)
            y = tl.dot(plane, coef, y, input_precision=PRECISION, out_dtype=ACC)
    tl.store(Y + b * D + o, y.to(Y.dtype.element_ty), (b < B) & (o < D))


@triton.jit
def _input_dense(
    X, W, R, DY, DX, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, ORDER: tl.constexpr, RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)[:, None]  # (BB, 1)
    i = (tl.program_id(1) * BI + tl.arange(0, BI)[None, :]).to(tl.int64)  # (1, BI)
    tile = (b < B) & (i < N)
    x = tl.load(X + b * N + i, tile, 0.0).to(ACC)  # (BB, BI)
    row, w = _record(
        x, tl.minimum(i, N - 1), starts, origins, rows, last, table, pieces,
        K, G, UNIFORM, SHARED, NATURAL,
    )  # fmt: skip
    dx = tl.zeros((BB, BI), ACC)
    for o0 in range(0, D, BO):
        o = o0 + tl.arange(0, BO)
        dy = tl.load(DY + b * D + o[None, :], (b < B) & (o[None, :] < D), 0.0)  # (BB, BO)
        weights = (i < N) & (o[:, None] < D)
        for m in range(M):
            coef = tl.load(W + (i * M + m) * D + o[:, None], weights, 0.0)  # (BO, BI)
            pulled = tl.dot(dy.to(coef.dtype), coef, input_precision=PRECISION, out_dtype=ACC)
            dx += _plane(row, w, m, K) * pulled
        if RESIDUAL:
            coef = tl.load(R + i * D + o[:, None], weights, 0.0)
            pulled = tl.dot(dy.to(coef.dtype), coef, input_precision=PRECISION, out_dtype=ACC)
            dx += _silu(x, ORDER) * pulled
    tl.store(DX + b * N + i, dx.to(DX.dtype.element_ty), tile)


@triton.jit
def _weight_dense(
    X, H, DY, DW, DR, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, ORDER: tl.constexpr, RESIDUAL: tl.constexpr, WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr, PLANES: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr, share, groups,
):  # fmt: skip
    """PLANES planes of the gradient over a share of the batch; the shares are added after."""
    i = (tl.program_id(0) // groups) * BI + tl.arange(0, BI)[:, None]  # (BI, 1)
    m0 = (tl.program_id(0) % groups) * PLANES
    o = tl.program_id(1) * BO + tl.arange(0, BO)[None, :]  # (1, BO)
    split = tl.program_id(2).to(tl.int64)
    sums = ()
    for _ in tl.static_range(PLANES):
        sums = sums + (tl.zeros((BI, BO), ACC),)
    end = tl.minimum((split + 1) * share, B)
    for b0 in range(split * share, end, BB):
        b = b0 + tl.arange(0, BB)
        tile = (i < N) & (b[None, :] < end)
        x = tl.load(X + b[None, :] * N + i, tile, 0.0).to(ACC)  # (BI, BB)
        row, w = _record(
            x, tl.minimum(i, N - 1), starts, origins, rows, last, table, pieces,
            K, G, UNIFORM, SHARED, NATURAL,
        )  # fmt: skip
        scale = tl.load(H + b[None, :] * N + i, tile, 0.0) if WEIGHTED else 1.0
        dy = tl.load(DY + b[:, None] * D + o, (b[:, None] < end) & (o < D), 0.0)  # (BB, BO)
        added = ()
        for q in tl.static_range(PLANES):
            plane = _plane(row, w, m0 + q, K)
            if RESIDUAL:
                plane = tl.where(m0 + q == M, _silu(x, ORDER), plane)
            plane = (plane * scale).to(dy.dtype)
            added = added + (tl.dot(plane, dy, sums[q], input_precision=PRECISION, out_dtype=ACC),)
        sums = added
    inside = (i < N) & (o < D)
    for q in tl.static_range(PLANES):
        m = m0 + q
        tl.store(DW + ((split * N + i) * M + m) * D + o, sums[q], inside & (m < M))
        if RESIDUAL:
            tl.store(DR + (split * N + i) * D + o, sums[q], inside & (m == M))


# Local kernels: the k + 1 rows that a sample touches ---------------------------------------------


@triton.jit
def _forward_local(
    X, W, R, H, Y, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, ORDER: tl.constexpr, RESIDUAL: tl.constexpr, WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)  # (BB,)
    o = tl.program_id(1) * BO + tl.arange(0, BO)[None, :]
    y = tl.zeros((BB, BO), ACC)
    for i in range(N):
        x = tl.load(X + b * N + i, b < B, 0.0).to(ACC)
        row, w = _record(
            x, i, starts, origins, rows, last, table, pieces, K, G, UNIFORM, SHARED, NATURAL
        )
        scale = tl.load(H + b * N + i, b < B, 0.0) if WEIGHTED else 1.0
        for j in tl.static_range(K + 1):
            m = (row + j)[:, None]
            there = (m >= 0) & (m < M) & (o < D)
            coef = tl.load(W + (i * M + m.to(tl.int64)) * D + o, there, 0.0)  # (BB, BO)
            y += (w[j] * scale)[:, None] * coef
        if RESIDUAL:
            coef = tl.load(R + i * D + o, o < D, 0.0)
            y += (_silu(x, ORDER) * scale)[:, None] * coef
    tl.store(Y + b[:, None] * D + o, y.to(Y.dtype.element_ty), (b[:, None] < B) & (o < D))


@triton.jit
def _input_local(
    X, W, R, DY, DX, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, ORDER: tl.constexpr, RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)  # (BB,)
    i = tl.program_id(1).to(tl.int64)
    x = tl.load(X + b * N + i, b < B, 0.0).to(ACC)
    row, w = _record(
        x, i.to(tl.int32), starts, origins, rows, last, table, pieces,
        K, G, UNIFORM, SHARED, NATURAL,
    )  # fmt: skip
    dx = tl.zeros((BB,), ACC)
    for o0 in range(0, D, BO):
        o = o0 + tl.arange(0, BO)[None, :]
        dy = tl.load(DY + b[:, None] * D + o, (b[:, None] < B) & (o < D), 0.0).to(ACC)
        for j in tl.static_range(K + 1):
            m = (row + j)[:, None]
            there = (m >= 0) & (m < M) & (o < D)
            coef = tl.load(W + (i * M + m) * D + o, there, 0.0)  # (BB, BO)
            dx += w[j] * tl.sum(coef * dy, axis=1)
        if RESIDUAL:
            coef = tl.load(R + i * D + o, o < D, 0.0)
            dx += _silu(x, ORDER) * tl.sum(coef * dy, axis=1)
    tl.store(DX + b * N + i, dx.to(DX.dtype.element_ty), b < B)


@triton.jit
def _rows_of(
    X, ROWS, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    """First basis function of each (sample, input), to sort by: ROWS has shape (N, B)."""
    b = tl.program_id(0).to(tl.int64) * BB + tl.arange(0, BB)
    i = tl.program_id(1)
    x = tl.load(X + b * N + i, b < B, 0.0).to(ACC)
    row, _ = _record(
        x, i, starts, origins, rows, last, table, pieces, K, G, UNIFORM, SHARED, NATURAL
    )
    tl.store(ROWS + i.to(tl.int64) * B + b, row, b < B)


@triton.jit
def _weight_local(
    X, H, DY, DW, ORDERED, FIRST, starts, origins, rows, last, table, pieces, B, N, D, M,
    K: tl.constexpr, G: tl.constexpr, UNIFORM: tl.constexpr, SHARED: tl.constexpr,
    NATURAL: tl.constexpr, WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
    BB: tl.constexpr, BI: tl.constexpr, BO: tl.constexpr,
):  # fmt: skip
    """One row m of the gradient: over the samples whose records contain m.

    ORDERED (N, B) lists the samples of each input by row; FIRST (N, M + K + 1) tells where the
    rows -K to M begin in it, so that these samples lie side by side.
    """
    i = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1)
    o = tl.program_id(2) * BO + tl.arange(0, BO)[None, :]
    begin = tl.load(FIRST + i * (M + K + 1) + m)  # row m - K
    end = tl.load(FIRST + i * (M + K + 1) + m + K + 1)  # row m + 1
    dw = tl.zeros((1, BO), ACC)
    for s0 in range(begin, end, BB):
        s = s0 + tl.arange(0, BB)
        b = tl.load(ORDERED + i * B + s, s < end, 0)
        x = tl.load(X + b * N + i, s < end, 0.0).to(ACC)
        row, w = _record(
            x, i.to(tl.int32), starts, origins, rows, last, table, pieces,
            K, G, UNIFORM, SHARED, NATURAL,
        )  # fmt: skip
        scale = tl.load(H + b * N + i, s < end, 0.0) if WEIGHTED else 1.0
        dy = tl.load(DY + b[:, None] * D + o, (s[:, None] < end) & (o < D), 0.0)
        part = _plane(row, w, m, K) * scale  # (BB,)
        dw += tl.sum(tl.where(s[:, None] < end, part[:, None] * dy, 0.0), axis=0)[None, :]
    tl.store(DW + (i * M + m) * D + o, dw, o < D)


# The three operations ----------------------------------------------------------------------------


def supports(x: Tensor, coef: Tensor, degree: int, extrapolate: str, order: int) -> str | None:
    """Why these kernels cannot do it, or None where they can.

    Args:
        x: Inputs, (batch, in).
        coef: (in, num_basis, out).
        degree: k.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative.
    """
    if not (x.is_cuda or INTERPRETED):
        return "Triton needs a CUDA device"
    if coef.dtype not in DTYPES and not INTERPRETED:
        return f"the Triton kernels are for float32, float16 and bfloat16, not {coef.dtype}"
    if not 1 <= degree <= 5:
        return f"the Triton kernels are for degrees 1 to 5, not {degree}"
    if order > 3:
        return f"the Triton kernels have derivatives up to order 3, not {order}"
    return None


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
    """y_bo = sum_i h_bi (sum_m B_m(x_bi) W_imo + silu(x_bi) R_io), of the given derivative.

    Args:
        x: Inputs, (batch, in), contiguous.
        coef: W, (in, num_basis, out), contiguous; its dtype is that of the products.
        residual_weight: R, (in, out), or None.
        knots: (K,), or (in, K).
        degree: k, 1 to 5.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative of B_m and SiLU, 0 to 3.
        weight: h, (batch, in), or None for ones.

    Returns:
        (batch, out), in the dtype of `coef`.
    """
    call = _Call(x, coef.shape, knots, degree, extrapolate, order)
    y = coef.new_zeros(call.B, call.D)
    call.launch(
        _forward_local if call.local else _forward_dense,
        lambda t: (triton.cdiv(call.B, t.b), triton.cdiv(call.D, t.o)),
        (x, coef, _or(residual_weight, coef), _or(weight, x), y),
        ORDER=order, RESIDUAL=residual_weight is not None, WEIGHTED=weight is not None,
    )  # fmt: skip
    return y


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
    """u_bi = sum_o g_bo (sum_m B_m(x_bi) W_imo + silu(x_bi) R_io), of the given derivative.

    Args:
        x, coef, residual_weight, knots, degree, extrapolate, order: As in :func:`forward`.
        grad: g, (batch, out), contiguous.

    Returns:
        (batch, in), in the dtype of `x`.
    """
    call = _Call(x, coef.shape, knots, degree, extrapolate, order)
    dx = torch.zeros_like(x)
    call.launch(
        _input_local if call.local else _input_dense,
        lambda t: (triton.cdiv(call.B, t.b), call.N if call.local else triton.cdiv(call.N, t.i)),
        (x, coef, _or(residual_weight, coef), grad, dx),
        ORDER=order, RESIDUAL=residual_weight is not None,
    )  # fmt: skip
    return dx


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 0,
    weight: Tensor | None = None,
    with_residual: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """dW_imo = sum_b h_bi B_m(x_bi) g_bo and dR_io = sum_b h_bi silu(x_bi) g_bo.

    Args:
        x, knots, degree, extrapolate, order, weight: As in :func:`forward`.
        grad: g, (batch, out), contiguous; its dtype is that of the products.
        with_residual: Whether to make dR.

    Returns:
        dW, (in, num_basis, out), and dR, (in, out), or None.
    """
    shape = torch.Size((x.shape[1], knots.shape[-1] - degree - 1, grad.shape[1]))
    call = _Call(x, shape, knots, degree, extrapolate, order)
    if call.local:
        return _weight_gradient_local(call, x, grad, weight, order, with_residual)
    groups = triton.cdiv(call.M + with_residual, PLANES)
    # Enough programs to fill a GPU, and no share of the batch below 1024 samples.
    programs = groups * triton.cdiv(call.N, 32) * triton.cdiv(call.D, 64)
    splits = max(1, min(call.B // 1024, 512 // programs))
    dw = x.new_zeros(splits, *shape, dtype=call.acc)
    dr = x.new_zeros(splits, call.N, call.D, dtype=call.acc) if with_residual else dw
    call.launch(
        _weight_dense,
        lambda t: (triton.cdiv(call.N, t.i) * groups, triton.cdiv(call.D, t.o), splits),
        (x, _or(weight, x), grad, dw, dr),
        share=triton.cdiv(call.B, splits), groups=groups, PLANES=PLANES,
        ORDER=order, RESIDUAL=with_residual, WEIGHTED=weight is not None,
    )  # fmt: skip
    residual = dr.sum(0).to(grad.dtype) if with_residual else None
    return dw.sum(0).to(grad.dtype), residual


def _weight_gradient_local(
    call: _Call, x: Tensor, grad: Tensor, weight: Tensor | None, order: int, with_residual: bool
) -> tuple[Tensor, Tensor | None]:
    """Sorts the samples of each input by their row, then makes each row of dW in one walk."""
    N, M, K = call.N, call.M, call.degree
    rows = x.new_empty(N, call.B, dtype=torch.int32)
    call.launch(_rows_of, lambda t: (triton.cdiv(call.B, t.b), N), (x, rows))
    rows, ordered = rows.sort(dim=1, stable=True)
    bounds = torch.arange(-K, M + 1, dtype=torch.int32, device=x.device).expand(N, -1)
    first = torch.searchsorted(rows, bounds.contiguous(), out_int32=True)  # (N, M + K + 1)
    dw = x.new_zeros(N, M, call.D, dtype=call.acc)
    call.launch(
        _weight_local, lambda t: (N, M, triton.cdiv(call.D, t.o)),
        (x, _or(weight, x), grad, dw, ordered.int(), first), WEIGHTED=weight is not None,
    )  # fmt: skip
    dw += (0 * x).sum(0).to(call.acc)[:, None, None]  # a NaN or infinity has no row of its own
    if not with_residual:
        return dw.to(grad.dtype), None
    values = silu_derivative(x, order)
    values = values if weight is None else weight * values
    return dw.to(grad.dtype), values.to(grad.dtype).T @ grad


def silu_derivative(x: Tensor, order: int) -> Tensor:
    """SiLU, or one of its first three derivatives."""
    s = torch.sigmoid(x)
    if order == 0:
        return x * s
    if order == 1:
        return s * (1 + x * (1 - s))
    if order == 2:
        return s * (1 - s) * (2 + x * (1 - 2 * s))
    return s * (1 - s) * (3 * (1 - 2 * s) + x * (1 - 6 * s * (1 - s)))


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A kernel must get some pointer, also for what it does not read."""
    return other if tensor is None else tensor


class _Call:
    """What the kernels of one operation share: sizes, plan, precision and blocks."""

    def __init__(
        self,
        x: Tensor,
        shape: torch.Size,
        knots: Tensor,
        degree: int,
        extrapolate: str,
        order: int,
    ) -> None:
        self.B, (self.N, self.M, self.D) = x.shape[0], shape
        self.degree = degree
        self.acc = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.local = self.M > DENSE_LIMIT
        self.plan = plan(knots, degree, extrapolate, order, self.acc)
        # Full float32 products unless PyTorch was told that less will do.
        exact = torch.get_float32_matmul_precision() == "highest"
        self.constants = {
            "K": degree, "G": self.M - degree, "UNIFORM": self.plan.uniform,
            "SHARED": knots.dim() == 1, "NATURAL": extrapolate == "natural",
            "PRECISION": "ieee" if exact else "tf32",
            "ACC": tl.float64 if self.acc == torch.float64 else tl.float32,
        }  # fmt: skip

    def launch(
        self,
        kernel: Any,
        grid: Callable[[Blocks], tuple[int, ...]],
        tensors: tuple[Tensor, ...],
        **flags: int,
    ) -> None:
        """Run a kernel on the blocks that suit it; on no samples, not at all."""
        if 0 in (self.B, self.D):
            return
        p = self.plan
        arrays = (*tensors, p.starts, p.origins, p.rows, p.last, p.table)
        sizes = (p.pieces, self.B, self.N, self.D, self.M)

        def run(t: Blocks) -> None:
            kernel[grid(t)](
                *arrays, *sizes, **self.constants, **flags,
                BB=t.b, BI=t.i, BO=t.o, num_warps=t.warps, num_stages=t.stages,
            )  # fmt: skip

        x, last = tensors[0], tensors[-1]
        device = torch.cuda.get_device_name(x.device) if x.is_cuda else "interpreter"
        key = f"{kernel.__name__} {device} {last.dtype} {self.constants} {sizes} {flags}"
        timed = partial(_seconds, run) if x.is_cuda else None
        run(_TUNER.choose(key, self.candidates(kernel), timed))

    def candidates(self, kernel: Any) -> list[Blocks]:
        """Blocks worth a try, the best guess first."""
        if kernel in (_rows_of, _weight_local, _forward_local, _input_local):
            outputs = min(max(triton.next_power_of_2(self.D), 16), 128)
            return [Blocks(b, 16, outputs, warps) for b, warps in ((16, 4), (32, 4), (32, 8))]
        outputs = 64 if self.D > 32 else 16
        inputs = 32 if self.N > 16 else 16
        guess = Blocks(64, inputs, outputs)
        wide = [Blocks(128, inputs, outputs, 8), Blocks(128, inputs, 128, 8, 3)]
        small = [Blocks(64, 16, outputs), Blocks(32, inputs, 64), Blocks(64, 64, 64, 8)]
        return [guess, *wide, *small]


def _seconds(run: Callable[[Blocks], None], blocks: Blocks, repeats: int = 10) -> float:
    """Time of one run on a GPU, infinity where its tiles do not fit."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    try:
        run(blocks)  # compiles
        begin.record()
        for _ in range(repeats):
            run(blocks)
        end.record()
    except OutOfResources:
        return math.inf
    end.synchronize()
    return begin.elapsed_time(end) / repeats / 1000
