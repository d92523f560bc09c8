r"""Samples in two parts: rows to fit, rows to judge by, and what the misfit of a fit may tell.

Glossary
    x, y      inputs (samples, in_features) and targets (samples, out_features)
    held      rows that are kept from the fit
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Rows", "check_finite", "has_structure", "root_mean_square"]


class Rows(NamedTuple):
    """Rows to fit and rows to judge by.

    Attributes:
        x: Inputs to fit, shape (rows, in_features).
        y: Targets to fit, shape (rows, out_features).
        held_x: Inputs that are held out.
        held_y: Targets that are held out.
        spread: What errors are relative to, a number or one for each target; 1 if they are scaled.

    Example:
        >>> x = torch.arange(10.0)[:, None]
        >>> rows = Rows.split(x, 2 * x, torch.Generator().manual_seed(0))
        >>> len(rows.x), len(rows.held_x), rows.error(lambda x: 2 * x + 3, held=True)
        (8, 2, 3.0)
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    spread: Tensor | float = 1.0

    @classmethod
    def split(
        cls,
        x: Tensor,
        y: Tensor,
        generator: torch.Generator,
        *,
        most: int | None = None,
        spread: Tensor | float = 1.0,
    ) -> Rows:
        """Samples of which a random fifth is held out.

        Args:
            x: Inputs, shape (samples, in_features).
            y: Targets, shape (samples, out_features).
            generator: Chooses the rows.
            most: Number of samples to keep; all if None.
            spread: What errors are relative to.

        Returns:
            The rows, in random order.
        """
        order = torch.randperm(len(x), generator=generator)[:most]
        held, rows = order[: len(order) // 5], order[len(order) // 5 :]
        return cls(x[rows], y[rows], x[held], y[held], spread)

    @property
    def size(self) -> int:
        """Number of all rows."""
        return len(self.x) + len(self.held_x)

    def error(self, function: Callable[[Tensor], Tensor], *, held: bool) -> float:
        """Root mean square error of a function on the rows to fit or on those held out.

        Args:
            function: From inputs to targets.
            held: Whether the held-out rows are meant.

        Returns:
            The error relative to the spread; inf where the function has no finite value.
        """
        x, y = (self.held_x, self.held_y) if held else (self.x, self.y)
        return root_mean_square((function(x) - y) / self.spread)


def root_mean_square(gap: Tensor) -> float:
    """Of all entries of a tensor; inf if it is not finite."""
    value = float(gap.square().mean().sqrt())
    return value if math.isfinite(value) else math.inf


def check_finite(x: Tensor, y: Tensor) -> None:
    """Refuse samples that hold anything but numbers.

    Raises:
        ValueError: If an entry of x or y is a NaN or an infinity.
    """
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("x and y must be finite, got a NaN or an infinity")


def has_structure(x: Tensor, residual: Tensor, most: int = 2000) -> bool:
    """Whether residuals of nearest neighbors are alike, which those of noise are not.

    Args:
        x: Inputs, shape (samples, in_features).
        residual: Shape (samples, q).
        most: Samples to look at; the distances of all pairs are computed.

    Returns:
        Whether the mean product of a residual and that of the nearest neighbor is more than a
        fifth of the mean square, and more than chance would make it.

    Example:
        >>> x = torch.linspace(-1, 1, 200)[:, None]
        >>> noise = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
        >>> has_structure(x, torch.sin(3 * x)), has_structure(x, noise)
        (True, False)
    """
    x, residual = x[:most] / x.std(0).clamp(min=1e-300), residual[:most]
    distance = torch.cdist(x, x).fill_diagonal_(math.inf)
    product = (residual * residual[distance.argmin(1)]).mean()
    likeness = float(product / residual.square().mean().clamp(min=1e-300))
    return likeness > max(0.2, 4 / math.sqrt(residual.numel()))
