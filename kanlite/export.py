r"""Models for other programs: ONNX files, and SciPy splines of single edges.

``torch.export.export`` takes every model of kanlite as it is. Files of ONNX are made from what it
gives, in plain tensor operations, so that any runtime of ONNX computes the same numbers.

Glossary
    [j, i]       output j, input i, as in torch.nn.Linear
    phi_ji       edge function, spline plus weighted residual
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kanlite import kernels
from kanlite.bases import BSpline
from kanlite.bspline import to_scipy
from kanlite.edges import edge_layers
from kanlite.layers import RESIDUALS, KANLayer

if TYPE_CHECKING:
    from scipy.interpolate import BSpline as ScipyBSpline

__all__ = ["EdgeSplines", "edge_splines", "to_onnx"]


def to_onnx(model: nn.Module, x: Tensor, path: str | os.PathLike[str]) -> None:
    """Write a model to one ONNX file that takes batches of any size.

    The file holds the model in evaluation mode and in its dtype: an input "x" and an output "y",
    whose first dimension, "batch", is free.

    Args:
        model: Any module of one tensor; it is not changed.
        x: An example of its input, shape (batch, ...), at least one sample; its numbers do not
            matter.
        path: Where to; an existing file is replaced.

    Raises:
        ValueError: If x holds no sample.
        ImportError: If onnx or onnxscript is not installed (``pip install kanlite[onnx]``).

    Example:
        >>> from kanlite import KAN
        >>> model = KAN([2, 5, 1], BSpline())
        >>> to_onnx(model, torch.zeros(1, 2), "model.onnx")  # doctest: +SKIP
        >>> import onnxruntime  # doctest: +SKIP
        >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
        >>> (y,) = session.run(None, {"x": np.zeros((7, 2), "float32")})  # doctest: +SKIP
    """
    import onnx
    import onnxscript  # noqa: F401  # PyTorch's own complaint does not say what to install

    if x.dim() == 0 or len(x) == 0:
        raise ValueError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    plain = copy.deepcopy(model).cpu().eval()
    example = torch.cat([x[:1], x[:1]]).cpu()  # two samples: of one, a size of 1 would be kept
    with torch.no_grad(), kernels.use("reference"):
        program: Any = torch.onnx.export(
            plain,
            (example,),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    exact = program.model_proto
    program.optimize()
    shorter = program.model_proto
    file = shorter if _is_valid(shorter) else exact
    for node in file.graph.node:
        del node.metadata_props[:]  # lines and paths of the source
    onnx.save(file, os.fspath(path))


def _is_valid(file: Any) -> bool:
    """Whether a file is whole: ONNX Script 0.7 drops a bound where two models clamp one input."""
    import onnx

    try:
        onnx.checker.check_model(file)
    except onnx.checker.ValidationError:
        return False
    return True


@dataclass(frozen=True)
class EdgeSplines:
    r"""The edge functions of a layer on B-splines, each in two parts.

    .. math:: \phi_{ji}(x) = \mathrm{splines}_{ji}(\nu(x)) + r_{ji}\, b(x), \qquad
              y_j = \sum_i \phi_{ji}(x_i) + a_j,

    with the layer's normalization :math:`\nu`, if it has one.

    Attributes:
        splines: SciPy's B-splines, ``splines[j][i]``. Each agrees with the layer on the domain,
            and continues its end polynomials outside, whatever the layer extrapolates. (Where
            the last interval has length zero, SciPy knows no limit from the left at the end.)
        residual: b, a function on tensors, or None.
        residual_weight: r, shape (out_features, in_features), float64, or None.
        bias: a, shape (out_features,), float64, or None.
    """

    splines: list[list[ScipyBSpline]]
    residual: Callable[[Tensor], Tensor] | None
    residual_weight: np.ndarray | None
    bias: np.ndarray | None


def edge_splines(model: nn.Module) -> list[EdgeSplines]:
    """Every edge function of a model as a SciPy spline, and its residual apart.

    Args:
        model: Any module with KAN layers, all of them on B-splines.

    Returns:
        For each layer of :func:`kanlite.edge_layers`, its splines in float64.

    Raises:
        ValueError: If a layer is on another basis; it says which.
        ImportError: If SciPy is not installed (``pip install kanlite[scipy]``).

    Example:
        >>> from kanlite import KAN
        >>> (layer,) = edge_splines(KAN([2, 3], BSpline(degree=2)))
        >>> len(layer.splines), len(layer.splines[0]), layer.splines[2][1].k
        (3, 2, 2)
        >>> layer.residual_weight.shape
        (3, 2)

    Book: *B-splines*.
    """
    return [_of_layer(layer, number) for number, layer in enumerate(edge_layers(model))]


def _of_layer(layer: KANLayer, number: int) -> EdgeSplines:
    basis = layer.basis
    if not isinstance(basis, BSpline):
        raise ValueError(
            f"model must be on B-splines, got a {type(basis).__name__} in layer {number}"
        )
    knots = basis.knots.expand(layer.in_features, -1)  # (in, K)
    residual = layer.residual
    return EdgeSplines(
        splines=[
            [
                to_scipy(t, c[:, j], basis.degree)
                for t, c in zip(knots, layer.coef, strict=True)  # (K,) and (num_basis, out)
            ]
            for j in range(layer.out_features)
        ],
        residual=RESIDUALS[residual] if isinstance(residual, str) else residual,
        residual_weight=_array(layer.residual_weight, transposed=True),
        bias=_array(layer.bias),
    )


def _array(values: Tensor | None, *, transposed: bool = False) -> np.ndarray | None:
    if values is None:
        return None
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array.T if transposed else array
