r"""The constants of a formula: how well the data know them, and nice values in their place.

A constant becomes 2, 1/3 or pi if its own precision pays for the name and the errors on fit and
held-out rows allow it, one constant at a time; all others are fit again each time
(:func:`snapped`). What is not nice is rounded (:func:`rounded`).

Glossary
    theta, free, e    constants, those to be fit, and the error: as in :mod:`kanlite.composition`
    names             the nice numbers among the constants, by their place in theta
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from kanlite.composition import Composition, refit
from kanlite.samples import Rows

__all__ = ["Nice", "nice_near", "nice_numbers", "rounded", "snapped", "uncertainty"]


class Nice(NamedTuple):
    """A number with a short name: its value, the bits of the name, and the name for SymPy."""

    value: float
    bits: float
    name: str


@functools.cache
def nice_numbers() -> tuple[Nice, ...]:
    """Integers, small fractions, and multiples of pi and of roots, by increasing cost.

    Example:
        >>> [number.value for number in nice_numbers()[:5]]
        [0.0, 1.0, -1.0, 2.0, -2.0]
    """
    units = (("1", 1.0, 0.0), ("pi", math.pi, 2.0), ("E", math.e, 4.0), ("1/pi", 1 / math.pi, 5.0))
    roots = [(f"sqrt({n})", math.sqrt(n), 2.0 + math.log2(n)) for n in (2, 3, 5, 6, 7, 10)]
    more = [("sqrt(pi)", math.sqrt(math.pi), 5.0), ("exp(1/2)", math.exp(0.5), 6.0)]
    found = {0.0: Nice(0.0, 0.0, "0")}
    for name, size, extra in (*units, *roots, *more):
        for q in (1, 2, 3, 4, 5, 6, 8, 10):
            for p in range(1, 101 if name == "1" and q == 1 else 13):
                share = Fraction(p, q)
                bits = math.log2(1 + share.numerator) + 2 * math.log2(share.denominator) + extra
                for sign in (1, -1):
                    value = sign * float(share) * size
                    text = f"{'-' if sign < 0 else ''}{share}*{name}"
                    found.setdefault(round(value, 12), Nice(value, bits, text))
    return tuple(sorted(found.values(), key=lambda nice: (nice.bits, nice.value < 0)))


def nice_near(value: float, deviation: float, *, most: int = 3) -> list[Nice]:
    """The simplest numbers near a value that its precision pays for.

    Args:
        value: The constant as it was fit.
        deviation: Its standard deviation, above 0: four of them are near.
        most: How many numbers, the simplest first.

    Returns:
        Those whose bits are not more than the value tells.

    Example:
        >>> [number.name for number in nice_near(3.1416, 1e-5)]
        ['1*pi']
    """
    near = max(4 * deviation, 2e-3 * max(abs(value), 0.05))
    worth = math.log2(1 + max(abs(value), 1.0) / max(deviation, 1e-6 * max(abs(value), 1.0))) + 2
    return [n for n in nice_numbers() if abs(n.value - value) <= near and n.bits <= worth][:most]


def uncertainty(
    net: Composition, theta: Tensor, free: Tensor, rows: Rows, error: float
) -> tuple[Tensor, Tensor]:
    """How far each free constant may be off: far where the data do not determine it.

    Args:
        net: The formula.
        theta: Its constants, shape (P,), as they were fit.
        free: Which of them were fit, shape (P,), P' of them.
        rows: The data.
        error: e on the rows to fit.

    Returns:
        Standard deviations, shape (P',); and their squares over what they would be if the noise
        were alike everywhere, at least 1: the estimate is White's, from the residuals themselves.

    Source: White, A heteroskedasticity-consistent covariance matrix estimator and a direct test
    for heteroskedasticity, Econometrica 48 (1980), 817-838.
    """
    unit = theta[free].abs().clamp(min=1.0)
    r, j = net.jacobian(theta, free, rows)
    left, size, right = torch.linalg.svd(j * unit, full_matrices=False)
    size = torch.where(size > 1e-10 * size[0], size, 1e-13 * size[0]).clamp(min=1e-300)
    inverse = right.T / size  # (P', P')
    alike = max(error, 1e-8) * inverse.norm(dim=1)
    own = (inverse @ (left * r[:, None]).T).norm(dim=1)
    return unit * torch.maximum(alike, own), (own / alike).square().clamp(min=1.0)


def snapped(
    net: Composition, theta: Tensor, free: Tensor, rows: Rows
) -> tuple[Tensor, dict[int, Nice]]:
    """Nice values for constants, one at a time, while the errors allow it.

    Args:
        net: The formula.
        theta: Its constants, shape (P,), float64.
        free: Which of them are not redundant, shape (P,).
        rows: The data.

    Returns:
        The constants, and the names of those that are nice now. No factor a or c becomes 0.
    """
    free, names, refused = free.clone(), dict[int, Nice](), set[tuple[int, float]]()
    theta, error = refit(net, theta, free, rows)
    least, held, count = error, net.error(theta, rows, held=True), len(rows.x)
    slopes = {e.at + k for e in net.edges for k in (0, 2)}  # a and c: no edge becomes zero
    while free.any():
        deviation, excess = torch.zeros_like(theta), torch.ones_like(theta)
        deviation[free], excess[free] = uncertainty(net, theta, free, rows, error)
        options = [
            (nice.bits, abs(nice.value - float(theta[k])), k, nice)
            for k in free.nonzero()[:, 0].tolist()
            for nice in nice_near(float(theta[k]), float(deviation[k]))
            if (k, nice.value) not in refused and (nice.value != 0 or k not in slopes)
        ]
        for _, _, k, nice in sorted(options, key=lambda option: option[:3]):
            trial, others = theta.clone(), free.clone()
            trial[k], others[k] = nice.value, False
            trial, after = refit(net, trial, others, rows)
            # What chance adds to the squared error: three standard deviations for this one, four
            # where the formula gets shorter, and one for each of those before it.
            chance = (16 if nice.value == 0 else 9) * float(excess[k]) + 2 * len(names)
            fit_limit = max(least * (1 + chance / 2 / count), 1e-9)
            held_limit = max(held * (1.02 + 2 * len(names) / count), 1e-9)
            if after <= fit_limit and net.error(trial, rows, held=True) <= held_limit:
                theta, free, error, names[k] = trial, others, after, nice
                break
            refused.add((k, nice.value))
        else:
            break
    return theta, names


def rounded(
    net: Composition, theta: Tensor, names: dict[int, Nice], digits: int, rows: Rows
) -> tuple[Tensor, int]:
    """Constants as they are shown, with more digits where they would cancel.

    Args:
        net: The formula.
        theta: Its constants, shape (P,), float64.
        names: Those that are nice, which stay as they are.
        digits: Significant digits to begin with, at least 1.
        rows: The data; the held-out ones judge.

    Returns:
        The constants, shape (P,), and their number of digits.
    """
    limit = max(2 * net.error(theta, rows, held=True), 10.0 ** (1 - digits))
    short = theta
    for count in range(digits, 17):
        digits = count
        values = [
            v if k in names else float(f"{v:.{count - 1}e}") for k, v in enumerate(theta.tolist())
        ]
        short = torch.tensor(values, dtype=torch.float64)
        if net.error(short, rows, held=True) <= limit:
            break
    return short, digits
