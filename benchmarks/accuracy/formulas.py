"""How often `find_formula` recovers known formulas, with its default settings.

    python benchmarks/accuracy/formulas.py                      # everything, 10 seeds
    python benchmarks/accuracy/formulas.py --only velocities --seeds 2

Prints a table and writes formulas.json beside this file, with the machine and the versions.
Each run (formula, seed) is stored as soon as it ends, so that an interrupted campaign goes on
where it stopped; `--again` forgets what is stored of the chosen formulas.

A formula counts as recovered if SymPy proves that it equals the true one, or if both have the
same tree and every constant is within 1e-3 (relative, or absolute below 1).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sympy
import torch

import kanlite as kl
from kanlite.discovery import find_formula

RESULTS = Path(__file__).with_suffix(".json")
SAMPLES = 1000
CLOSE = 1e-3


@dataclass(frozen=True)
class Task:
    """A formula in SymPy's language, the range of each input, and the noise on its values."""

    formula: str
    ranges: dict[str, tuple[float, float]]
    noise: float = 0.0  # relative to the standard deviation, or to each value if multiplicative
    multiplicative: bool = False


def same(names: str, low: float, high: float) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names.split(), (low, high))


FOUR = "u v w z"
TASKS = {
    "exp of a sum": Task("exp(sin(pi*x) + y**2)", same("x y", -1, 1)),
    "product": Task("x*y", same("x y", -1, 1)),
    "two velocities": Task("(u + v)/(1 + u*v)", same("u v", -0.9, 0.9)),
    "four velocities": Task(
        "tanh(atanh(u) + atanh(v) + atanh(w) + atanh(z))", same(FOUR, -0.6, 0.6)
    ),
    "ideal gas": Task("n*T/V", same("n T V", 0.5, 2)),
    "ideal gas, 1 % noise": Task("n*T/V", same("n T V", 0.5, 2), 0.01, True),
    "six speeds": Task(
        " + ".join(f"v{i}**2/3" for i in range(6)), same("v0 v1 v2 v3 v4 v5", -1, 1)
    ),
    "noisy sine, 5 %": Task("sin(3*x)", same("x", -1, 1), 0.05),
    "I.12.11": Task("1 + a*sin(t)", {"a": (-1, 1), "t": (-2, 2)}),
    "I.13.12": Task("a*(1/b - 1)", {"a": (0.5, 2), "b": (0.3, 0.9)}),
    "I.16.6": Task("(a + b)/(1 + a*b)", same("a b", -0.9, 0.9)),
    "I.26.2": Task("asin(n*sin(t))", {"n": (0.2, 0.9), "t": (0.2, 1.4)}),
    "I.40.1": Task("n*exp(-a)", same("n a", 0.5, 2)),
    "I.50.26": Task("cos(a) + b*cos(a)**2", {"a": (-2, 2), "b": (-1, 1)}),
    "II.2.42": Task("(a - 1)*b", {"a": (0.2, 3), "b": (0.5, 2)}),
    "III.10.19": Task("sqrt(1 + a**2 + b**2)", same("a b", -2, 2)),
}


def data(task: Task, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform inputs (samples, n) and values (samples, 1), float64."""
    generator = torch.Generator().manual_seed(1000 + seed)
    share = torch.rand(SAMPLES, len(task.ranges), dtype=torch.float64, generator=generator)
    low, high = (
        torch.tensor(ends, dtype=torch.float64) for ends in zip(*task.ranges.values(), strict=True)
    )
    x = low + (high - low) * share
    function = sympy.lambdify(
        sympy.symbols(list(task.ranges)), sympy.sympify(task.formula), "numpy"
    )
    y = torch.as_tensor(function(*x.T.numpy())).unsqueeze(1)
    noise = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    scale = y if task.multiplicative else y.std()
    return x, y + task.noise * scale * noise


def close(a: Any, b: Any) -> bool:
    """The same tree, and constants within the tolerance."""
    if a.is_number and b.is_number:
        return abs(float(a) - float(b)) <= CLOSE * max(1.0, abs(float(b)))
    if a.func != b.func or len(a.args) != len(b.args) or len(a.args) > 7:
        return bool(a == b)
    if not a.args:
        return bool(a == b)
    orders = itertools.permutations(b.args) if a.is_Add or a.is_Mul else [b.args]
    return any(all(map(close, a.args, order)) for order in orders)


def recovered(expr: Any, truth: Any) -> bool:
    """Whether SymPy proves equality, or the trees are close."""
    if sympy.count_ops(expr) > 100:
        return False
    forms = [(expr, truth), (sympy.expand(expr), sympy.expand(truth))]
    forms.append((sympy.simplify(expr), sympy.simplify(truth)))
    difference = sympy.simplify(sympy.expand(expr - truth, trig=True).rewrite(sympy.exp))
    return difference == 0 or any(close(a, b) for a, b in forms)


def run(task: Task, seed: int) -> dict[str, Any]:
    """One search, timed and judged."""
    x, y = data(task, seed)
    started = time.perf_counter()
    result = find_formula(
        x, y, names=list(task.ranges), generator=torch.Generator().manual_seed(seed)
    )
    seconds = time.perf_counter() - started
    formula = result.formula
    return {
        "recovered": recovered(formula.expr, sympy.sympify(task.formula)),
        "claimed": formula.found,
        "relative_error": formula.relative_error,
        "seconds": seconds,
        "widths": list(result.tried[-1][0]),
        "expr": str(formula.expr),
    }


def machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sympy": sympy.__version__,
        "kanlite": kl.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="", help="tasks whose name contains this")
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    stored: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    chosen = {name: task for name, task in TASKS.items() if arguments.only in name}
    for name, task in chosen.items():
        if arguments.again:
            stored["runs"].pop(name, None)
        runs = stored["runs"].setdefault(name, {})
        for seed in range(arguments.seeds):
            if str(seed) not in runs:
                runs[str(seed)] = run(task, seed)
                stored["machine"] = machine()
                RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"{'formula':<24}{'recovered':>10}{'claimed':>9}{'median s':>10}   an expression")
    for name in chosen:
        runs = list(stored["runs"][name].values())
        good, claimed = (sum(r[key] for r in runs) for key in ("recovered", "claimed"))
        seconds = statistics.median(r["seconds"] for r in runs)
        found = runs[0]["expr"][:70]
        print(f"{name:<24}{good:>7}/{len(runs):<3}{claimed:>6}{seconds:>12.1f}   {found}")


if __name__ == "__main__":
    main()
