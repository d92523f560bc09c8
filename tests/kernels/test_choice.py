"""Which path runs, who decides, and what is said of it."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from helpers import seeded, uniform
from torch import nn
from torch.func import vmap
from torch.utils.flop_counter import FlopCounterMode

import kanlite as kl
from kanlite.kernels import choice, cpu


def _layer(basis: kl.Basis | None = None) -> kl.KANLayer:
    return kl.KANLayer(3, 2, basis or kl.BSpline(), generator=seeded())


X = torch.zeros(4, 3)


def test_a_block_ends_and_blocks_nest() -> None:
    assert choice.chosen() == "auto"
    with kl.kernels.use("reference"):
        with kl.kernels.use("torch"):
            assert choice.chosen() == "torch"
        assert choice.chosen() == "reference"
    assert choice.chosen() == "auto"


def test_a_block_ends_when_something_is_raised() -> None:
    with pytest.raises(KeyError), kl.kernels.use("reference"):
        raise KeyError
    assert choice.chosen() == "auto"


def test_without_a_block_it_holds_from_now_on() -> None:
    """In the thread that says so, and in no other."""
    seen: list[str] = []

    def work() -> None:
        kl.kernels.use("reference")
        seen.append(choice.chosen())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["reference"]
    assert choice.chosen() == "auto"


def test_there_is_no_other_path() -> None:
    with pytest.raises(ValueError, match=r"path must be one of .*'triton'.*, got 'numba'"):
        kl.kernels.use("numba")


def test_the_path_that_is_told_is_the_path_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, ran = _layer(), []
    for name in kl.kernels.available():
        if name == "triton":
            continue
        with kl.kernels.use(name):
            assert kl.kernels.path(layer, X) == f"{name} (chosen)"
    for module in (choice.torch_path, cpu):
        original = module.forward

        def forward(*arguments, original=original, module=module):
            ran.append(module.__name__.rpartition(".")[2])
            return original(*arguments)

        monkeypatch.setattr(module, "forward", forward)
    for name, expected in (("torch", "torch_path"), ("cpu", "cpu"), ("reference", None)):
        if name in kl.kernels.available():
            ran.clear()
            with kl.kernels.use(name):
                layer(X)
            assert ran == ([expected] if expected else [])


def test_a_path_that_does_not_suit_leaves_it_to_another() -> None:
    with kl.kernels.use("cpu"):
        assert kl.kernels.path(_layer(kl.BSpline(degree=0)), X).startswith("torch (")
        y = _layer(kl.BSpline(degree=0))(X)
    assert y.shape == (4, 2)
    with kl.kernels.use("triton"):
        told = kl.kernels.path(_layer(), X)
        assert _layer()(X).shape == (4, 2)
    if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
        assert told == "torch (Triton needs a CUDA device)"


def test_without_a_compiler_pytorch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "why_not", lambda: "no compiler")
    choice._module.cache_clear()
    try:
        assert kl.kernels.available()[:2] == ("reference", "torch")
        assert "cpu" not in kl.kernels.available()
        assert kl.kernels.path(_layer(), X) == "torch (no compiler)"
    finally:
        monkeypatch.undo()
        choice._module.cache_clear()


def test_other_bases_are_evaluated_anew_unless_they_are_trained() -> None:
    assert kl.kernels.path(_layer(kl.GaussianRBF()), X).startswith("torch (values of the basis")
    trained = _layer(kl.Rational(3, 2))
    assert kl.kernels.path(trained, X) == "reference (the basis is trained too)"
    trained(uniform(4, 3)).sum().backward()
    assert trained.basis.denominator.grad is not None


def test_knots_can_be_trained() -> None:
    layer = _layer()
    layer.basis.knots.requires_grad_()
    assert kl.kernels.path(layer, X) == "reference (the basis is trained too)"
    layer(uniform(5, 3)).square().sum().backward()
    assert layer.basis.knots.grad.any()


def test_knots_that_change_are_seen() -> None:
    """What is remembered of equally spaced knots is forgotten with them."""
    layer, x = _layer(), uniform(50, 3)
    with kl.kernels.use("torch"):
        before = layer(x)
        with torch.no_grad():
            layer.basis.knots.mul_(2.0)
        after = layer(x)
    with kl.kernels.use("reference"):
        assert torch.allclose(after, layer(x), atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-3)


def test_transforms_see_the_reference() -> None:
    layer, told = _layer(), []

    def tell(x: torch.Tensor) -> torch.Tensor:
        told.append(kl.kernels.path(layer, x))
        return layer(x)

    vmap(tell)(uniform(4, 3))
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(uniform(4, 3), torch.ones(4, 3))
        slope = torch.autograd.forward_ad.unpack_dual(tell(x)).tangent
    assert told == [
        "reference (inside a transform of torch.func)",
        "reference (forward-mode differentiation)",
    ]
    assert slope.shape == (4, 2)


def test_what_counts_operations_sees_the_reference() -> None:
    """Kernels do not show what they compute."""
    layer = _layer()
    with FlopCounterMode(display=False) as counter:
        assert kl.kernels.path(layer, X).startswith("reference (a mode that sees")
        layer(X)
    assert counter.get_total_flops() == 2 * 4 * 3 * 2 * (8 + 1)


def test_meta_tensors_see_the_reference() -> None:
    layer = _layer().to("meta")
    assert layer(X.to("meta")).shape == (4, 2)
    assert kl.kernels.path(layer, X.to("meta")) == "reference (no plain tensor)"


def test_subclasses_of_b_splines_are_taken_at_their_word() -> None:
    class Halved(kl.BSpline):
        def derivative(self, x: torch.Tensor, order: int = 1) -> torch.Tensor:
            return super().derivative(x, order) / 2

    layer, x = _layer(), uniform(4, 3)
    halved = kl.KANLayer(3, 2, Halved(), residual=None)
    with torch.no_grad():
        halved.coef.copy_(layer.coef)
        layer.residual_weight.zero_()
    assert torch.allclose(2 * halved(x), layer(x), atol=1e-6)


def test_networks_of_many_parts_run_on_every_path() -> None:
    model = nn.Sequential(nn.Linear(3, 4), kl.KANLayer(4, 2, kl.BSpline()), nn.Linear(2, 1))
    x = uniform(2, 5, 3)
    with kl.kernels.use("reference"):
        y = model(x)
    for name in kl.kernels.available():
        if name != "triton":
            with kl.kernels.use(name):
                assert torch.allclose(model(x), y, atol=1e-5)


def test_importing_the_kernels_loads_no_compiler_and_no_triton_path() -> None:
    script = (
        "import sys, torch; before = set(sys.modules)\n"
        "import kanlite as kl; kl.kernels.available()\n"
        "names = {'torch._dynamo', 'kanlite.kernels.triton_path'}\n"
        "print(sorted(names & (set(sys.modules) - before)))"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert out.stdout.strip() == "[]"
