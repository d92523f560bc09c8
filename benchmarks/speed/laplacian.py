"""A training step on a Laplacian, as a network that solves Poisson's equation takes it.

    python -m benchmarks.speed.laplacian

For each point the Laplacian of the network's output by second derivatives, its mean square, and
the gradient of that to all parameters: third derivatives of the edges. Ratios to an MLP (tanh) of
equal widths, in one run; memory is the peak that the step adds to a fresh process. Writes
laplacian.json beside this file.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks.speed import contestants, measure
from benchmarks.speed.contestants import Contestant, path

RESULTS = Path(__file__).with_suffix(".json")
SIZES: dict[str, tuple[tuple[int, ...], int, int]] = {  # widths, points, intervals
    "small": ((2, 10, 1), 500, 20),
    "wide": ((2, 64, 64, 1), 1000, 10),
}
QUICK = ((2, 4, 1), 20, 3)


def tanh_mlp(widths: Sequence[int], num_intervals: int) -> nn.Module:
    return kl.MLP(widths, activation="tanh")


def smooth(widths: Sequence[int], num_intervals: int) -> nn.Module:
    """KAN without kinks off its domain: degree 3 is C2, as a Laplacian needs."""
    return kl.KAN(widths, kl.BSpline(num_intervals, contestants.DEGREE))


BASE = "MLP"
ALL = {
    BASE: Contestant(tanh_mlp, exact=False),
    "kanlite cpu": Contestant(smooth, path("cpu")),
    "kanlite torch": Contestant(smooth, path("torch")),
    "kanlite reference": Contestant(smooth, path("reference")),
    "efficient-kan": Contestant(contestants.efficient_kan),
    "inkan": Contestant(contestants.inkan_eager),
    "pykan": Contestant(contestants.pykan),
}


def step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """One evaluation of the mean squared Laplacian and its gradient."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        points = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
        laplacian = torch.zeros(len(x))
        for i in range(x.shape[1]):
            (second,) = torch.autograd.grad(slope[:, i].sum(), points, create_graph=True)
            laplacian = laplacian + second[:, i]
        laplacian.square().mean().backward()

    return run


def points(count: int, dimension: int) -> Tensor:
    return 1.8 * torch.rand(count, dimension, generator=torch.Generator().manual_seed(0)) - 0.9


def actions(
    size: tuple[tuple[int, ...], int, int], names: list[str]
) -> dict[str, Callable[[], None]]:
    widths, count, num_intervals = size
    x, made = points(count, widths[0]), {}
    for name in names:
        contestant = ALL[name]
        torch.manual_seed(0)
        try:
            with contestant.around():
                model = contestant.make(widths, num_intervals)
                if model is None:
                    continue
                run = _inside(contestant, step(model, x))
                run()
                made[name] = run
        except (RuntimeError, ValueError) as error:
            print(f"  {name} takes no part: {str(error).splitlines()[0]}", flush=True)
    return made


def _inside(contestant: Contestant, run: Callable[[], None]) -> Callable[[], None]:
    def inside() -> None:
        with contestant.around():
            run()

    return inside


def peak(size_name: str, name: str) -> int | None:
    widths, count, num_intervals = SIZES[size_name]
    contestant = ALL[name]
    with contestant.around():
        model = contestant.make(widths, num_intervals)
        assert model is not None
        step(model, points(1, widths[0]))()
        return measure.added_memory(step(model, points(count, widths[0])))


def peaks(size_name: str, names: list[str]) -> dict[str, int]:
    found = {}
    for name in names:
        command = [sys.executable, "-m", "benchmarks.speed.laplacian", "--peak", size_name, name]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        if out.returncode == 0 and out.stdout.split()[-1] != "None":
            found[name] = int(out.stdout.split()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--methods", nargs="*", choices=list(ALL), default=list(ALL))
    parser.add_argument("--quick", action="store_true", help="one tiny size, to try the script")
    parser.add_argument("--peak", nargs=2, metavar=("SIZE", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(*options.peak))
        return
    if options.quick:
        SIZES.clear()
        SIZES["quick"], options.rounds = QUICK, 2
    results: dict[str, Any] = {
        "machine": measure.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.speed.laplacian", *sys.argv[1:]]),
        "sizes": {},
    }
    for size_name, size in SIZES.items():
        times = measure.take_turns(actions(size, options.methods), options.rounds)
        memory = {} if options.quick else peaks(size_name, list(times))
        rows = {
            name: {"process": process, "peak": memory.get(name)}
            for name, process in measure.ratios(times, BASE, "process").items()
        }
        results["sizes"][size_name] = {"size": size, "methods": rows}
        print(f"\n{size_name}: time over that of the MLP, median (quartiles); peak memory")
        for name, row in rows.items():
            low, middle, high = row["process"]
            added = "" if row["peak"] is None else f"   {row['peak'] / 1e6:8.2f} MB"
            print(f"  {name:20s} {middle:7.2f} ({low:.2f}-{high:.2f}){added}", flush=True)
    measure.write(options.output, results)


if __name__ == "__main__":
    main()
