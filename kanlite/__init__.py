"""kanlite: readable, accurate and fast Kolmogorov-Arnold networks in PyTorch.

>>> import torch, kanlite as kl
>>> model = kl.KAN([2, 5, 1], kl.BSpline(num_intervals=5, degree=3))
>>> model(torch.zeros(4, 2)).shape
torch.Size([4, 1])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kanlite import kernels, variants
from kanlite._version import __version__
from kanlite.architectures import KANGPT, KANAttention, KANConv2d, KANFeedForward
from kanlite.baselines import MLP, Flops, count_flops, count_parameters, match_width
from kanlite.bases import Basis, BSpline
from kanlite.bspline import (
    bspline_basis,
    find_cell,
    insert_knots,
    to_scipy,
    uniform_knots,
)
from kanlite.candidates import CANDIDATES, AffineFit, Candidate, fit_affine, suggest
from kanlite.discovery import Discovery, find_formula
from kanlite.edges import edge_inputs, edge_layers, edge_scales, edge_values
from kanlite.export import EdgeSplines, edge_splines, to_onnx
from kanlite.inspection import explain
from kanlite.layers import KAN, KANLayer
from kanlite.optim import LevenbergMarquardt
from kanlite.other_bases import Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch
from kanlite.penalties import Penalty
from kanlite.persistence import load, save
from kanlite.pruning import Pruned, edge_scores, input_report, node_scores, prune
from kanlite.quantiles import quantile_knots
from kanlite.refinement import change_basis, refine
from kanlite.superposition import InnerSums, Superposition, inner_function, inner_grid, superpose
from kanlite.symbolic import Formula, to_formula
from kanlite.training import History, fit, fit_coarse_to_fine
from kanlite.variants import Multiply

if TYPE_CHECKING:
    from kanlite.estimators import KANClassifier, KANRegressor
    from kanlite.plotting import plot_basis, plot_edge, plot_kan

# Names whose modules need an optional package: imported when first used.
_LAZY = dict.fromkeys(("plot_basis", "plot_edge", "plot_kan"), "kanlite.plotting")
_LAZY |= dict.fromkeys(("KANClassifier", "KANRegressor"), "kanlite.estimators")

__all__ = [
    "CANDIDATES",
    "KAN",
    "KANGPT",
    "MLP",
    "AffineFit",
    "BSpline",
    "Basis",
    "Candidate",
    "Chebyshev",
    "Discovery",
    "EdgeSplines",
    "Flops",
    "Formula",
    "Fourier",
    "GaussianRBF",
    "History",
    "InnerSums",
    "KANAttention",
    "KANClassifier",
    "KANConv2d",
    "KANFeedForward",
    "KANLayer",
    "KANRegressor",
    "LevenbergMarquardt",
    "Multiply",
    "Penalty",
    "Pruned",
    "Rational",
    "ReflectionalSwitch",
    "Superposition",
    "__version__",
    "bspline_basis",
    "change_basis",
    "count_flops",
    "count_parameters",
    "edge_inputs",
    "edge_layers",
    "edge_scales",
    "edge_scores",
    "edge_splines",
    "edge_values",
    "explain",
    "find_cell",
    "find_formula",
    "fit",
    "fit_affine",
    "fit_coarse_to_fine",
    "inner_function",
    "inner_grid",
    "input_report",
    "insert_knots",
    "kernels",
    "load",
    "match_width",
    "node_scores",
    "plot_basis",
    "plot_edge",
    "plot_kan",
    "prune",
    "quantile_knots",
    "refine",
    "save",
    "suggest",
    "superpose",
    "to_formula",
    "to_onnx",
    "to_scipy",
    "uniform_knots",
    "variants",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kanlite' has no attribute {name!r}")
