"""How the time of a layer grows with its sizes, beside the slope that counting predicts.

    python -m benchmarks.speed.scaling
    python -m benchmarks.speed.scaling --only operations

One quantity at a time grows by factors of two, from a layer of 256 to 256 at batch 256, G = 16,
cubic, one thread; forward plus backward, process time, float32. The slope is that of log time
against log size over the upper half of the range. Writes scaling.json beside this file.

Predicted: all grow like batch, and like each width; a dense basis grows with G, local support does
not; local support grows with degree + 1.

`operations` looks closer at the number of intervals: the compiled path's forward, input gradient
and weight gradient apart, on fixed widths, as multiples of their own time at the fewest intervals,
beside what it takes to read, or to write, all coefficients once.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kanlite as kl
from benchmarks.peers import EfficientKAN
from benchmarks.speed import measure
from benchmarks.speed.contestants import Contestant, path
from benchmarks.speed.regimes import forward_backward, within
from kanlite.kernels import cpu

RESULTS = Path(__file__).with_suffix(".json")
BASE = {"width": 256, "batch": 256, "intervals": 16, "degree": 3}
RANGES = {
    "intervals": [4, 8, 16, 32, 64, 128],
    "width": [64, 128, 256, 512],
    "batch": [64, 128, 256, 512, 1024],
    "degree": [1, 2, 3, 4, 5],
    "threads": [1, 2],
}
OPERATIONS = {"width": 64, "batch": 4096, "intervals": [5, 10, 20, 50, 100, 200]}
QUICK_OPERATIONS = {"width": 8, "batch": 64, "intervals": [5, 10]}
QUICK = {"intervals": [2, 4], "width": [8, 16], "batch": [8, 16], "degree": [1, 2], "threads": [1]}
PREDICTED = {  # slopes of log time against log size; of degree: against log(degree + 1)
    "kanlite cpu": {"intervals": 0.0, "width": 2.0, "batch": 1.0, "degree": 1.0, "threads": -1.0},
    "kanlite torch": {"width": 2.0, "batch": 1.0, "threads": -1.0},
    "efficient-kan": {"intervals": 1.0, "width": 2.0, "batch": 1.0, "threads": -1.0},
}
CONTESTANTS = {
    "kanlite cpu": Contestant(lambda w, g: None, path("cpu")),
    "kanlite torch": Contestant(lambda w, g: None, path("torch")),
    "efficient-kan": Contestant(lambda w, g: None),
}


def seconds(size: dict[str, int], threads: int, rounds: int) -> dict[str, float]:
    """Median seconds of forward plus backward for each method at one size."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    width, degree = size["width"], size["degree"]
    x = 1.9 * torch.rand(size["batch"], width) - 0.95
    layer = kl.KANLayer(width, width, kl.BSpline(size["intervals"], degree))
    made = {
        "kanlite cpu": layer,
        "kanlite torch": layer,
        "efficient-kan": EfficientKAN(width, width, size["intervals"], degree),
    }
    actions = {}
    for name, model in made.items():
        with CONTESTANTS[name].around():
            actions[name] = within(CONTESTANTS[name], forward_backward(model, x))
    times = measure.take_turns(actions, rounds)
    clock = "wall" if threads > 1 else "process"
    return {name: float(np.median(found[clock])) for name, found in times.items()}


def operations(width: int, batch: int, intervals: list[int], rounds: int) -> dict[str, Any]:
    """Times of the compiled path's operations, over those at the fewest intervals."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    x = 1.9 * torch.rand(batch, width, generator=g) - 0.95
    residual, grad = (torch.randn(n, width, generator=g) for n in (width, batch))
    actions: dict[str, Callable[[], object]] = {}
    for number in intervals:
        knots = kl.BSpline(number, 3).knots
        coef = torch.randn(width, number + 3, width, generator=g)
        rest = (knots, 3, "linear")
        actions |= {
            f"forward {number}": partial(cpu.forward, x, coef, residual, *rest),
            f"by input {number}": partial(cpu.input_gradient, x, coef, residual, grad, *rest),
            f"by coefficients {number}": partial(
                cpu.weight_gradient, x, grad, *rest, with_residual=True
            ),
            f"read {number}": coef.sum,
            f"write {number}": partial(_written, coef),
        }
    times = measure.take_turns({n: _ignored(run) for n, run in actions.items()}, rounds)
    kinds = ("forward", "by input", "by coefficients")
    return {
        "width": width,
        "batch": batch,
        "intervals": intervals,
        "times that of the fewest": {
            kind: [
                measure.ratios(times, f"{kind} {intervals[0]}", "process")[f"{kind} {number}"]
                for number in intervals
            ]
            for kind in kinds
        },
        "floor over the time": {  # every coefficient read, or written, once
            kind: [
                measure.ratios(times, f"{kind} {number}", "process")[f"{floor} {number}"][1]
                for number in intervals
            ]
            for kind, floor in zip(kinds, ("read", "read", "write"), strict=True)
        },
    }


def _written(coef: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(coef).fill_(1.0)


def _ignored(run: Callable[[], object]) -> Callable[[], None]:
    def ignored() -> None:
        run()

    return ignored


def slope(sizes: list[float], times: list[float]) -> float:
    """Of log time against log size, over the upper half of the sizes (at least two)."""
    half = max(2, math.ceil(len(sizes) / 2))
    return float(np.polyfit(np.log(sizes[-half:]), np.log(times[-half:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--only", choices=["operations"], help="keep what is stored of the rest")
    options = parser.parse_args()
    ranges = QUICK if options.quick else RANGES
    base = dict(BASE, width=8, batch=8, intervals=2) if options.quick else BASE
    path: Path = options.output
    kept = json.loads(path.read_text(encoding="utf-8")) if options.only and path.exists() else {}
    results: dict[str, Any] = {
        "base": base,
        "predicted": PREDICTED,
        **kept,
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.scaling", *sys.argv[1:]]),
    }
    if cpu.why_not() is None:
        results["operations"] = found = operations(
            **(QUICK_OPERATIONS if options.quick else OPERATIONS), rounds=options.rounds
        )
        print(f"\nintervals: {found['intervals']}, width {found['width']}, batch {found['batch']}")
        for kind, times in found["times that of the fewest"].items():
            print(f"  {kind:15s} {', '.join(f'{middle:.2f}' for _, middle, _ in times)}")
        measure.write(path, results)
    if not options.only:
        results["ranges"] = grown(ranges, base, options.rounds)
        measure.write(path, results)


def grown(
    ranges: dict[str, list[int]], base: dict[str, int], rounds: int
) -> dict[str, dict[str, Any]]:
    """Seconds and slopes, one size at a time."""
    results = {}
    for what, values in ranges.items():
        found: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for value in values:
            threads = value if what == "threads" else 1
            size = base if what == "threads" else {**base, what: value}
            for name, time in seconds(size, threads, rounds).items():
                found[name].append(time)
        sizes = [float(value + (what == "degree")) for value in values]
        slopes = {name: slope(sizes, t) for name, t in found.items()} if len(sizes) > 1 else {}
        results[what] = {"values": values, "seconds": found, "slopes": slopes}
        print(f"\n{what}: {values}")
        for name, times in found.items():
            milliseconds = ", ".join(f"{1000 * t:.2f}" for t in times)
            expected = PREDICTED[name].get(what)
            told = "" if expected is None else f" (predicted {expected:+.1f})"
            print(f"  {name:15s} {milliseconds} ms; slope {slopes.get(name, 0):+.2f}{told}")
    return results


if __name__ == "__main__":
    main()
