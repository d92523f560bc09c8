"""Draw the picture of the welcome page: a KAN that has learned exp(sin(pi x) + y^2).

    python book/figures/welcome.py    # writes book/_static/welcome.png

Trains the smallest network that can hold the formula, [2, 1, 1], on samples of it, and draws the
edge functions that it found. Takes a few seconds; the result is the same each time.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import kanlite as kl

PICTURE = Path(__file__).resolve().parents[1] / "_static" / "welcome.png"
SAMPLES, STEPS, SEED = 1000, 200, 0


def target(x: Tensor) -> Tensor:
    """The formula that the network is to learn: (samples, 2) -> (samples, 1)."""
    return torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)


def train() -> tuple[kl.KAN, Tensor]:
    """A trained network and the inputs that it saw."""
    draw = torch.Generator().manual_seed(SEED)
    x = 2 * torch.rand(SAMPLES, 2, generator=draw, dtype=torch.float64) - 1
    basis = kl.BSpline(num_intervals=8, degree=3)
    model = kl.KAN([2, 1, 1], basis, generator=draw).double()
    kl.fit(model, (x, target(x)), optimizer="lbfgs", steps=STEPS, progress=False)
    return model, x


def similarity(values: Tensor, formula: Tensor) -> float:
    """Squared correlation: 1 where the values are the formula up to a scale and a shift."""
    return torch.corrcoef(torch.stack([values, formula]))[0, 1].item() ** 2


def found(model: kl.KAN, x: Tensor) -> dict[str, float]:
    """How near each edge function came to its part of the formula."""
    inner, outer = kl.edge_values(model, x)
    total = torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2
    return {
        "sine": similarity(inner[:, 0, 0], torch.sin(torch.pi * x[:, 0])),
        "square": similarity(inner[:, 0, 1], x[:, 1] ** 2),
        "exponential": similarity(outer[:, 0, 0], torch.exp(total)),
    }


def draw(model: kl.KAN, x: Tensor) -> Figure:
    """The network, with a plot of its function on each edge."""
    return kl.plot_kan(model, x, names=["$x$", "$y$"])


if __name__ == "__main__":
    model, x = train()
    figure = draw(model, x)
    figure.savefig(PICTURE, dpi=200, facecolor="white", bbox_inches="tight")
