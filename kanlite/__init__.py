"""kanlite: readable, accurate and fast Kolmogorov-Arnold networks in PyTorch.

>>> import torch, kanlite as kl
>>> model = kl.KAN([2, 5, 1], kl.BSpline(num_intervals=5, degree=3))
>>> model(torch.zeros(4, 2)).shape
torch.Size([4, 1])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kanlite._version import __version__
from kanlite.bases import Basis, BSpline
from kanlite.bspline import (
    bspline_basis,
    find_cell,
    insert_knots,
    quantile_knots,
    to_scipy,
    uniform_knots,
)
from kanlite.edges import edge_inputs, edge_layers, edge_scales, edge_values
from kanlite.inspection import explain
from kanlite.layers import KAN, KANLayer
from kanlite.optim import LevenbergMarquardt
from kanlite.penalties import Penalty
from kanlite.persistence import load, save
from kanlite.refinement import change_basis, refine
from kanlite.training import History, fit, fit_coarse_to_fine

if TYPE_CHECKING:
    from kanlite.plotting import plot_basis, plot_edge, plot_kan

# Names whose modules need an optional package: imported when first used.
_LAZY = dict.fromkeys(("plot_basis", "plot_edge", "plot_kan"), "kanlite.plotting")

__all__ = [
    "KAN",
    "BSpline",
    "Basis",
    "History",
    "KANLayer",
    "LevenbergMarquardt",
    "Penalty",
    "__version__",
    "bspline_basis",
    "change_basis",
    "edge_inputs",
    "edge_layers",
    "edge_scales",
    "edge_values",
    "explain",
    "find_cell",
    "fit",
    "fit_coarse_to_fine",
    "insert_knots",
    "load",
    "plot_basis",
    "plot_edge",
    "plot_kan",
    "quantile_knots",
    "refine",
    "save",
    "to_scipy",
    "uniform_knots",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kanlite' has no attribute {name!r}")
