"""The speed benchmarks: the stand-ins are the published functions, and the scripts run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks import peers
from benchmarks.speed import contestants, measure, second_order
from benchmarks.speed.scaling import slope
from kanlite.kernels import cpu
from tests.helpers import default_dtype, seeded

ROOT = Path(kl.__file__).parents[1]


@pytest.fixture(autouse=True)
def _float64():
    with default_dtype(torch.float64):
        yield


def copied(model: kl.KAN, peer: nn.Module) -> None:
    """Give kanlite's layer the weights of a stand-in."""
    layer = model[0]
    with torch.no_grad():
        if isinstance(peer, peers.EfficientKAN):
            coef = peer.spline_weight * peer.spline_scaler[..., None]  # (out, in, num_basis)
            layer.coef.copy_(coef.permute(1, 2, 0))
            layer.residual_weight.copy_(peer.base_weight.T)
            return
        if isinstance(peer, peers.ChebyKAN):
            layer.coef.copy_(peer.coef.permute(0, 2, 1))
            return
        m, n = layer.out_features, layer.in_features
        layer.coef.copy_(peer.spline_linear.weight.view(m, n, -1).permute(1, 2, 0))
        if isinstance(peer, peers.FastKAN):
            layer.residual_weight.copy_(peer.base_linear.weight.T)
            layer.bias.copy_(peer.base_linear.bias)


PAIRS = {
    "efficient-kan": (
        lambda: peers.EfficientKAN(4, 3, 6), lambda: kl.variants.efficient_kan([4, 3], 6),
    ),
    "FastKAN": (lambda: peers.FastKAN(4, 3), lambda: kl.variants.fast_kan([4, 3])),
    "FasterKAN": (lambda: peers.FasterKAN(4, 3), lambda: kl.variants.faster_kan([4, 3])),
    "ChebyKAN": (lambda: peers.ChebyKAN(4, 3, 5), lambda: kl.variants.cheby_kan([4, 3], 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_a_stand_in_is_the_published_function(name: str) -> None:
    torch.manual_seed(0)
    make_peer, make_ours = PAIRS[name]
    peer, ours = make_peer(), make_ours()
    copied(ours, peer)
    x = 2.4 * torch.rand(50, 4, generator=seeded(1)) - 1.2
    torch.testing.assert_close(peer(x), ours(x), rtol=1e-12, atol=1e-12)


def test_the_bound_is_the_product_of_a_dense_basis() -> None:
    bound = contestants.Bound((6, 4, 2), 5)
    x = torch.rand(10, 6)
    assert bound(x).shape == (10 * 4 + 10 * 2,)
    assert [tuple(w.shape) for w in bound.weights] == [(48, 4), (32, 2)]


def test_turns_ratios_and_quartiles() -> None:
    count = {"a": 0, "b": 0}

    def action(name: str) -> None:
        count[name] += 1

    times = measure.take_turns({name: lambda name=name: action(name) for name in count}, rounds=3)
    assert min(count.values()) > 6
    assert {len(found[clock]) for found in times.values() for clock in ("process", "wall")} == {3}
    made = {"a": {"wall": [2.0, 4.0, 9.0]}, "b": {"wall": [1.0, 2.0, 3.0]}}
    assert measure.ratios(made, "b", "wall") == {"a": [2.0, 2.0, 2.5], "b": [1.0, 1.0, 1.0]}
    assert measure.quartiles([5.0]) == [5.0, 5.0, 5.0]


class Keeper(nn.Module):
    """Keeps two tensors of the size of x: exp keeps its result, the square its argument."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp().square()


def test_what_is_saved_for_backward() -> None:
    x = torch.rand(1000, requires_grad=True)
    assert measure.saved_for_backward(Keeper(), x) == 8000  # one and the same storage
    assert measure.saved_for_backward(nn.Linear(1000, 2), x) == 0  # x and weights only


def test_slope() -> None:
    assert slope([1.0, 2.0, 4.0, 8.0], [5.0, 5.0, 20.0, 80.0]) == pytest.approx(2.0)


OURS = ["--methods", "kanlite torch", "efficient-kan"]  # the others may not be installed


@pytest.mark.parametrize(
    ("script", "methods"),
    [("regimes", [*OURS, "GEMM bound"]), ("laplacian", [*OURS, "MLP"]), ("scaling", [])],
)
def test_the_script_runs(script: str, methods: list[str], tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    command = [
        sys.executable,
        "-m",
        f"benchmarks.speed.{script}",
        "--quick",
        "--output",
        str(path),
        *methods,
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["machine"]["torch"] == torch.__version__
    text = json.dumps(content)
    assert "efficient-kan" in text
    assert "kanlite torch" in text


@pytest.mark.parametrize("script", ["second_order", "ceiling"])
def test_the_script_on_the_arithmetic_runs(script: str, tmp_path: Path) -> None:
    if script == "ceiling" and cpu.why_not() is not None:
        pytest.skip("it measures the compiled path")
    path = tmp_path / "out.json"
    command = [sys.executable, "-m", f"benchmarks.speed.{script}", "--quick", "--output", str(path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["machine"]["torch"] == torch.__version__
    if script == "second_order":
        (case,) = content["cases"]
        assert max(case["largest difference"].values()) < 1e-12
    else:
        layer = content["layers"]["quick"]
        assert 0 < layer["least ratio"] < layer["ratio"]


def test_the_predicted_cost_of_a_second_order_step() -> None:
    one = kl.KAN([1, 1], kl.BSpline(10))  # 13 basis functions and the residual
    assert second_order.predicted(one, 100, local=False) == 100 * 14 * 14
    assert second_order.predicted(one, 100, local=True) == 100 * 5 * 14
    two = kl.KAN([2, 3, 1], kl.BSpline(10))  # 28 features by 6 pairs, 84 by 42; then 42 by 42
    assert second_order.predicted(two, 1, local=False) == 28 * (28 * 6 + 3 * 42) + 42 * 42
