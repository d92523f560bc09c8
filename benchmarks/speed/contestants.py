"""Who takes part: kanlite's paths, published layers, an MLP, and the product that bounds them.

Every maker takes widths and the number of intervals G and gives a module from (batch, widths[0])
to (batch, widths[-1]), or None where it does not apply or is not installed.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks import peers

DEGREE = 3
Maker = Callable[[Sequence[int], int], nn.Module | None]


@dataclass(frozen=True)
class Contestant:
    """A way to compute a KAN, or what it is compared with.

    Attributes:
        make: See above.
        around: A context in which it runs.
        exact: Whether it computes B-splines of the stated degree and number of intervals.
        note: What a reader should know.
    """

    make: Maker
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    exact: bool = True
    note: str = ""


def kanlite(widths: Sequence[int], num_intervals: int) -> nn.Module:
    return kl.KAN(widths, kl.BSpline(num_intervals, DEGREE))


def mlp(widths: Sequence[int], num_intervals: int) -> nn.Module:
    return kl.MLP(widths)


def stacked(layer: type[nn.Module], widths: Sequence[int], *size: int) -> nn.Module:
    return nn.Sequential(*(layer(n, m, *size) for n, m in itertools.pairwise(widths)))


def efficient_kan(widths: Sequence[int], num_intervals: int) -> nn.Module:
    if found := _installed("efficient_kan", "KAN"):
        made: nn.Module = found(list(widths), grid_size=num_intervals)
        return made
    return stacked(peers.EfficientKAN, widths, num_intervals, DEGREE)


def fast_kan(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    if min(widths[:-1]) < 3:  # LayerNorm leaves nothing of two features
        return None
    if found := _installed("fastkan", "FastKAN"):
        made: nn.Module = found(list(widths), num_grids=num_intervals + DEGREE)
        return made
    return stacked(peers.FastKAN, widths, num_intervals + DEGREE)


def faster_kan(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    if min(widths[:-1]) < 3:
        return None
    return stacked(peers.FasterKAN, widths, num_intervals + DEGREE)


def cheby_kan(widths: Sequence[int], num_intervals: int) -> nn.Module:
    return stacked(peers.ChebyKAN, widths, num_intervals + DEGREE - 1)


def inkan(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    network = _installed("inkan", "KANNetwork")
    made: nn.Module | None = network and network(list(widths), grid_size=num_intervals)
    return made


def inkan_eager(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    layer = _installed("inkan", "KANLayer")
    if layer is None:
        return None
    pairs = itertools.pairwise(widths)
    return nn.Sequential(
        *(layer(n, m, grid_size=num_intervals, compile_basis=False) for n, m in pairs)
    )


def pykan(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    network = _installed("kan", "KAN")
    if network is None or max(widths) > 64:  # it would need tens of gigabytes and minutes
        return None
    made: nn.Module = network(
        width=list(widths), grid=num_intervals, k=DEGREE, auto_save=False, symbolic_enabled=False
    ).speed()
    return made


def compiled(widths: Sequence[int], num_intervals: int) -> nn.Module | None:
    model: nn.Module = torch.compile(kanlite(widths, num_intervals), fullgraph=True)
    return model


class Bound(nn.Module):
    """The matrix product of a dense basis, without the basis: what such a layer could at best cost.

    Forward, (batch, n (G + k)) times (n (G + k), m); the features are there already.
    """

    def __init__(self, widths: Sequence[int], num_intervals: int) -> None:
        super().__init__()
        pairs = [(n * (num_intervals + DEGREE), m) for n, m in itertools.pairwise(widths)]
        self.weights = nn.ParameterList(torch.randn(n, m) / n**0.5 for n, m in pairs)
        self.features: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.features or len(self.features[0]) != len(x):
            made = (
                torch.rand(len(x), len(w), device=w.device, dtype=w.dtype) for w in self.weights
            )
            self.features = [part.requires_grad_() for part in made]
        products = [f @ w for f, w in zip(self.features, self.weights, strict=True)]
        return torch.cat([product.flatten() for product in products])


def _installed(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return None


def path(name: str) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: kl.kernels.use(name)


BOUND = "GEMM bound"
ALL: dict[str, Contestant] = {
    BOUND: Contestant(Bound, exact=False, note="torch.matmul, no basis"),
    "MLP": Contestant(mlp, exact=False, note="equal widths, fewer parameters"),
    "kanlite cpu": Contestant(kanlite, path("cpu"), note="compiled local support"),
    "kanlite torch": Contestant(kanlite, path("torch"), note="plain PyTorch, recomputed"),
    "kanlite reference": Contestant(kanlite, path("reference"), note="Cox-de Boor, autograd"),
    "efficient-kan": Contestant(efficient_kan, note="re-implemented unless installed"),
    "inkan": Contestant(inkan, note="PyPI, compiled by torch.compile"),
    "FastKAN": Contestant(fast_kan, exact=False, note="Gaussians; re-implemented unless installed"),
    "FasterKAN": Contestant(faster_kan, exact=False, note="re-implemented"),
    "ChebyKAN": Contestant(cheby_kan, exact=False, note="polynomials; re-implemented"),
    "pykan": Contestant(pykan, note="PyPI, fast mode"),
}
