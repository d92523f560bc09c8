"""What the tests of kanlite share: float64 for a while, random knots, slow and sure oracles."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.interpolate import BSpline as ScipyBSpline
from torch import Tensor, nn

import kanlite as kl


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """The given default dtype inside, and the old one again after."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, low: float = -1.0, high: float = 1.0, seed: int = 0) -> Tensor:
    """Random numbers between low and high, in the default dtype."""
    return low + (high - low) * torch.rand(shape, generator=seeded(seed))


def knots_from_gaps(gaps: list[float], degree: int, start: float = 0.0) -> Tensor:
    """Knots with these gaps between them, a zero being a repeated knot, and a domain that is open.

    The gap after knots[degree] becomes 1 where the domain would be a point.
    """
    gaps = list(gaps)
    if sum(gaps[degree : len(gaps) - degree]) == 0:
        gaps[degree] = 1.0
    return start + torch.tensor([0.0, *gaps], dtype=torch.float64).cumsum(0)


def random_knots(seed: int, degree: int, intervals: int) -> Tensor:
    """Knots of which about a third repeat the one before."""
    rng = np.random.default_rng(seed)
    count = intervals + 2 * degree
    gaps = np.where(rng.random(count) < 0.35, 0.0, rng.exponential(1.0, count) + 0.01)
    return knots_from_gaps(gaps.tolist(), degree, start=float(rng.normal()))


@st.composite
def knot_vectors(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Knots of any multiplicity, and a degree that they serve."""
    degree = draw(st.integers(0, 5))
    gap = st.one_of(st.just(0.0), st.floats(0.01, 3.0))
    gaps = draw(st.lists(gap, min_size=2 * degree + 1, max_size=2 * degree + 7))
    return knots_from_gaps(gaps, degree, start=draw(st.floats(-5.0, 5.0))), degree


def points_for(knots: Tensor, seed: int = 0, count: int = 30) -> Tensor:
    """Random points from end to end of the knots and a little beyond, and the knots themselves."""
    low, high = knots[0].item() - 0.5, knots[-1].item() + 0.5
    random = uniform(count, low=low, high=high, seed=seed).double()
    return torch.cat([random, knots])


def scipy_basis(x: Tensor, knots: Tensor, degree: int, derivative: int = 0) -> Tensor:
    """All basis functions, or their derivatives, at x by SciPy: right limits everywhere.

    SciPy continues the polynomials of the end cells. With degree + 1 more knots on each
    side those ends move away, and SciPy gives the B-splines on all of their support.
    """
    t, pad = knots.numpy(), np.arange(1, degree + 2)
    padded = np.concatenate([t[0] - pad[::-1], t, t[-1] + pad])
    spline = ScipyBSpline(padded, np.eye(len(padded) - degree - 1), degree, extrapolate=False)
    values = np.nan_to_num(spline(x.numpy(), nu=derivative))
    return torch.from_numpy(values[:, degree + 1 : -degree - 1])


def scipy_left_limits(x: Tensor, knots: Tensor, degree: int, derivative: int = 0) -> Tensor:
    """The same as limits from the left: right limits of the mirror image."""
    mirrored = scipy_basis(-x, -knots.flip(0), degree, derivative)
    return (-1) ** derivative * mirrored.flip(-1)


def largest(values: Tensor) -> float:
    """The largest entry by absolute value, 0 if there is none."""
    return values.abs().max().item() if values.numel() else 0.0


def autograd_derivative(function: Callable[[Tensor], Tensor], x: Tensor, order: int) -> Tensor:
    """Derivative of each column of function(x), shape (points, columns), by reverse mode alone."""
    columns = []
    for column in range(function(x).shape[-1]):
        z = x.detach().clone().requires_grad_()
        value = function(z)[..., column]
        for _ in range(order):
            if value.requires_grad:
                (value,) = torch.autograd.grad(
                    value.sum(), z, create_graph=True, materialize_grads=True
                )
            else:  # autograd has found out that nothing depends on x any more
                value = torch.zeros_like(z)
        columns.append(value.detach())
    return torch.stack(columns, -1)


def same_state(a: nn.Module, b: nn.Module | dict[str, Tensor]) -> bool:
    """Whether two models hold the same tensors, bit for bit."""
    ours, theirs = a.state_dict(), b if isinstance(b, dict) else b.state_dict()
    return ours.keys() == theirs.keys() and all(
        value.dtype == theirs[name].dtype and torch.equal(value, theirs[name])
        for name, value in ours.items()
    )


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a model holds."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def small_model(seed: int = 0, widths: tuple[int, ...] = (2, 3, 1)) -> kl.KAN:
    """A seeded network that is quick to train."""
    return kl.KAN(widths, kl.BSpline(num_intervals=4, degree=3), generator=seeded(seed))


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Makes processes that have imported already what takes long, so that they start quickly."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kanlite", "torch._dynamo"])
    return context


def wait_for(done: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def spline_network(
    *layers: list[list[Callable[[Tensor], Tensor]]], x: Tensor, intervals: int = 30
) -> kl.KAN:
    """A KAN whose edges [j][i] are very nearly the given functions on the data."""
    made, z = [], x
    for functions in layers:
        low, high = float(z.min()) - 0.01, float(z.max()) + 0.01
        low = max(low, 1e-3) if float(z.min()) > 0 else low
        points, basis = torch.linspace(low, high, 400), kl.BSpline(intervals, low=low, high=high)
        layer = kl.KANLayer(len(functions[0]), len(functions), basis, residual=None)
        with torch.no_grad():
            for j, row in enumerate(functions):
                for i, function in enumerate(row):
                    best = torch.linalg.lstsq(basis(points), function(points)[:, None])
                    layer.coef[i, :, j] = best.solution[:, 0]
            z = layer(z)
        made.append(layer)
    return kl.KAN.from_layers(made)
