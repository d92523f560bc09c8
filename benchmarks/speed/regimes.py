"""Five regimes, forward and forward plus backward, every method in the same run.

    python -m benchmarks.speed.regimes                      # everything, one thread and two
    python -m benchmarks.speed.regimes --regimes M --rounds 5 --threads 1

Prints a table of ratios to the GEMM bound and writes regimes.json beside this file. Regimes
that are stored are measured anew only with `--again`. Peak memory is that of a process of its
own. float32, cubic splines.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed import contestants, measure

RESULTS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Regime:
    """Widths, samples and number of intervals."""

    widths: tuple[int, ...]
    batch: int
    num_intervals: int


REGIMES = {
    "S": Regime((2, 5, 1), 1024, 5),
    "M": Regime((784, 64, 10), 256, 5),
    "L5": Regime((512, 512), 512, 5),
    "L20": Regime((512, 512), 512, 20),
    "L100": Regime((512, 512), 512, 100),
}
QUICK = Regime((8, 6, 4), 32, 3)


def inputs(regime: Regime) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 1.9 * torch.rand(regime.batch, regime.widths[0], generator=generator) - 0.95


def forward(model: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def forward_backward(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """Gradients of the parameters and of the input (of the features, for the bound)."""
    x = x.clone().requires_grad_()
    with torch.no_grad():
        seed = torch.randn_like(model(x))

    def run() -> None:
        model.zero_grad(set_to_none=True)
        x.grad = None
        if isinstance(model, contestants.Bound):
            for features in model.features:
                features.grad = None
        model(x).backward(seed)

    return run


def within(contestant: contestants.Contestant, run: Callable[[], None]) -> Callable[[], None]:
    def inside() -> None:
        with contestant.around():
            run()

    return inside


def models(regime: Regime, names: list[str]) -> dict[str, nn.Module]:
    """What can be made of the contestants here, and runs."""
    made = {}
    for name in names:
        contestant = contestants.ALL[name]
        torch.manual_seed(0)
        try:
            with contestant.around():
                model = contestant.make(regime.widths, regime.num_intervals)
                if model is not None:
                    model(inputs(regime))
                    made[name] = model
        except (RuntimeError, ValueError) as error:  # no compiler, not for this size
            print(f"  {name} takes no part: {str(error).splitlines()[0]}", flush=True)
    return made


def measured(regime: Regime, names: list[str], rounds: int, threads: int) -> dict[str, Any]:
    """Ratios to the bound, seconds of the bound, and bytes saved, of every contestant."""
    torch.set_num_threads(threads)
    x, taking_part = inputs(regime).requires_grad_(), models(regime, names)
    found: dict[str, Any] = {"methods": {name: {} for name in taking_part}}
    for what, build in (("f", forward), ("f+b", forward_backward)):
        actions = {
            name: within(contestants.ALL[name], build(model, x))
            for name, model in taking_part.items()
        }
        times = measure.take_turns(actions, rounds)
        for clock in ("process", "wall"):
            for name, ratio in measure.ratios(times, contestants.BOUND, clock).items():
                found["methods"][name][f"{what} {clock}"] = ratio
            bound = measure.quartiles(times[contestants.BOUND][clock])
            found[f"seconds of the bound, {what} {clock}"] = bound
    for name, model in taking_part.items():
        with contestants.ALL[name].around():
            found["methods"][name]["saved"] = measure.saved_for_backward(model, x)
        found["methods"][name]["parameters"] = sum(p.numel() for p in model.parameters())
    return found


def peak(regime_name: str, name: str) -> int | None:
    """Bytes that one training step adds to a fresh process, measured in this one."""
    regime, contestant = REGIMES[regime_name], contestants.ALL[name]
    torch.set_num_threads(1)
    with contestant.around():
        small = contestant.make(regime.widths, regime.num_intervals)
        assert small is not None
        forward_backward(small, inputs(regime)[:1])()  # libraries, and whatever compiles
        return measure.added_memory(forward_backward(small, inputs(regime)))


def peaks(regime_name: str, names: list[str]) -> dict[str, int]:
    found = {}
    for name in names:
        command = [sys.executable, "-m", "benchmarks.speed.regimes", "--peak", regime_name, name]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        if out.returncode == 0 and out.stdout.split()[-1] != "None":
            found[name] = int(out.stdout.split()[-1])
    return found


def show(title: str, found: dict[str, Any]) -> None:
    print(f"\n{title}: time over that of the bound, median (quartiles); MB saved for backward")
    for name, row in found["methods"].items():
        cells = []
        for what in ("f process", "f+b process", "f+b wall"):
            low, middle, high = row[what]
            cells.append(f"{what} {middle:7.3f} ({low:.3f}-{high:.3f})")
        print(f"  {name:20s} {'   '.join(cells)}   {row['saved'] / 1e6:8.2f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--regimes", nargs="*", choices=list(REGIMES), default=list(REGIMES))
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--again", action="store_true", help="measure what is stored too")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--methods", nargs="*", choices=list(contestants.ALL), default=list(contestants.ALL)
    )
    parser.add_argument("--quick", action="store_true", help="one tiny regime, to try the script")
    parser.add_argument("--peak", nargs=2, metavar=("REGIME", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak(*options.peak))
        return
    if options.quick:
        REGIMES.clear()
        REGIMES["quick"] = QUICK
        options.regimes, options.threads, options.rounds = ["quick"], [1], 2
    path: Path = options.output
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results: dict[str, Any] = {"regimes": {}, **kept}
    results["machine"] = measure.machine()
    results["command"] = shlex.join(["python", "-m", "benchmarks.speed.regimes", *sys.argv[1:]])
    results["notes"] = {name: contestants.ALL[name].note for name in contestants.ALL}
    for name in options.regimes:
        for threads in options.threads:
            key = f"{name}, {threads} thread{'s' * (threads > 1)}"
            if key not in results["regimes"] or options.again:
                found = measured(REGIMES[name], options.methods, options.rounds, threads)
                if threads == 1 and name != "quick":
                    for method, value in peaks(name, list(found["methods"])).items():
                        found["methods"][method]["peak"] = value
                results["regimes"][key] = {"rounds": options.rounds, **found}
                measure.write(path, results)
            show(key, results["regimes"][key])


if __name__ == "__main__":
    main()
