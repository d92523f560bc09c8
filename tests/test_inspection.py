"""explain: each number in the text is one that can be counted."""

import re
from collections.abc import Iterator

import pytest
import torch
from helpers import default_dtype, seeded, snapshot, uniform
from torch import nn

import kanlite as kl


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_counts_are_right() -> None:
    model = kl.KAN([3, 4, 2], kl.BSpline(6, 2, -2.0, 1.5), bias=True)
    lines = kl.explain(model).splitlines()
    total = sum(parameter.numel() for parameter in model.parameters())
    assert lines[0] == f"KAN with 2 KAN layers, 20 edges and {total} parameters (float64, cpu)"
    assert total == 20 * (6 + 2 + 1) + 4 + 2
    assert lines[2] == f"layer 0: 3 -> 4, 12 edges, {12 * 9 + 4} parameters"
    layer_1 = next(line for line in lines if line.startswith("layer 1"))
    assert layer_1 == f"layer 1: 4 -> 2, 8 edges, {8 * 9 + 2} parameters"
    basis = "  basis: BSpline(num_intervals=6, degree=2, [-2, 1.5], extrapolate='linear')"
    assert lines.count(basis) == 2
    assert not any("off the domain" in line for line in lines), "nothing is known without x"


def test_parts_of_a_layer_are_named() -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline(), residual=None, normalize=nn.LayerNorm)
    text = kl.explain(layer.float())
    assert text.startswith("KANLayer with 1 KAN layer, 2 edges and 20 parameters (float32, cpu)")
    assert "residual b: none" in text
    assert "normalization before the basis: LayerNorm((2,)" in text
    assert "residual b: custom" in kl.explain(kl.KANLayer(1, 1, kl.BSpline(), residual=torch.sin))


def test_the_path_is_told_of_each_layer_with_its_reason() -> None:
    model = kl.KAN([2, 3, 1], kl.BSpline())
    with kl.kernels.use("reference"):
        assert kl.explain(model).count("  path: reference (chosen)") == 2
    lines = kl.explain(model, uniform(5, 2)).splitlines()
    path = kl.kernels.path(model[0], uniform(5, 2))
    assert lines.count(f"  path: {path}") == 2


def test_parameters_of_other_parts_count_in_the_total_only() -> None:
    model = nn.Sequential(nn.Linear(2, 3), kl.KANLayer(3, 1, kl.BSpline()))
    lines = kl.explain(model).splitlines()
    assert lines[0].startswith("Sequential with 1 KAN layer, 3 edges and 36 parameters")
    assert lines[2] == "layer 0: 3 -> 1, 3 edges, 27 parameters"


def test_share_off_the_domain_is_that_of_the_data() -> None:
    model = kl.KAN([2, 1, 1], kl.BSpline(), generator=seeded())
    x = torch.tensor([[0.0, 3.0], [0.5, 4.0], [2.0, -0.5], [0.1, -5.0]])
    shares = [line for line in kl.explain(model, x).splitlines() if "off the domain" in line]
    assert shares[0] == "  off the domain: 50.00% of its inputs (at most 75.00%, input 1)"
    hidden = model[1].off_domain(model[0](x)).item()
    assert numbers(shares[1])[:2] == [100 * hidden, 100 * hidden]
    assert len(shares) == 2


def test_explaining_changes_nothing() -> None:
    model = kl.KAN([2, 3, 1], kl.BSpline(), generator=seeded())
    before = snapshot(model)
    assert kl.explain(model, uniform(5, 2)) == kl.explain(model, uniform(5, 2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_without_kan_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="must contain a KANLayer"):
        kl.explain(nn.Linear(2, 1))
