"""Models on disk: format version, configuration and weights in one file, safe to load.

Files are written whole or not at all (to a neighbor first, then renamed), and read with
PyTorch's `weights_only`, which never runs code from the file.
"""

from __future__ import annotations

import os
import pickle
import secrets
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from kanlite._version import __version__
from kanlite.bases import Basis, BSpline
from kanlite.bspline import check_knots
from kanlite.layers import KAN, KANLayer
from kanlite.other_bases import Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch

__all__ = ["load", "read_file", "save", "write_file"]

VERSION = 1
# What using the content of a file can raise where it is not what it should be.
BROKEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
BASES: dict[str, type[Basis]] = {
    kind.__name__: kind
    for kind in (BSpline, Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch)
}


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model to a file that :func:`load` turns back into the same model.

    Args:
        model: A :class:`~kanlite.KAN`, a :class:`~kanlite.KANLayer`, or an nn.Sequential of
            layers, with residuals given by name and no normalization but nn.LayerNorm.
        path: Where to; an existing file is replaced once the new one is complete.

    Raises:
        ValueError: If the model holds a part that a file cannot describe; it says which.
        OSError: If the file cannot be written.

    Example:
        >>> save(KAN([2, 1], BSpline()), "model.pt")  # doctest: +SKIP
        >>> model = load("model.pt")  # doctest: +SKIP
    """
    write_file(path, "model", {"config": _describe(model), "state": dict(model.state_dict())})


def load(path: str | os.PathLike[str]) -> nn.Module:
    """Read a model that :func:`save` wrote. Never runs code from the file.

    Args:
        path: Where from.

    Returns:
        A new model on the CPU, with the saved dtype: bit for bit the saved function.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, no kanlite model, from a newer format, or unsafe.
    """
    content = read_file(path, "model")
    try:
        model = _construct(content["config"])
        model.load_state_dict(content["state"], assign=True)  # with the dtype of each tensor
        for module in model.modules():
            if isinstance(module, BSpline):
                check_knots(module.knots, module.degree)
    except BROKEN as error:
        raise ValueError(f"{os.fspath(path)} holds no consistent model: {error}") from error
    return model


def write_file(path: str | os.PathLike[str], kind: str, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all.

    Args:
        path: Where to.
        kind: "model" or "checkpoint".
        content: Tensors, numbers, strings, and lists and dicts of them.
    """
    path = Path(path)
    header = {"format": f"kanlite-{kind}", "version": VERSION, "kanlite": __version__}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:  # with the permissions of any new file
            torch.save(header | content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_file(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read what :func:`write_file` wrote, refusing anything else.

    Args:
        path: Where from.
        kind: "model" or "checkpoint".

    Returns:
        The content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, of another kind, from a newer format, or unsafe.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{name} is not a kanlite {kind}, or not safe to load: it holds more than tensors "
                "and plain values (nothing in it was run)"
            ) from error
        except Exception as error:  # what is no such file can end in almost any of them
            raise ValueError(f"{name} is truncated or not a kanlite {kind}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != f"kanlite-{kind}":
        raise ValueError(f"{name} is not a kanlite {kind}")
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f"{name} has format version {version!r}, this kanlite reads up to {VERSION}: "
            "update kanlite"
        )
    return cast(dict[str, Any], content)


# Configurations: a plain dict for each module, and back --------------------------------------


def _describe(module: nn.Module) -> dict[str, Any]:
    if type(module) is KANLayer:
        if not isinstance(module.residual, str | None):
            raise ValueError(
                "a file cannot describe a custom residual function: name one of kanlite's, "
                "or keep model.state_dict() yourself"
            )
        return {
            "type": "KANLayer",
            "in_features": module.in_features,
            "out_features": module.out_features,
            "residual": module.residual,
            "bias": module.bias is not None,
            "normalize": module.normalize and _describe(module.normalize),
            "basis": _describe(module.basis),
        }
    if isinstance(module, Basis) and BASES.get(type(module).__name__) is type(module):
        return {"type": type(module).__name__, **module.config()}
    if type(module) is nn.LayerNorm:
        return {
            "type": "LayerNorm",
            "shape": list(module.normalized_shape),
            "eps": module.eps,
            "affine": module.elementwise_affine,
            "bias": module.bias is not None,
        }
    if type(module) in (KAN, nn.Sequential):
        layers = [_describe(layer) for layer in cast(nn.Sequential, module)]
        return {"type": type(module).__name__, "layers": layers}
    raise ValueError(
        f"a file cannot describe a {type(module).__name__}: save knows KAN, KANLayer, LayerNorm, "
        "nn.Sequential and kanlite's bases; for others keep model.state_dict() yourself"
    )


def _construct(config: dict[str, Any]) -> nn.Module:
    kind = config["type"]
    if kind in BASES:
        return BASES[kind].from_config(config)
    if kind == "LayerNorm":
        shape, affine = config["shape"], config["affine"]
        return nn.LayerNorm(shape, config["eps"], affine, bias=config["bias"])
    if kind == "KANLayer":
        return KANLayer(
            config["in_features"],
            config["out_features"],
            cast(Basis, _construct(config["basis"])),
            residual=config["residual"],
            bias=config["bias"],
            normalize=config["normalize"] and _construct(config["normalize"]),
            generator=torch.Generator(),  # leaves the caller's random numbers alone
        )
    if kind not in ("KAN", "Sequential"):
        raise ValueError(f"unknown type {kind!r}")
    layers = [_construct(layer) for layer in config["layers"]]
    if kind == "KAN":
        return KAN.from_layers(cast(list[KANLayer], layers))
    return nn.Sequential(*layers)
