"""The GPU kernels beside their peers and the matrix product that bounds them.

    python -m benchmarks.speed.gpu

Forward plus backward of one layer, batch 4096, G = 8, cubic, in float32, TF32 and bfloat16;
times by CUDA events, methods taking turns, medians and quartiles; memory saved for backward and
peak. Prints a table and writes gpu.json beside this file. Needs an NVIDIA GPU and Triton.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import kanlite as kl
from benchmarks import peers
from benchmarks.speed import measure
from benchmarks.speed.contestants import Bound

RESULTS = Path(__file__).with_suffix(".json")
SIZES = {"512 to 512": (512, 512), "4096 to 4096": (4096, 4096)}
BATCH, INTERVALS, DEGREE = 4096, 8, 3
PRECISIONS = ("highest", "high", "bfloat16")


def layers(n: int, m: int) -> dict[str, tuple[nn.Module, str | None]]:
    """Modules by name, with the kernel path for kanlite's."""
    ours = kl.KANLayer(n, m, kl.BSpline(INTERVALS, DEGREE)).cuda()
    made: dict[str, tuple[nn.Module, str | None]] = {
        "GEMM bound": (Bound((n, m), INTERVALS).cuda(), None),
        "kanlite triton": (ours, "triton"),
        "kanlite torch": (ours, "torch"),
        "MLP layer": (nn.Linear(n, m).cuda(), None),
        "FastKAN": (peers.FastKAN(n, m, INTERVALS + DEGREE).cuda(), None),
    }
    if n * m <= 2**20:  # the others would need tens of gigabytes
        made["kanlite reference"] = (ours, "reference")
    made["efficient-kan"] = (peers.EfficientKAN(n, m, INTERVALS, DEGREE).cuda(), None)
    return made


def action(model: nn.Module, n: int, path: str | None, precision: str) -> Callable[[], None]:
    """One step: forward and backward, with gradients of parameters and inputs."""
    half = precision == "bfloat16"
    if half and isinstance(model, Bound):
        model.bfloat16()  # the bound is the product alone, without casts
    x = (1.9 * torch.rand(BATCH, n, device="cuda") - 0.95).requires_grad_()

    def run() -> None:
        model.zero_grad(set_to_none=True)
        x.grad = None
        for features in model.features if isinstance(model, Bound) else ():
            features.grad = None
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            if path is None:
                y = model(x)
            else:
                with kl.kernels.use(path):
                    y = model(x)
        y.backward(torch.ones_like(y))

    return run


def milliseconds(run: Callable[[], None], repeats: int = 10) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / repeats


def measured(n: int, m: int, precision: str, rounds: int) -> dict[str, Any]:
    torch.set_float32_matmul_precision("high" if precision == "high" else "highest")
    made = layers(n, m)
    actions, found = {}, {}
    for name, (model, path) in made.items():
        run = action(model, n, path, precision)
        run()
        run()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        found[name] = {"peak": torch.cuda.max_memory_allocated() - before, "milliseconds": []}
        actions[name] = run
    order, shuffled = list(actions), random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            found[name]["milliseconds"].append(milliseconds(actions[name]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.speed.gpu needs an NVIDIA GPU, and PyTorch sees none here")
    results: dict[str, Any] = {
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.gpu", *sys.argv[1:]]),
        "sizes": {},
    }
    for title, (n, m) in SIZES.items():
        for precision in PRECISIONS:
            found = measured(n, m, precision, options.rounds)
            bound = found["GEMM bound"]["milliseconds"]
            print(f"\n{title}, {precision}: times the GEMM bound, median (quartiles); peak memory")
            for name, row in found.items():
                pairs = zip(row["milliseconds"], bound, strict=True)
                row["ratio"] = measure.quartiles(t / b for t, b in pairs)
                low, middle, high = row["ratio"]
                peak = row["peak"] / 1e6
                print(f"  {name:18s} {middle:7.2f} ({low:.2f}-{high:.2f})  {peak:8.1f} MB")
            results["sizes"][f"{title}, {precision}"] = found
            measure.write(options.output, results)


if __name__ == "__main__":
    main()
