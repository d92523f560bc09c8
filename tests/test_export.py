"""Models in other programs: ONNX by onnxruntime, torch.export, SciPy edge by edge."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import default_dtype, largest, random_knots, same_state, seeded, snapshot, uniform
from torch import Tensor, nn

import kanlite as kl
from kanlite.architectures import KANGPT, KANConv2d
from kanlite.export import edge_splines, to_onnx
from kanlite.layers import RESIDUALS


def _each(n: int) -> kl.BSpline:
    """A basis with other knots for each feature."""
    return kl.BSpline.from_data(uniform(50, n) ** 3, 4, 2)


def _layer(basis: kl.Basis | Callable[[int], kl.Basis], **options: object) -> kl.KANLayer:
    return kl.KANLayer(2, 1, basis, generator=seeded(), **options)


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"extrapolation {name}": (lambda name=name: _layer(kl.BSpline(4, 3, extrapolate=name)))
        for name in ("linear", "constant", "zero", "natural")
    },
    "degree 0": lambda: _layer(kl.BSpline(4, 0)),
    "knots for each feature": lambda: _layer(_each),
    "Gaussians": lambda: _layer(kl.GaussianRBF(5)),
    "switches": lambda: _layer(kl.ReflectionalSwitch(5)),
    "Chebyshev": lambda: _layer(kl.Chebyshev(4)),
    "Chebyshev, not squashed": lambda: _layer(kl.Chebyshev(4, squash=None)),
    "Fourier": lambda: _layer(kl.Fourier(3)),
    "rational in groups": lambda: _layer(
        lambda n: kl.Rational(in_features=n, num_groups=n, low=-2.0, high=2.0)
    ),
    "bias and normalization": lambda: _layer(kl.BSpline(), bias=True, normalize=nn.LayerNorm),
    "no residual": lambda: _layer(kl.BSpline(), residual=None),
    "network": lambda: kl.KAN([2, 3, 1], _each),
    "products": lambda: nn.Sequential(_layer(kl.BSpline()), kl.Multiply(0, 1, 1)),
}


class Beside(nn.Module):
    """Models of one input."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([model(x) for model in self.models], dim=-1)


def _filled(model: nn.Module) -> nn.Module:
    """With weights of which no term hides behind a zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("denominator"):
                parameter.copy_(uniform(*parameter.shape, seed=1))
    return model


def _points() -> Tensor:
    """Inside, at knots, at the ends of the domain and beyond them."""
    special = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    return torch.cat([uniform(40, 2, low=-1.5, high=1.5), torch.cartesian_prod(special, special)])


def _run(path: Path, x: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["x"]
    assert session.get_inputs()[0].shape == ["batch", *x.shape[1:]]
    (y,) = session.run(["y"], {"x": x.numpy()})
    return torch.from_numpy(y)


def _agree(path: Path, model: nn.Module, x: Tensor) -> None:
    """For several sizes of batch, to 1e-5 of the size of the outputs."""
    for batch in (x, x[:1], x[:7]):
        with torch.no_grad():
            expected = model(batch)
        difference = (_run(path, batch) - expected).abs() / expected.abs().clamp(min=1)
        worst = difference.flatten(0, -2).amax(0)  # by column
        assert (worst <= 1e-5).all(), worst


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_the_outputs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path, model = tmp_path / "model.onnx", _filled(MODELS[name]())
    to_onnx(model, torch.zeros(1, 2), path)
    assert os.listdir(tmp_path) == ["model.onnx"], "one file holds it all"
    assert str(Path(kl.__file__).parent).encode() not in path.read_bytes()
    _agree(path, model, _points())


def test_models_of_one_input_do_not_mix(tmp_path: Path) -> None:
    """Optimized, this graph would lose a bound of its two domains."""
    pytest.importorskip("onnxruntime")
    model = Beside([_filled(_layer(kl.BSpline(3, 2, -1.0, high))) for high in (0.5, 1.0)])
    to_onnx(model, torch.zeros(1, 2), tmp_path / "model.onnx")
    _agree(tmp_path / "model.onnx", model, _points())


@pytest.mark.parametrize("name", MODELS)
def test_torch_export_takes_every_basis_and_any_batch(name: str) -> None:
    model, x = _filled(MODELS[name]()), _points()
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (x[:3],), dynamic_shapes=batch)
    for part in (x, x[:1]):
        with kl.kernels.use("reference"):  # what the exported graph holds
            y = model(part)
        assert largest(program.module()(part) - y) <= 1e-6


def test_a_float64_model_keeps_its_digits(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with default_dtype(torch.float64):
        model, x = _filled(kl.KAN([2, 3, 1], _each)), _points()
        to_onnx(model, x, tmp_path / "model.onnx")
        y = _run(tmp_path / "model.onnx", x)
        assert y.dtype == torch.float64
        assert largest(y - model(x)) <= 1e-12


def test_convolutions_and_transformers_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    conv = KANConv2d(2, 3, 3, kl.BSpline(), stride=2, padding=1, groups=1, generator=seeded())
    image, tokens = uniform(7, 2, 6, 5), torch.randint(7, (7, 6), generator=seeded())
    gpt = KANGPT(7, 6, embed_dim=8, num_heads=2, num_layers=1, generator=seeded())
    for number, (model, x) in enumerate([(conv, image), (gpt, tokens)]):
        path = tmp_path / f"{number}.onnx"
        to_onnx(model, x, path)
        _agree(path, model, x)


def test_exporting_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = nn.Sequential(kl.KANLayer(2, 1, kl.BSpline()), nn.Dropout(0.5)).train()
    before, random = snapshot(model), torch.get_rng_state()
    x = _points()
    to_onnx(model, x, tmp_path / "model.onnx")
    assert model.training
    assert model[1].training
    assert same_state(model, before)
    assert torch.equal(torch.get_rng_state(), random)
    _agree(tmp_path / "model.onnx", model.eval(), x)  # in evaluation mode


@pytest.mark.parametrize("shape", [(), (0, 2)])
def test_an_example_without_samples_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match="x must hold at least one sample, got shape"):
        to_onnx(_layer(kl.BSpline()), torch.zeros(shape), tmp_path / "model.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_onnx_the_missing_package_is_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=missing):
        to_onnx(_layer(kl.BSpline()), torch.zeros(1, 2), tmp_path / "model.onnx")


# SciPy -----------------------------------------------------------------------------------------

BASES: dict[str, Callable[[int], kl.Basis]] = {
    **{
        f"degree {k}": (lambda n, k=k: kl.BSpline(4, k, extrapolate="zero"))
        for k in (0, 1, 2, 3, 5)
    },
    "knots for each feature": _each,
    "repeated knots": lambda n: kl.BSpline(degree=3, knots=random_knots(2, 3, 6)),
}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("residual", ["silu", None])
def test_edges_are_scipy_splines_and_a_residual(name: str, residual: str | None) -> None:
    with default_dtype(torch.float64):
        model = _filled(kl.KAN([2, 3, 1], BASES[name], residual=residual, bias=True))
        exported = edge_splines(model)
        assert len(exported) == 2
        for layer, edges in zip(model, exported, strict=True):
            low, high = layer.basis.domain
            ends = [0.0] if name == "repeated knots" else [0.0, 1.0]
            share = torch.cat([torch.tensor(ends), uniform(200, low=0.0)])[:, None]
            x = torch.lerp(low, high, share).expand(-1, layer.in_features)
            expected = layer.edges(x).detach()
            total = torch.from_numpy(edges.bias) + torch.zeros(len(x), 1)
            for j in range(layer.out_features):
                for i in range(layer.in_features):
                    phi = torch.from_numpy(edges.splines[j][i](x[:, i].numpy()))
                    if residual is not None:
                        phi = phi + edges.residual_weight[j, i] * edges.residual(x[:, i])
                    assert largest(phi - expected[:, j, i]) <= 1e-12
                    total[:, j] += phi
            assert largest(total - layer(x)) <= 1e-12


def test_residuals_are_told_as_the_layer_has_them() -> None:
    model = nn.Sequential(
        kl.KANLayer(2, 2, kl.BSpline(), residual="tanh"),
        kl.KANLayer(2, 2, kl.BSpline(), residual=torch.sin, bias=True),
        kl.KANLayer(2, 2, kl.BSpline(), residual=None),
    )
    named, custom, none = edge_splines(model)
    assert named.residual is RESIDUALS["tanh"]
    assert custom.residual is torch.sin
    assert np.array_equal(custom.residual_weight, model[1].residual_weight.detach().double().T)
    assert custom.bias.shape == (2,)
    assert (named.bias, none.residual, none.residual_weight) == (None, None, None)


def test_functions_on_other_bases_are_no_splines() -> None:
    model = nn.Sequential(kl.KANLayer(2, 2, kl.BSpline()), kl.KANLayer(2, 1, kl.Fourier(2)))
    with pytest.raises(ValueError, match="must be on B-splines, got a Fourier in layer 1"):
        edge_splines(model)
