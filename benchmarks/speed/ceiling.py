"""How near the compiled path and the matrix product come to what the processor can do at all.

    python -m benchmarks.speed.ceiling

A loop of multiply-adds that never leaves the registers gives the core's peak. Beside it, in one
run: the three matrix products of a dense basis, and the three operations of the compiled path
(forward, gradients by the input and by the coefficients), each as a share of that peak, with the
multiply-adds it makes. From these follows the least that local support could take at the peak, in
units of the matrix products: what no kernel on this processor gets below. float32, cubic splines,
one thread. Writes ceiling.json beside this file.
"""

from __future__ import annotations

import argparse
import ctypes
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import kanlite as kl
from benchmarks.speed import measure
from benchmarks.speed.regimes import REGIMES, Regime
from kanlite.kernels import build, cpu

RESULTS = Path(__file__).with_suffix(".json")
DEGREE = 3
LAYERS = {  # one layer each: of M the first, which is nearly all of it
    "M": Regime((784, 64), 256, 5),
    **{name: REGIMES[name] for name in ("L5", "L20", "L100")},
}
QUICK = Regime((8, 16), 32, 3)


def peak_loop(rounds: int = 1_000_000) -> tuple[Callable[[], None], int]:
    """A run of multiply-adds in registers, and how many numbers it multiplies."""
    library = build.load(Path(__file__).with_name("peak.c"), ["-DSINGLE=1"], "the peak loop")
    function, sink = library.multiply_adds, ctypes.c_float()
    function.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    width = function(1, 0.5, ctypes.byref(sink))

    def run() -> None:
        function(rounds, 0.5, ctypes.byref(sink))

    return run, width * rounds


def actions(regime: Regime) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """What is timed, and how many multiply-adds each makes."""
    (n, m), batch, terms = regime.widths, regime.batch, regime.num_intervals + DEGREE
    g = torch.Generator().manual_seed(0)
    basis = kl.BSpline(regime.num_intervals, DEGREE)
    x = 1.9 * torch.rand(batch, n, generator=g) - 0.95
    coef, residual = (torch.randn(*s, generator=g) for s in ((n, terms, m), (n, m)))
    grad, features = (torch.randn(*s, generator=g) for s in ((batch, m), (batch, n * terms)))
    flat, knots = coef.flatten(0, 1), basis.knots
    run, peak = peak_loop()
    pairs = batch * n * m
    made: dict[str, Callable[[], object]] = {
        "peak": run,
        "GEMM forward": lambda: features @ flat,
        "GEMM by features": lambda: grad @ flat.T,
        "GEMM by coefficients": lambda: features.T @ grad,
        "forward": lambda: cpu.forward(x, coef, residual, knots, DEGREE, "linear"),
        "by input": lambda: cpu.input_gradient(x, coef, residual, grad, knots, DEGREE, "linear"),
        "by coefficients": lambda: cpu.weight_gradient(
            x, grad, knots, DEGREE, "linear", with_residual=True
        ),
    }
    local = (DEGREE + 2) * pairs  # the residual's among them
    counts = dict.fromkeys(made, terms * pairs) | {
        "peak": peak,
        "forward": local,
        "by input": local + pairs,  # the product with what comes back
        "by coefficients": local,
    }
    return made, counts


def measured(regime: Regime, rounds: int) -> dict[str, Any]:
    """Shares of the peak, and the least ratio that the peak allows."""
    made, counts = actions(regime)
    times = measure.take_turns({name: _ignored(run) for name, run in made.items()}, rounds)
    rates = {  # multiply-adds per second, round by round
        name: [counts[name] / t for t in found["process"]] for name, found in times.items()
    }
    share = {
        name: measure.quartiles(r / p for r, p in zip(rate, rates["peak"], strict=True))
        for name, rate in rates.items()
    }
    seconds = {name: measure.quartiles(found["process"])[1] for name, found in times.items()}
    gemm = sum(t for name, t in seconds.items() if name.startswith("GEMM"))
    ours = ("forward", "by input", "by coefficients")
    per_second = measure.quartiles(rates["peak"])[1]
    return {
        "widths": regime.widths,
        "batch": regime.batch,
        "num_intervals": regime.num_intervals,
        "multiply-adds": counts,
        "multiply-adds per second": per_second,
        "share of the peak": share,
        "ratio": sum(seconds[name] for name in ours) / gemm,
        "least ratio": sum(counts[name] for name in ours) / per_second / gemm,
    }


def _ignored(run: Callable[[], object]) -> Callable[[], None]:
    def ignored() -> None:
        run()

    return ignored


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="one tiny layer, to try the script")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if (reason := cpu.why_not()) is not None:
        parser.exit(1, f"the compiled path cannot run here: {reason}\n")
    results: dict[str, Any] = {
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.ceiling", *sys.argv[1:]]),
        "layers": {},
    }
    for name, regime in ({"quick": QUICK} if options.quick else LAYERS).items():
        found = measured(regime, 2 if options.quick else options.rounds)
        results["layers"][name] = found
        print(
            f"\n{name}: {2e-9 * found['multiply-adds per second']:.0f} GFLOP/s at the peak; "
            f"forward and backward {found['ratio']:.2f} of the GEMM bound, "
            f"at the peak {found['least ratio']:.2f}"
        )
        for what, (low, middle, high) in found["share of the peak"].items():
            print(f"  {what:22s} {middle:5.2f} ({low:.2f}-{high:.2f}) of the peak")
    measure.write(options.output, results)


if __name__ == "__main__":
    main()
