"""What a Levenberg-Marquardt step costs: predicted from operations, and measured.

    python -m benchmarks.speed.second_order

The sums J^T J and J^T r of one step, four ways: from the layers' factors with local support, from
the same factors with a dense basis, from each layer's block of J in memory, and with J from
automatic differentiation. Ratios to the product J^T J alone, J given. float64, cubic splines, one
thread. Writes second_order.json beside this file.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kanlite as kl
from benchmarks.speed import measure
from kanlite.edges import edge_layers
from kanlite.gauss_newton import layer_jacobians

RESULTS = Path(__file__).with_suffix(".json")
DEGREE = 3
BASE = "J^T J"


@dataclass(frozen=True)
class Case:
    """Widths, samples and number of intervals."""

    widths: tuple[int, ...]
    samples: int
    num_intervals: int


CASES = (
    Case((1, 1), 3000, 200),
    *(Case((2, 5, 1), 2000, g) for g in (5, 20, 80)),
    *(Case((4, 10, 1), 2000, g) for g in (5, 20, 60)),
    Case((4, 4, 2, 1), 3000, 8),
    Case((10, 10, 3), 2000, 20),
)
QUICK = Case((2, 2, 1), 20, 3)


def predicted(model: kl.KAN, samples: int, local: bool) -> float:
    """Multiply-adds for J^T J from the layers' factors, each pair of outputs once."""
    total, layers = 0, edge_layers(model)
    for number, layer in enumerate(layers):
        dense = layer.in_features * (layer.basis.num_basis + 1)
        touched = layer.in_features * (DEGREE + 2) if local else dense
        m = layer.out_features
        columns = dense * m * (m + 1) // 2
        columns += m * sum(p.numel() for later in layers[number + 1 :] for p in later.parameters())
        total += samples * touched * columns
    return total


def contenders(case: Case) -> tuple[kl.KAN, dict[str, Callable[[], tuple[Tensor, Tensor]]]]:
    """The sums of one chunk, and the product that bounds the third way."""
    g = torch.Generator().manual_seed(0)
    model = kl.KAN(case.widths, kl.BSpline(case.num_intervals, DEGREE), generator=g).double()
    x, y = (
        2 * torch.rand(case.samples, n, generator=g, dtype=torch.float64) - 1
        for n in (case.widths[0], case.widths[-1])
    )
    lm, ones = kl.LevenbergMarquardt(model), torch.ones(case.samples, dtype=torch.float64)
    layers = edge_layers(model)
    jacobian = lm._by_autograd(x, y)[1].flatten(0, 1).contiguous()

    def factors(path: str) -> Callable[[], tuple[Tensor, Tensor]]:
        def run() -> tuple[Tensor, Tensor]:
            with kl.kernels.use(path):  # type: ignore[arg-type]
                return lm._sums(x, y, ones)[1:]

        return run

    def blocks() -> tuple[Tensor, Tensor]:
        found = layer_jacobians(model, layers, x, ones, lambda prediction: prediction - y)
        assert found is not None
        j = torch.cat([part.dense() for part in found[1]], 2).flatten(0, 1)
        return j.T @ j, j.T @ found[0].flatten()

    def by_autograd() -> tuple[Tensor, Tensor]:
        r, j = lm._by_autograd(x, y)
        j = j.flatten(0, 1)
        return j.T @ j, j.T @ r.flatten()

    def product() -> tuple[Tensor, Tensor]:
        return jacobian.T @ jacobian, jacobian[0]

    made = {BASE: product, "local support": factors("auto"), "dense basis": factors("reference")}
    return model, made | {"J by layers": blocks, "J by autograd": by_autograd}


def measured(case: Case, rounds: int) -> dict[str, Any]:
    model, made = contenders(case)
    sums = {name: run()[0] for name, run in made.items()}
    scale = sums[BASE].abs().max()
    off = {name: float((a - sums[BASE]).abs().max() / scale) for name, a in sums.items()}
    times = measure.take_turns({name: _ignored(run) for name, run in made.items()}, rounds)
    parameters, residuals = kl.count_parameters(model), case.samples * case.widths[-1]
    return {
        "widths": case.widths,
        "samples": case.samples,
        "num_intervals": case.num_intervals,
        "parameters": parameters,
        "multiply-adds": {
            BASE: residuals * parameters**2,
            "local support": predicted(model, case.samples, local=True),
            "dense basis": predicted(model, case.samples, local=False),
            "J by layers": residuals * parameters**2,
            "J by autograd": residuals * parameters**2,
        },
        "time": measure.ratios(times, BASE, "process"),
        "seconds": measure.quartiles(times[BASE]["process"]),
        "largest difference": off,
    }


def _ignored(run: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], None]:
    def ignored() -> None:
        run()

    return ignored


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="one tiny case, to try the script")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.second_order", *sys.argv[1:]]),
        "cases": [],
    }
    for case in (QUICK,) if options.quick else CASES:
        found = measured(case, 2 if options.quick else options.rounds)
        results["cases"].append(found)
        counts = found["multiply-adds"]
        print(f"\n{case}, {found['parameters']} parameters: times {BASE} (and as predicted)")
        for name, (low, middle, high) in found["time"].items():
            share = counts[name] / counts[BASE]
            print(f"  {name:14s} {middle:8.3f} ({low:.3f}-{high:.3f})   predicted {share:.3f}")
        measure.write(options.output, results)


if __name__ == "__main__":
    main()
