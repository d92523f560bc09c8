"""How often `find_formula` recovers known formulas, with its default settings, beside pykan.

    python -m benchmarks.accuracy.formulas --seeds 10
    python -m benchmarks.accuracy.formulas --only velocities --seeds 2 --without pykan

The judge knows nothing of the finder, it sees an expression. Recovered is what SymPy proves to be
equal to the truth, or what has the same tree with every constant within 1e-3 (relative, or
absolute below 1), and in both cases has the same values at fresh points. From noisy data, the
constants must be within 0.02, and for the ideal gas the exponents of a monomial. A function
without a short formula counts as recovered if none is claimed.

pykan runs as in its own first tutorial: train with a penalty, prune, train, refine, train,
`auto_symbolic`, train; on the tasks of which its authors or we have seen it solve some. It counts
as successful if its formula has the right values at fresh points, to 1e-3 of their standard
deviation, whatever its form. Prints tables and writes formulas.json beside this file.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import sympy
import torch

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Run, Target, generator, timed
from benchmarks.accuracy.campaign import Task as Entry

SAMPLES = 1000
CLOSE, CLOSE_IN_NOISE = 1e-3, 0.02


@dataclass(frozen=True)
class Task:
    """A formula in SymPy's language, the range of each input, and the noise on its values."""

    formula: str
    ranges: dict[str, tuple[float, float]]
    noise: float = 0.0  # relative to the standard deviation, or to each value if multiplicative
    multiplicative: bool = False
    monomial: bool = False  # judged by its exponents
    short: bool = True  # whether there is a formula to be found
    pykan: tuple[int, ...] = ()  # the shape that pykan gets, where it has been seen to succeed


def same(names: str, low: float, high: float) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(names.split(), (low, high))


SIX = "v0 v1 v2 v3 v4 v5"
TASKS = {
    "exp of a sum": Task("exp(sin(pi*x) + y**2)", same("x y", -1, 1), pykan=(2, 5, 1)),
    "product": Task("x*y", same("x y", -1, 1)),
    "two velocities": Task("(u + v)/(1 + u*v)", same("u v", -0.9, 0.9)),
    "four velocities": Task(
        "tanh(atanh(u) + atanh(v) + atanh(w) + atanh(z))", same("u v w z", -0.6, 0.6)
    ),
    "ideal gas": Task("n*T/V", same("n T V", 0.5, 2), pykan=(3, 1, 1)),
    "ideal gas, 1 % noise": Task("n*T/V", same("n T V", 0.5, 2), 0.01, True, monomial=True),
    "six speeds": Task(
        "+".join(f"{v}**2/3" for v in SIX.split()), same(SIX, -1, 1), pykan=(6, 1, 1)
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
    "Bessel, none": Task("besselj(0, 20*x)", same("x", -1, 1), short=False),
    "Bessel of two, none": Task("besselj(0, 5*sqrt(x**2 + y**2))", same("x y", -1, 1), short=False),
}


def points(task: Task, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform inputs (count, n) and clean values (count, 1), float64."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(count, len(task.ranges), dtype=torch.float64, generator=generator)
    ends = zip(*task.ranges.values(), strict=True)
    low, high = (torch.tensor(end, dtype=torch.float64) for end in ends)
    x = low + (high - low) * share
    return x, torch.as_tensor(values(sympy.sympify(task.formula), task, x)).unsqueeze(1)


def values(expr: Any, task: Task, x: torch.Tensor) -> np.ndarray:
    """An expression at the points, real or complex."""
    symbols = sympy.symbols(list(task.ranges))
    function = sympy.lambdify(symbols, expr, ["scipy", "numpy"])
    return np.asarray(function(*x.T.numpy()) + 0 * x[:, 0].numpy())


def data(task: Task, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the finders see."""
    x, y = points(task, 1000 + seed, SAMPLES)
    generator = torch.Generator().manual_seed(3000 + seed)
    noise = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    return x, y + task.noise * (y if task.multiplicative else y.std()) * noise


# The judge -----------------------------------------------------------------------------------


def close(a: Any, b: Any, tolerance: float) -> bool:
    """The same tree, and constants within the tolerance."""
    if a.is_number and b.is_number:
        return abs(complex(a) - complex(b)) <= tolerance * max(1.0, abs(complex(b)))
    if a.func != b.func or len(a.args) != len(b.args) or len(a.args) > 7 or not a.args:
        return bool(a == b)
    orders = itertools.permutations(b.args) if a.is_Add or a.is_Mul else [b.args]
    return any(
        all(close(one, two, tolerance) for one, two in zip(a.args, order, strict=True))
        for order in orders
    )


def exponents(expr: Any) -> dict[str, float] | None:
    """Exponents of a monomial, and its factor's logarithm as "1"; None for anything else."""
    found: dict[str, float] = {}
    for factor in sympy.Mul.make_args(sympy.powsimp(expr)):
        base, power = factor.as_base_exp()
        if factor.is_number and factor > 0:
            found["1"] = found.get("1", 0.0) + float(sympy.log(factor))
        elif base.is_Symbol and power.is_number:
            found[base.name] = found.get(base.name, 0.0) + float(power)
        else:
            return None
    return found


def recovered(expr: Any, task: Task) -> bool:
    """Whether an expression is the task's formula."""
    truth = sympy.sympify(task.formula)
    if isinstance(expr, list) or sympy.count_ops(expr) > 100:
        return False
    if task.monomial:
        mine, known = exponents(expr), exponents(truth)
        return mine is not None and all(
            abs(mine.get(name, 0.0) - known.get(name, 0.0)) <= CLOSE_IN_NOISE
            for name in {*mine, *known}
        )
    tolerance = CLOSE_IN_NOISE if task.noise else CLOSE
    x, y = points(task, 2000, 200)
    if expr.free_symbols - truth.free_symbols or expr.atoms(sympy.core.function.AppliedUndef):
        return False
    if not np.allclose(values(expr, task, x), y[:, 0].numpy(), rtol=0, atol=10 * tolerance):
        return False
    forms = [(expr, truth), (sympy.expand(expr), sympy.expand(truth))]
    forms.append((sympy.simplify(expr), sympy.simplify(truth)))
    difference = sympy.simplify(sympy.expand(expr - truth, trig=True).rewrite(sympy.exp))
    return difference == 0 or any(close(a, b, tolerance) for a, b in forms)


# The finders ---------------------------------------------------------------------------------


def kanlite(seed: int, quick: bool, *, task: Task) -> Run:
    """`find_formula`, default settings."""
    (x, y), run = data(task, seed), Run()
    with warnings.catch_warnings(), timed(run):
        warnings.simplefilter("ignore")
        shapes: Any = [[x.shape[1], 1]] if quick else None
        result = kl.find_formula(
            x, y, names=list(task.ranges), widths=shapes, generator=generator(seed)
        )
    formula = result.formula
    right = recovered(formula.expr, task) if task.short else not formula.found
    return run | {
        "missed": int(not right),
        "claimed": int(formula.found),
        "relative_error": formula.relative_error,
        "shapes_tried": len(result.tried),
        "expr": str(formula.expr),
    }


def pykan(seed: int, quick: bool, *, task: Task) -> Run:
    """pykan's tutorial on the same data, a fifth of them as its test set."""
    from benchmarks.accuracy.pykan import quiet_folder

    run = Run()
    with quiet_folder(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with timed(run):
                expr = tutorial(seed, 2 if quick else 50, task)
        except (RuntimeError, ValueError, TypeError, NameError) as error:  # at NaN, for one
            return run | {"missed": 1, "expr": f"{type(error).__name__}: {error}"[:200]}
    x, y = points(task, 2000, 200)
    gap = np.real(values(expr, task, x)) - y[:, 0].numpy()
    error = float(np.sqrt(np.mean(gap**2))) / float(y.std())
    short = expr.xreplace({f: sympy.Float(f, 4) for f in expr.atoms(sympy.Float)})
    solved = error < CLOSE
    return run | {"missed": int(not solved), "relative_error": error, "expr": str(short)[:300]}


def tutorial(seed: int, steps: int, task: Task) -> Any:
    """The formula that pykan's first tutorial ends with."""
    from kan import KAN

    x, y = data(task, seed)
    train, test = (x[200:], y[200:]), (x[:200], y[:200])
    names = ("train_input", "train_label", "test_input", "test_label")
    dataset = dict(zip(names, (*train, *test), strict=True))
    library = ["x", "x^2", "x^3", "x^4", "exp", "log", "sqrt", "tanh", "sin", "abs"]
    model = KAN(width=list(task.pykan), grid=3, k=3, seed=seed)
    model.fit(dataset, opt="LBFGS", steps=steps, lamb=0.001)
    model = model.prune()
    model.fit(dataset, opt="LBFGS", steps=steps)
    model = model.refine(10)
    model.fit(dataset, opt="LBFGS", steps=steps)
    model.auto_symbolic(lib=library, verbose=0)
    model.fit(dataset, opt="LBFGS", steps=steps)
    return model.symbolic_formula(var=sympy.symbols(list(task.ranges)))[0][0]


def share(runs: dict[str, list[Run]]) -> float:
    """How many of ten runs of ours were right."""
    missed = campaign.column(runs, "kanlite", "missed")
    return 10 * (1 - sum(missed) / len(missed))


def time_ratio(runs: dict[str, list[Run]]) -> float:
    """Our median process time over pykan's, of the runs in which it found the formula."""
    solved = {"pykan": [run for run in runs["pykan"] if not run["missed"]]}
    return campaign.time_ratio("kanlite", "pykan")(runs | solved)


def entry(name: str, task: Task) -> Entry:
    """The task as the campaign takes it."""
    methods: dict[str, Any] = {"kanlite": partial(kanlite, task=task)}
    least = 10 if name == "exp of a sum" else 8
    targets = [Target("recovered of 10", share, least, at_least=True)]
    if task.pykan:
        methods["pykan"] = partial(pykan, task=task)
        targets.append(Target("process time over pykan's where it succeeds", time_ratio, 0.1))
    columns = ("missed", "claimed", "relative_error", "process_seconds", "wall_seconds")
    return Entry(methods, columns, tuple(targets))


if __name__ == "__main__":
    campaign.main(__doc__, __file__, {name: entry(name, task) for name, task in TASKS.items()})
