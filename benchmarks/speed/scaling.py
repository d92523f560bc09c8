"""How the time of a layer grows with its sizes, beside the slope that counting predicts.

    python -m benchmarks.speed.scaling

One quantity at a time grows by factors of two, from a layer of 256 to 256 at batch 256, G = 16,
cubic, one thread; forward plus backward, process time, float32. The slope is that of log time
against log size over the upper half of the range. Writes scaling.json beside this file.

Predicted: all grow like batch, and like each width; a dense basis grows with G, local support does
not; local support grows with degree + 1.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kanlite as kl
from benchmarks.peers import EfficientKAN
from benchmarks.speed import measure
from benchmarks.speed.contestants import Contestant, path
from benchmarks.speed.regimes import forward_backward, within

RESULTS = Path(__file__).with_suffix(".json")
BASE = {"width": 256, "batch": 256, "intervals": 16, "degree": 3}
RANGES = {
    "intervals": [4, 8, 16, 32, 64, 128],
    "width": [64, 128, 256, 512],
    "batch": [64, 128, 256, 512, 1024],
    "degree": [1, 2, 3, 4, 5],
    "threads": [1, 2],
}
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


def slope(sizes: list[float], times: list[float]) -> float:
    """Of log time against log size, over the upper half of the sizes (at least two)."""
    half = max(2, math.ceil(len(sizes) / 2))
    return float(np.polyfit(np.log(sizes[-half:]), np.log(times[-half:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    options = parser.parse_args()
    ranges = QUICK if options.quick else RANGES
    base = dict(BASE, width=8, batch=8, intervals=2) if options.quick else BASE
    results: dict[str, Any] = {
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.scaling", *sys.argv[1:]]),
        "base": base,
        "predicted": PREDICTED,
        "ranges": {},
    }
    for what, values in ranges.items():
        found: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for value in values:
            threads = value if what == "threads" else 1
            size = base if what == "threads" else {**base, what: value}
            for name, time in seconds(size, threads, options.rounds).items():
                found[name].append(time)
        sizes = [float(value + (what == "degree")) for value in values]
        slopes = {name: slope(sizes, t) for name, t in found.items()} if len(sizes) > 1 else {}
        results["ranges"][what] = {"values": values, "seconds": found, "slopes": slopes}
        print(f"\n{what}: {values}")
        for name, times in found.items():
            milliseconds = ", ".join(f"{1000 * t:.2f}" for t in times)
            expected = PREDICTED[name].get(what)
            told = "" if expected is None else f" (predicted {expected:+.1f})"
            print(f"  {name:15s} {milliseconds} ms; slope {slopes.get(name, 0):+.2f}{told}")
    measure.write(options.output, results)


if __name__ == "__main__":
    main()
