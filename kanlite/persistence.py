"""Models on disk: format version, configuration and weights in one file, safe to load.

Files are written whole or not at all (to a neighbor first, then renamed), and read with
PyTorch's `weights_only`, which never runs code from the file.
"""

from __future__ import annotations

import functools
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from kanlite._version import __version__
from kanlite.architectures import KANGPT, KANAttention, KANConv2d, KANFeedForward
from kanlite.bases import Basis, BSpline
from kanlite.bspline import check_knots
from kanlite.layers import KAN, KANLayer
from kanlite.other_bases import Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch
from kanlite.variants import Multiply

__all__ = ["fingerprint", "load", "read_file", "save", "write_file"]

VERSION = 1
# What using the content of a file can raise where it is not what it should be.
BROKEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
BASES = (BSpline, Chebyshev, Fourier, GaussianRBF, Rational, ReflectionalSwitch)


def save(
    model: nn.Module, path: str | os.PathLike[str], *, notes: dict[str, Any] | None = None
) -> None:
    """Write a model to a file that :func:`load` turns back into the same model.

    Args:
        model: A :class:`~kanlite.KAN`, a :class:`~kanlite.KANLayer`, one of kanlite's other
            modules, or an nn.Sequential of them and of nn.LayerNorm, with residuals given by name
            and no normalization but nn.LayerNorm.
        path: Where to; an existing file is replaced once the new one is complete.
        notes: Tensors, numbers, strings, and lists and dicts of them, to keep beside the model;
            ``read_file(path, "model")["notes"]`` gives them back.

    Raises:
        ValueError: If the model holds a part that a file cannot describe; it says which.
        OSError: If the file cannot be written.

    Example:
        >>> save(KAN([2, 1], BSpline()), "model.pt")  # doctest: +SKIP
        >>> model = load("model.pt")  # doctest: +SKIP
    """
    content = {"config": _describe(model), "state": dict(model.state_dict())}
    write_file(path, "model", content if notes is None else content | {"notes": notes})


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
        model: nn.Module = _construct(content["config"])
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


# Configurations: a plain dict for each module, and back ----------------------------------------


def fingerprint(model: nn.Module) -> dict[str, str]:
    """What each module of a model is, beyond the numbers that it holds.

    Args:
        model: Any module.

    Returns:
        By the name of each module its kind and options: of a layer its sizes and residual, of a
        basis its degree and extrapolation, say. Where the domains lie is not among them, as they
        may move in training.
    """
    return {name: _summary(module) for name, module in model.named_modules()}


def _summary(module: nn.Module) -> str:
    options = str(module.config()) if isinstance(module, Basis) else module.extra_repr()
    residual = getattr(module, "residual", None)
    if callable(residual):  # whose name the options do not tell
        options += f", {getattr(residual, '__name__', type(residual).__name__)}"
    return f"{type(module).__name__}({options})"


def _describe(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    if kind not in FORMATS:
        raise ValueError(
            f"a file cannot describe a {kind.__name__}: save knows "
            f"{', '.join(known.__name__ for known in FORMATS)}; "
            "for others keep model.state_dict() yourself"
        )
    return {"type": kind.__name__, **FORMATS[kind][0](module)}


def _construct(config: dict[str, Any]) -> Any:
    kinds = {kind.__name__: kind for kind in FORMATS}
    if config["type"] not in kinds:
        raise ValueError(f"unknown type {config['type']!r}")
    return FORMATS[kinds[config["type"]]][1](config)


def _named(residual: Any) -> str | None:
    if not isinstance(residual, str | None):
        raise ValueError(
            "a file cannot describe a custom residual function: name one of kanlite's, "
            "or keep model.state_dict() yourself"
        )
    return residual


def _layer(layer: KANLayer) -> dict[str, Any]:
    return {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "residual": _named(layer.residual),
        "bias": layer.bias is not None,
        "normalize": layer.normalize and _describe(layer.normalize),
        "basis": _describe(layer.basis),
    }


def _new_layer(config: dict[str, Any]) -> KANLayer:
    return KANLayer(
        config["in_features"],
        config["out_features"],
        _construct(config["basis"]),
        residual=config["residual"],
        bias=config["bias"],
        normalize=config["normalize"] and _construct(config["normalize"]),
        generator=torch.Generator(),  # leaves the caller's random numbers alone
    )


def _norm(norm: nn.LayerNorm) -> dict[str, Any]:
    return {
        "shape": list(norm.normalized_shape),
        "eps": norm.eps,
        "affine": norm.elementwise_affine,
        "bias": norm.bias is not None,
    }


def _new_norm(config: dict[str, Any]) -> nn.LayerNorm:
    return nn.LayerNorm(config["shape"], config["eps"], config["affine"], bias=config["bias"])


def _sequence(model: nn.Sequential) -> dict[str, Any]:
    return {"layers": [_describe(layer) for layer in model]}


def _new_layers(config: dict[str, Any]) -> list[Any]:
    return [_construct(layer) for layer in config["layers"]]


def _convolution(conv: KANConv2d) -> dict[str, Any]:
    _named(conv.residual)
    return {"options": conv.config(), "basis": _describe(conv.basis)}


def _new_convolution(config: dict[str, Any]) -> KANConv2d:
    basis = _construct(config["basis"])
    return KANConv2d(**config["options"], basis=basis, generator=torch.Generator())


def _transformer(model: KANAttention | KANGPT) -> dict[str, Any]:
    """Its options, and each of its layers, whose basis may have changed since it was made."""
    options = model.config()
    _named(options.get("residual"))
    parts = model.named_modules()
    layers = {name: _describe(part) for name, part in parts if isinstance(part, KANLayer)}
    return {"options": options, "layers": layers}


def _new_transformer(kind: Any, config: dict[str, Any]) -> Any:
    placeholder = BSpline(1, 0) if config["layers"] else None
    model = kind(**config["options"], basis=placeholder, generator=torch.Generator())
    for name, layer in config["layers"].items():
        model.get_submodule(name)  # an error where there is none
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _construct(layer))
    return model


# For each kind of module what describes it, and what makes it again.
FORMATS: dict[Any, tuple[Callable[[Any], dict[str, Any]], Callable[[dict[str, Any]], Any]]] = {
    KAN: (_sequence, lambda config: KAN.from_layers(_new_layers(config))),
    KANLayer: (_layer, _new_layer),
    Multiply: (
        lambda nodes: {"num_sum": nodes.num_sum, "arity": list(nodes.arity)},
        lambda config: Multiply(config["num_sum"], len(config["arity"]), config["arity"]),
    ),
    KANConv2d: (_convolution, _new_convolution),
    KANAttention: (_transformer, functools.partial(_new_transformer, KANAttention)),
    KANFeedForward: (_sequence, lambda config: KANFeedForward.from_layers(_new_layers(config))),
    KANGPT: (_transformer, functools.partial(_new_transformer, KANGPT)),
    nn.LayerNorm: (_norm, _new_norm),
    nn.Sequential: (_sequence, lambda config: nn.Sequential(*_new_layers(config))),
    **{kind: (kind.config, kind.from_config) for kind in BASES},
}
