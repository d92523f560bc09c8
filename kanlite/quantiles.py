r"""Knots that follow the data, from the quantiles of samples.

Glossary
    x, samples   shape (samples, *F), F = () or (in_features,)
    G, k         numbers of intervals, and degree
    s            shares 0, 1/G, ..., 1
    pad          how far the k knots on each side lie off the domain, shape (*F, k)
"""

from __future__ import annotations

import torch
from torch import Tensor

from kanlite.bspline import check_sizes

__all__ = ["quantile_knots"]


def quantile_knots(
    x: Tensor,
    num_intervals: int,
    degree: int,
    *,
    uniform_fraction: float = 0.02,
    low: float | None = None,
    high: float | None = None,
) -> Tensor:
    r"""Knots that follow the data: as many samples in each interval, nearly.

    The breakpoints mix equally spaced points u with the quantiles q of the samples,

    .. math:: b_j = \lambda u_j + (1 - \lambda)\, q_j, \qquad j = 0, \dots, G,

    and are continued on each side by `degree` steps of the mean spacing. The
    uniform share :math:`\lambda` keeps intervals open where samples repeat. A
    feature that never varies gets a domain of length max(1, abs(value)) around
    its value.

    Args:
        x: Samples, shape (samples,) or (samples, in_features), finite.
        num_intervals: G, at least 1.
        degree: k, at least 0.
        uniform_fraction: :math:`\lambda` in [0, 1].
        low: Left end of the domain; each feature's smallest sample if None.
        high: Right end of the domain; each feature's largest sample if None.

    Returns:
        Knots of shape (G + 2k + 1,) or (in_features, G + 2k + 1).

    Raises:
        ValueError: If an argument is out of its range, or knots would coincide
            because `uniform_fraction` is 0 and samples repeat.

    Example:
        >>> quantile_knots(torch.tensor([0.0, 0.1, 0.2, 1.0]), 2, 1, uniform_fraction=0.0)
        tensor([-0.5000,  0.0000,  0.1500,  1.0000,  1.5000])

    Book: *B-splines*. Source: Liu et al., KAN (2024), arXiv:2404.19756, appendix A.
    """
    check_sizes(num_intervals, degree)
    if x.dim() not in (1, 2) or x.shape[0] == 0 or not x.is_floating_point():
        raise ValueError(
            "x must be floating point of shape (samples,) or (samples, in_features) "
            f"with at least one sample, got {x.dtype} of shape {tuple(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise ValueError("x must be finite, got a NaN or an infinity")
    if not 0.0 <= uniform_fraction <= 1.0:
        raise ValueError(f"uniform_fraction must be in [0, 1], got {uniform_fraction}")
    samples = x.detach().double()
    first, last = _ends(samples, low, high)
    s = torch.linspace(0, 1, num_intervals + 1, dtype=torch.float64, device=x.device)
    quantiles = _quantiles(samples, s).clamp(first, last).movedim(0, -1)
    quantiles[..., 0], quantiles[..., -1] = first, last
    uniform = torch.lerp(first[..., None], last[..., None], s)  # (*F, G + 1)
    breaks = torch.lerp(quantiles, uniform, uniform_fraction)
    steps = torch.arange(1, degree + 1, dtype=torch.float64, device=x.device)
    pad = steps * ((last - first) / num_intervals)[..., None]  # (*F, k)
    knots = torch.cat([first[..., None] - pad.flip(-1), breaks, last[..., None] + pad], dim=-1)
    knots = knots.to(x.dtype)
    if not (knots.diff(dim=-1) > 0).all():
        raise ValueError(
            "uniform_fraction must be larger where samples repeat: two knots coincide at "
            f"uniform_fraction = {uniform_fraction} in {x.dtype}"
        )
    return knots


def _ends(samples: Tensor, low: float | None, high: float | None) -> tuple[Tensor, Tensor]:
    """Ends of the domain for each feature: as given, or those of the samples."""
    first, last = samples.amin(0), samples.amax(0)
    margin = torch.where(first == last, first.abs().clamp(min=1.0) / 2, 0.0)
    first = first - margin if low is None else torch.full_like(first, low)
    last = last + margin if high is None else torch.full_like(last, high)
    if not ((first < last) & (last - first).isfinite()).all():
        raise ValueError(
            f"low must be finite and lie below high and the samples, got low={low}, high={high}"
        )
    return first, last


def _quantiles(samples: Tensor, s: Tensor) -> Tensor:
    """Linear quantiles, (len(s), *F), as torch.quantile, which refuses many samples."""
    ordered = samples.sort(dim=0).values
    position = s * (len(samples) - 1)
    below = position.long()
    share = (position - below).reshape(-1, *[1] * (samples.dim() - 1))
    return torch.lerp(ordered[below], ordered[position.ceil().long()], share)
