"""The compiled path against the dense reference, in float64 and float32, and where it says no."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as nnf

import kanlite as kl
from kanlite.kernels import cpu

EXTRAPOLATE = ("linear", "constant", "zero", "natural")
compiled = pytest.mark.skipif(not cpu.available(), reason=str(cpu.why_not()))


class Case:
    """Random tensors of one problem, with points at knots, at both ends and outside."""

    def __init__(
        self,
        batch: int = 33,
        n: int = 5,
        out: int = 7,
        *,
        degree: int = 3,
        intervals: int = 5,
        knots: str = "uniform",
        extrapolate: str = "linear",
        order: int = 0,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> None:
        generator = seeded(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        self.degree, self.extrapolate, self.order = degree, extrapolate, order
        self.knots = kl.uniform_knots(intervals, degree, dtype=torch.float64)
        if knots != "uniform":
            shape = (len(self.knots),) if knots == "shared" else (n, len(self.knots))
            free = torch.rand(shape, generator=generator, dtype=torch.float64)
            self.knots = (free * 2.4 - 1.2).sort(-1).values
            if knots == "steps":  # of different lengths, none of them tiny
                self.knots = (0.25 + free).cumsum(-1) / (0.25 + free).sum(
                    -1, keepdim=True
                ) * 3 - 1.5
            if knots == "repeated":  # in the domain and, clamped, at its ends
                self.knots = (self.knots * 3).round() / 3
                self.knots[:, : degree + 1], self.knots[:, -degree - 1 :] = -1.5, 1.5
        self.knots = self.knots.to(dtype)
        self.x = 1.2 * normal(batch, n)
        inner = self.knots.expand(n, -1)
        for b in range(min(batch // 2, inner.shape[1])):
            self.x[b] = inner[:, b]
        self.coef = normal(n, intervals + degree, out)
        self.residual: Tensor | None = normal(n, out)
        self.grad, self.weight = normal(batch, out), normal(batch, n)

    @property
    def rest(self) -> tuple[Tensor, int, str, int]:
        return self.knots, self.degree, self.extrapolate, self.order

    def to(self, dtype: torch.dtype) -> "Case":
        """The same numbers in another dtype."""
        other = Case.__new__(Case)
        for name, value in vars(self).items():
            setattr(other, name, value.to(dtype) if isinstance(value, Tensor) else value)
        return other

    def computed(self) -> dict[str, Tensor]:
        """What the compiled path says."""
        x, coef, residual, grad, h = self.x, self.coef, self.residual, self.grad, self.weight
        by_coef, by_residual = cpu.weight_gradient(x, grad, *self.rest, h, residual is not None)
        results = {
            "forward": cpu.forward(x, coef, residual, *self.rest, h),
            "input": cpu.input_gradient(x, coef, residual, grad, *self.rest),
            "coef": by_coef,
        }
        if by_residual is not None:
            results["residual"] = by_residual
        return results

    def expected(self) -> dict[str, Tensor]:
        """The dense reference, in the dtype of the tensors."""
        knots, degree, extrapolate, order = self.rest
        basis = kl.BSpline(degree=degree, knots=knots, extrapolate=extrapolate)  # type: ignore[arg-type]
        values, h = basis.derivative(self.x, order), self.weight.unsqueeze(-1)
        edges = torch.einsum("big,igo->bio", values, self.coef)
        results = {"coef": torch.einsum("big,bo->igo", values * h, self.grad)}
        if self.residual is not None:
            silu = silu_derivative(self.x, order).unsqueeze(-1)
            edges = edges + silu * self.residual
            results["residual"] = torch.einsum("bi,bo->io", (silu * h).squeeze(-1), self.grad)
        results["forward"] = (edges * h).sum(1)
        results["input"] = (edges * self.grad.unsqueeze(1)).sum(-1)
        return results


def silu_derivative(x: Tensor, order: int) -> Tensor:
    """By autograd."""
    z = x.detach().clone().requires_grad_()
    values = nnf.silu(z)
    for _ in range(order):
        (values,) = torch.autograd.grad(values.sum(), z, create_graph=True)
    return values.detach()


def assert_equal(case: Case, tolerance: float = 1e-12) -> None:
    expected, computed = case.expected(), case.computed()
    assert expected.keys() == computed.keys()
    for name, value in expected.items():
        error = (computed[name] - value).abs().max() if value.numel() else torch.zeros(())
        scale = value.abs().max() if value.numel() else torch.ones(())
        assert computed[name].shape == value.shape, name
        assert error <= tolerance * max(float(scale), 1.0), (name, float(error), float(scale))


@compiled
@pytest.mark.parametrize("knots", ["uniform", "shared", "each", "repeated"])
@pytest.mark.parametrize("extrapolate", EXTRAPOLATE)
@pytest.mark.parametrize("degree", range(1, 6))
def test_it_equals_the_reference(degree: int, extrapolate: str, knots: str) -> None:
    for order in range(4):
        assert_equal(Case(degree=degree, extrapolate=extrapolate, knots=knots, order=order))


sizes = st.integers(1, 40)


@compiled
@settings(max_examples=150)
@given(
    sizes, sizes, sizes, st.integers(1, 5), st.integers(1, 20), st.integers(0, 3),
    st.sampled_from(["uniform", "shared", "each", "repeated"]), st.sampled_from(EXTRAPOLATE),
    st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(
    batch: int, n: int, out: int, degree: int, intervals: int, order: int, knots: str,
    extrapolate: str, seed: int,
) -> None:  # fmt: skip
    case = Case(
        batch, n, out, degree=degree, intervals=intervals, knots=knots, extrapolate=extrapolate,
        order=order, seed=seed,
    )  # fmt: skip
    spacing = case.knots.diff(dim=-1)
    steepness = float((1 / spacing[spacing > 0]).max()) ** min(order, degree)
    assert_equal(case, 1e-12 * max(1.0, steepness))


@compiled
@pytest.mark.parametrize(
    ("batch", "n", "out"),
    [(1, 1, 1), (1, 300, 130), (1100, 3, 1), (520, 17, 257), (2, 600, 2), (600, 33, 64)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shapes_across_its_blocks(batch: int, n: int, out: int, dtype: torch.dtype) -> None:
    """More samples than a block, more inputs than a group, more outputs than a tile, and few."""
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    assert_equal(Case(batch, n, out, dtype=dtype), tolerance)
    assert_equal(Case(batch, n, out, dtype=dtype, knots="each", degree=2), 2 * tolerance)


@compiled
def test_threads_change_nothing() -> None:
    before = torch.get_num_threads()
    try:
        for shape in ((700, 64, 130), (3000, 2, 129), (40, 600, 64), (9000, 9, 5)):
            case = Case(*shape)
            torch.set_num_threads(1)
            alone = case.computed()
            for threads in (2, 3, 7):
                torch.set_num_threads(threads)
                for name, value in case.computed().items():
                    torch.testing.assert_close(value, alone[name], rtol=1e-12, atol=1e-12)
    finally:
        torch.set_num_threads(before)


@compiled
def test_pytorch_s_threads_and_our_own_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch's OpenMP library is found its threads do the work, elsewhere our own."""
    asked = []

    def no_team() -> None:
        asked.append(1)

    case, before = Case(700, 64, 130), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with_team = case.computed()
        with monkeypatch.context() as changed:
            changed.setattr(cpu, "_team", no_team)
            changed.setattr(cpu, "_libraries", {})
            without = case.computed()
        assert asked
    finally:
        torch.set_num_threads(before)
        cpu._libraries.clear()  # the next call finds the team again
    for name, value in with_team.items():
        assert torch.equal(value, without[name])


def test_the_team_is_that_of_pytorch() -> None:
    """Of the library that PyTorch's own products run in: it is in the process, once."""
    maps = Path("/proc/self/maps")
    if not maps.exists() or "/torch/lib/libgomp" not in maps.read_text(encoding="utf-8"):
        pytest.skip("PyTorch has no OpenMP library of its own here")
    assert cpu._team() is not None


@compiled
@pytest.mark.parametrize("knots", ["uniform", "steps"])
@pytest.mark.parametrize("intervals", [5, 20, 100])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_single_precision_is_as_good_as_the_reference(
    knots: str, intervals: int, order: int
) -> None:
    """Within 4 times the reference's own error, against the same numbers in double precision."""
    case = Case(200, 40, 30, dtype=torch.float32, knots=knots, intervals=intervals, order=order)
    exact, reference, computed = (
        case.to(torch.float64).expected(), case.expected(), case.computed(),
    )  # fmt: skip
    for name, value in exact.items():
        own = (reference[name] - value).abs().max()
        assert (computed[name] - value).abs().max() <= 4 * own, name


@compiled
def test_without_residual_or_weight() -> None:
    case = Case(order=4)
    case.residual, case.weight = None, torch.ones_like(case.weight)
    assert_equal(case)
    y = cpu.forward(case.x, case.coef, None, *case.rest)
    torch.testing.assert_close(y, case.expected()["forward"], rtol=1e-12, atol=1e-12)
    assert cpu.weight_gradient(case.x, case.grad, *case.rest)[1] is None


@compiled
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(batch: int) -> None:
    assert_equal(Case(batch))
    assert_equal(Case(batch, 4, 1, knots="each"))


@compiled
def test_tensors_need_not_be_contiguous() -> None:
    case = Case(dtype=torch.float64)
    expected = case.expected()
    for name in ("x", "coef", "residual", "grad", "weight", "knots"):
        value = getattr(case, name)
        spread = torch.zeros(*value.shape, 2, dtype=value.dtype)
        spread[..., 1] = value
        setattr(case, name, spread[..., 1])
        assert not getattr(case, name).is_contiguous()
    for name, value in case.computed().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)


@compiled
@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("extrapolate", EXTRAPOLATE)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("knots", ["uniform", "each"])
def test_what_is_not_finite_goes_where_it_goes_in_the_reference(
    degree: int, extrapolate: str, bad: float, knots: str
) -> None:
    for order in (0, 1, 2):
        case = Case(
            40, 20, 5, degree=degree, extrapolate=extrapolate, order=order, knots=knots
        )  # fmt: skip
        case.x[3, 2] = bad
        expected, computed = case.expected(), case.computed()
        for name, value in expected.items():
            assert torch.equal(computed[name].isnan(), value.isnan()), name
            fine = ~value.isnan()
            torch.testing.assert_close(computed[name][fine], value[fine], rtol=1e-9, atol=1e-10)


@compiled
def test_far_outside() -> None:
    for extrapolate in EXTRAPOLATE:
        case = Case(extrapolate=extrapolate)
        case.x[:4] = torch.tensor([1e30, -1e30, 1e8, -1e8], dtype=torch.float64).unsqueeze(-1)
        assert_equal(case)


@compiled
def test_at_a_knot_the_right_limit_counts() -> None:
    """The highest derivative jumps there; at the right end it is the limit from inside."""
    knots = kl.uniform_knots(7, 1, dtype=torch.float32)
    x = knots[1:-1].unsqueeze(-1).contiguous()
    expected = kl.bspline_basis(x.squeeze(-1), knots, 1, derivative=1)
    coef = torch.eye(8).unsqueeze(0)
    torch.testing.assert_close(cpu.forward(x, coef, None, knots, 1, "linear", 1), expected)


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_can_use_threads() -> None:
    case, before = Case(700, 64, 130), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        y = cpu.forward(case.x, case.coef, None, *case.rest)
        child = os.fork()
        if child == 0:
            again = cpu.forward(case.x, case.coef, None, *case.rest)
            # NumPy compares: PyTorch's own threads do not survive a fork.
            os._exit(0 if (again.numpy() == y.numpy()).all() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)


# Where it says no --------------------------------------------------------------------------------


def test_what_it_does_not_support_has_a_reason() -> None:
    x, coef = torch.zeros(2, 3), torch.zeros(3, 8, 4)
    meta = torch.zeros(2, 3, device="meta")
    assert cpu.supports(meta, coef, 3, "linear", 0) == "the compiled path is for the CPU"
    for other in (x.half(), x.double()):
        reason = cpu.supports(other, coef, 3, "linear", 0)
        assert reason is not None
        assert reason.startswith("the compiled path is for float32 or float64")
    for degree in (0, 6):
        reason = cpu.supports(x, coef, degree, "linear", 0)
        assert reason == f"the compiled path is for degrees 1 to 5, not {degree}"
    reason = cpu.supports(x, coef, 3, "periodic", 0)
    assert reason == "the compiled path does not know extrapolate='periodic'"
    reason = cpu.supports(x, coef, 3, "linear", 4)
    assert reason == "the compiled path has derivatives up to order 3, not 4"


@compiled
def test_it_supports_what_it_should() -> None:
    x, coef = torch.zeros(2, 3), torch.zeros(3, 8, 4)
    assert cpu.supports(x, coef, 3, "linear", 0) is None


@compiled
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("coef", {"coef": torch.zeros(5, 7, 7)}),
        ("residual_weight", {"residual": torch.zeros(5, 6)}),
        ("weight", {"weight": torch.zeros(33, 4)}),
        ("grad", {"grad": torch.zeros(33, 6)}),
        ("grad", {"grad": torch.zeros(32, 7)}),
        ("knots", {"knots": torch.zeros(4, 12)}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name: str, change: dict[str, Tensor]) -> None:
    case = Case(dtype=torch.float32)
    for attribute, value in change.items():
        setattr(case, attribute, value)
    with pytest.raises(ValueError, match=f"^{name} must have a shape that fits the others, got"):
        case.computed()


@compiled
def test_no_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    none = cpu._Library(*[lambda *arguments: 1] * 3)
    monkeypatch.setattr(cpu, "_libraries", {(case.degree, case.x.dtype): none})
    with pytest.raises(MemoryError, match="found no memory"):
        case.computed()


@contextmanager
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nothing had been compiled or loaded yet."""
    monkeypatch.setattr(cpu, "_libraries", {})
    monkeypatch.delenv("KANLITE_KERNELS", raising=False)
    yield


@pytest.mark.parametrize("value", ["torch", "reference"])
def test_the_environment_turns_it_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_process(monkeypatch):
        monkeypatch.setenv("KANLITE_KERNELS", value)
        assert not cpu.available()
        reason = cpu.supports(torch.zeros(2, 3), torch.zeros(3, 8, 4), 3, "linear", 0)
        assert reason == cpu.why_not() == f"KANLITE_KERNELS={value} is set"


def test_windows_has_no_compiled_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_process(monkeypatch):
        monkeypatch.setattr(cpu.sys, "platform", "win32")  # type: ignore[attr-defined]
        assert cpu.why_not() == "the compiled path is not made for Windows"


def test_without_a_compiler_it_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_process(monkeypatch), warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert not cpu.available()
        reason = cpu.supports(torch.zeros(2, 3), torch.zeros(3, 8, 4), 3, "linear", 0)
        assert reason == "no C compiler was found (set CC, or install gcc or clang)"
        with pytest.raises(RuntimeError, match="not available: no C compiler was found"):
            cpu.forward(torch.zeros(2, 3), torch.zeros(3, 8, 4), None, torch.zeros(12), 3, "linear")


@compiled
def test_a_failed_build_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "failing-cc"
    script.write_text("#!/bin/sh\necho 'error: out of order' >&2\nexit 1\n")
    script.chmod(0o755)
    with fresh_process(monkeypatch):
        monkeypatch.setenv("CC", str(script))
        monkeypatch.setenv("KANLITE_CACHE", str(tmp_path / "cache"))
        x, coef = torch.zeros(2, 3), torch.zeros(3, 8, 4)
        with pytest.warns(RuntimeWarning, match="could not be built, PyTorch is used instead"):
            reason = cpu.supports(x, coef, 3, "linear", 0)
        assert reason is not None
        assert reason.endswith("failing-cc failed: error: out of order")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cpu.supports(x, coef, 3, "linear", 0) == reason
