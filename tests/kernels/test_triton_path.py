"""The GPU kernels, in Triton's interpreter, against the dense basis and one product.

Where there is a GPU, the same tests run the compiled kernels on it.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kanlite as kl
from tests.helpers import seeded

triton_path = pytest.importorskip("kanlite.kernels.triton_path", reason="Triton is not installed")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.float32 if torch.cuda.is_available() else torch.float64
TOLERANCE = 1e-12 if torch.float64 == DTYPE else 2e-5
ROOT = Path(kl.__file__).parents[1]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=DTYPE).to(DEVICE)


def knots_of(kind: str, degree: int, features: int, intervals: int = 5) -> Tensor:
    """Knots of a kind on [-1, 1]."""
    if kind == "uniform":
        return kl.uniform_knots(intervals, degree, dtype=DTYPE).to(DEVICE)
    gaps = 0.2 + torch.rand(
        features, intervals + 2 * degree + 1, generator=seeded(1), dtype=torch.float64
    )
    t = gaps.cumsum(-1)
    low, high = t[:, degree, None], t[:, -degree - 1, None]
    t = 2 * (t - low) / (high - low) - 1
    t[:, degree], t[:, -degree - 1] = -1.0, 1.0
    if kind == "repeated":
        t[:, degree + 2] = t[:, degree + 1]
    if kind == "clamped":
        t[:, :degree], t[:, -degree:] = -1.0, 1.0
    t = t.to(DTYPE).to(DEVICE).contiguous()
    return t[0].contiguous() if kind == "shared" else t


class Case:
    """One layer, inputs on, at the ends of and off the domain, and what the kernels should give."""

    def __init__(
        self,
        kind: str = "uniform",
        degree: int = 3,
        extrapolate: str = "linear",
        order: int = 0,
        *,
        sizes: tuple[int, int, int] = (20, 3, 5),
        intervals: int = 5,
        full: bool = True,
    ) -> None:
        B, N, D = sizes
        self.knots = knots_of(kind, degree, N, intervals)
        self.arguments = (self.knots, degree, extrapolate)
        self.order = order
        self.basis = kl.BSpline(degree=degree, knots=self.knots, extrapolate=extrapolate)
        self.x = 1.5 * draw(B, N, seed=2)
        self.x[:2] = torch.tensor([[1.0], [-1.0]], dtype=DTYPE)[:B]
        self.coef = draw(N, self.basis.num_basis, D, seed=3)
        self.grad = draw(B, D, seed=6)
        self.residual = draw(N, D, seed=4) if full else None
        self.weight = draw(B, N, seed=5) if full else None

    def kernels(self) -> tuple[Tensor | None, ...]:
        more = (*self.arguments, self.order)
        dw, dr = triton_path.weight_gradient(
            self.x, self.grad, *more, self.weight, self.residual is not None
        )
        return (
            triton_path.forward(self.x, self.coef, self.residual, *more, self.weight),
            triton_path.input_gradient(self.x, self.coef, self.residual, self.grad, *more),
            dw,
            dr,
        )

    def expected(self) -> tuple[Tensor | None, ...]:
        """By the dense basis, in float64."""
        x, coef, grad = self.x.double(), self.coef.double(), self.grad.double()
        values = self.basis.double().derivative(x, self.order)  # (B, N, M)
        h = torch.ones_like(x) if self.weight is None else self.weight.double()
        silu = silu_by_autograd(x, self.order)
        y = torch.einsum("bi,bim,imo->bo", h, values, coef)
        dx = torch.einsum("bim,imo,bo->bi", values, coef, grad)
        dw = torch.einsum("bi,bim,bo->imo", h, values, grad)
        if self.residual is None:
            return y, dx, dw, None
        residual = self.residual.double()
        y = y + (h * silu) @ residual
        return y, dx + silu * (grad @ residual.T), dw, (h * silu).T @ grad

    def check(self, tolerance: float = TOLERANCE) -> None:
        for name, got, wanted in zip(
            ("y", "dx", "dw", "dr"), self.kernels(), self.expected(), strict=True
        ):
            if wanted is None:
                assert got is None
                continue
            scale = wanted.abs().max().clamp(min=1.0) if wanted.numel() else 1.0
            error = (got.double() - wanted).abs().div(scale)
            assert error.numel() == 0 or float(error.max()) <= tolerance, name


def silu_by_autograd(x: Tensor, order: int) -> Tensor:
    x = x.clone().requires_grad_()
    value = torch.nn.functional.silu(x)
    for _ in range(order):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value.detach()


KINDS = ("uniform", "shared", "per feature", "repeated", "clamped")
RULES = ("linear", "constant", "zero", "natural")


@pytest.mark.parametrize(("kind", "extrapolate"), itertools.product(KINDS, RULES))
def test_equal_to_the_dense_basis(kind: str, extrapolate: str) -> None:
    Case(kind, 3, extrapolate).check()


@pytest.mark.parametrize("kind", ["uniform", "per feature"])
@pytest.mark.parametrize("degree", [1, 2, 4, 5])
def test_every_degree(kind: str, degree: int) -> None:
    Case(kind, degree, full=False).check()


@pytest.mark.parametrize("kind", ["uniform", "per feature"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("extrapolate", ["linear", "natural"])
def test_every_derivative(kind: str, order: int, extrapolate: str) -> None:
    Case(kind, 4, extrapolate, order).check(200 * TOLERANCE)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (70, 40, 70), (3, 17, 33)])
def test_more_than_one_block(sizes: tuple[int, int, int]) -> None:
    Case(sizes=sizes, degree=1, intervals=2).check()


def test_the_batch_is_split_and_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    Case(sizes=(2100, 2, 3), degree=1, intervals=2).check()


@pytest.mark.parametrize("kind", ["uniform", "per feature", "clamped"])
@pytest.mark.parametrize("extrapolate", RULES)
@pytest.mark.parametrize("full", [True, False])
def test_local_kernels(
    kind: str, extrapolate: str, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_path, "DENSE_LIMIT", 4)
    Case(kind, 2, extrapolate, full=full).check()


def test_many_basis_functions_take_the_local_kernels() -> None:
    Case(sizes=(9, 2, 3), degree=3, intervals=200).check()


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(
    local: bool, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_path, "DENSE_LIMIT", 0 if local else 128)
    case = Case()
    case.x[4, 1] = bad
    y, dx, dw, dr = case.kernels()
    assert y[4].isnan().all()
    assert y[[*range(4), *range(5, 20)]].isfinite().all()
    assert dx[4, 1].isnan()
    assert dw[1].isnan().all()
    assert dw[[0, 2]].isfinite().all()
    assert not dr[1].isfinite().any()


@pytest.mark.parametrize("local", [False, True])
def test_no_samples(local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_path, "DENSE_LIMIT", 0 if local else 128)
    y, dx, dw, dr = Case(sizes=(0, 3, 5)).kernels()
    assert y.shape == (0, 5)
    assert dx.shape == (0, 3)
    assert torch.equal(dw, torch.zeros_like(dw))
    assert dw.shape == (3, 8, 5)
    assert dr.shape == (3, 5)


HALF = torch.float16 if DEVICE == "cpu" else torch.bfloat16  # the interpreter has no bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_lower_precision(dtype: torch.dtype) -> None:
    """Products in the coefficients' dtype, sums and records in float32."""
    case = Case()
    exact = case.expected()
    case.x, case.weight = case.x.float(), case.weight.float()
    case.coef, case.residual, case.grad = (
        part.to(dtype) for part in (case.coef, case.residual, case.grad)
    )
    for got, wanted in zip(case.kernels(), exact, strict=True):
        error = (got.double() - wanted).abs().max() / wanted.abs().max()
        assert error <= (1e-5 if dtype == torch.float32 else 2e-2)


def test_knots_that_move_get_a_new_plan() -> None:
    case = Case("per feature")
    case.check()
    with torch.no_grad():
        case.knots.mul_(1.25)
    case.basis = kl.BSpline(degree=3, knots=case.knots)
    case.check()


def test_a_plan_is_made_once_and_goes_with_its_knots() -> None:
    knots = kl.uniform_knots(5, 3, dtype=DTYPE).to(DEVICE)
    first = triton_path.plan(knots, 3, "linear", 0, DTYPE)
    assert triton_path.plan(knots, 3, "linear", 0, DTYPE) is first
    assert triton_path.plan(knots, 3, "zero", 0, DTYPE) is not first
    before = len(triton_path._PLANS)
    del knots, first
    assert len(triton_path._PLANS) < before


def test_knots_made_in_inference_mode() -> None:
    with torch.inference_mode():
        Case("per feature").check()


def test_supports_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x, coef = draw(4, 3, seed=0).float(), draw(3, 8, 2, seed=0).float()
    assert triton_path.supports(x, coef, 3, "linear", 0) is None
    assert "degrees 1 to 5, not 6" in triton_path.supports(x, coef, 6, "linear", 0)
    assert "order 3, not 4" in triton_path.supports(x, coef, 3, "linear", 4)
    monkeypatch.setattr(triton_path, "INTERPRETED", False)
    if DEVICE == "cpu":
        assert "CUDA" in triton_path.supports(x, coef, 3, "linear", 0)
    else:
        assert "float64" in triton_path.supports(x.double(), coef.double(), 3, "linear", 0)


COMPILE = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from kanlite.kernels import triton_path
common = dict(K=3, G=8, SHARED=True, NATURAL=False, PRECISION="tf32", ACC=tl.float32,
              BB=64, BI=64, BO=64, ORDER=1, RESIDUAL=True, WEIGHTED=True, PLANES=4)
types = {name: "*bf16" for name in ("W", "R", "Y", "DY")}
types |= {name: "*fp32" for name in ("X", "DX", "H", "DW", "DR", "table", "starts", "origins")}
types |= {name: "*i32" for name in ("rows", "last", "ROWS", "ORDERED", "FIRST")}
for name in ("_forward_dense", "_input_dense", "_weight_dense", "_weight_local"):
    kernel = getattr(triton_path, name)
    constants = {k: v for k, v in (common | {"UNIFORM": True}).items() if k in kernel.arg_names}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    print(name, "wgmma" in made.asm["ptx"], made.metadata.shared <= 227 * 1024)
"""


def test_the_kernels_compile_for_a_gpu_without_one(tmp_path: Path) -> None:
    """To machine code of the H100's generation; the dense ones use its tensor cores."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILE]
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.split("\n") == [
        "_forward_dense True True",
        "_input_dense True True",
        "_weight_dense True True",
        "_weight_local False True",
        "",
    ]
