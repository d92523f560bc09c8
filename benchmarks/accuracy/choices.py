"""What each choice costs and brings: one varied at a time, on four problems, five seeds.

    python -m benchmarks.accuracy.choices
    python -m benchmarks.accuracy.choices --only degree

Problems: exp(sin(pi x) + y^2) and x y, clean and on 500 random points; the first one with noise of
a fifth of its standard deviation, on 200 points; and scikit-learn's diabetes table (442 patients,
10 numbers; 4/5 to train). The error is the root mean square on test data without noise (of the
table: on held-out patients) over the standard deviation of what is predicted: 1 is as good as the
mean. Unless it is what varies: cubic splines on 5 intervals, three hidden units, a SiLU residual,
init "variance", 30 steps of Levenberg-Marquardt, no penalty, one start. Writes choices.json beside
this file, from which the book's page *Choosing* takes its numbers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Data, Method, Run, Task, generator, rmse, timed
from benchmarks.accuracy.two_variables import composition, product

BUDGET = 1.0  # seconds of process time, where optimizers are compared


@dataclass(frozen=True)
class Setting:
    """All that can be chosen."""

    basis: Callable[[], kl.Basis] = kl.BSpline
    hidden: int = 3
    residual: str | None = "silu"
    init: kl.layers.Init = "variance"
    optimizer: str = "lm"
    seconds: float | None = None  # instead of 30 steps
    smoothness: float = 0.0
    restarts: int = 1


# Problems ------------------------------------------------------------------------------------


def clean(function: campaign.Function) -> Callable[[int], Data]:
    return lambda seed: Data.of(function, 2, 500, seed)


def noisy(seed: int) -> Data:
    data = Data.of(composition, 2, 200, seed)
    draws = generator(5000 + seed)

    def disturbed(pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = pair
        return x, y + 0.2 * y.std() * torch.randn(y.shape, dtype=y.dtype, generator=draws)

    return Data(disturbed(data.train), disturbed(data.validation), data.test)


def table(seed: int) -> Data:
    """Diabetes: a fifth of the patients to test, a seventh of the others for validation."""
    from sklearn.datasets import load_diabetes

    x, y = (torch.as_tensor(part) for part in load_diabetes(return_X_y=True))
    order = torch.randperm(len(x), generator=generator(seed))
    fifth = len(x) // 5
    test, validation, train = order[:fifth], order[fifth : fifth + 50], order[fifth + 50 :]
    low, high = x[train].aminmax(dim=0)
    x = 2 * (x - low) / (high - low) - 1
    y = ((y - y[train].mean()) / y[train].std())[:, None]
    return Data(*((x[rows], y[rows]) for rows in (train, validation, test)))


PROBLEMS: dict[str, Callable[[int], Data]] = {
    "composition": clean(composition),
    "product": clean(product),
    "noisy composition": noisy,
    "diabetes": table,
}
NOISY = ("noisy composition", "diabetes")


# Training ------------------------------------------------------------------------------------


def method(problem: str, setting: Setting) -> Method:
    def run(seed: int, quick: bool) -> Run:
        data, draws = PROBLEMS[problem](seed), generator(seed)
        measured, trained = Run(), []
        with timed(measured):
            for _ in range(setting.restarts):
                model = build(setting, data, draws)
                train(model, setting, data, quick)
                trained.append(model)
            best = min(trained, key=lambda candidate: rmse(candidate, data.validation))
        return {
            "error": rmse(best, data.test) / float(data.test[1].std(correction=0)),
            "parameters": kl.count_parameters(best),
        } | measured

    return run


def build(setting: Setting, data: Data, draws: torch.Generator) -> kl.KAN:
    features = data.train[0].shape[1]
    return kl.KAN(
        [features, setting.hidden, 1],
        setting.basis(),
        residual=setting.residual,
        init=setting.init,
        generator=draws,
    ).double()


def train(model: kl.KAN, setting: Setting, data: Data, quick: bool) -> None:
    steps = 2 if quick else 30
    if setting.seconds is not None and not quick:
        steps = steps_in(setting.seconds, model, setting, data)
    fit(model, setting, data, steps)


def steps_in(seconds: float, model: kl.KAN, setting: Setting, data: Data) -> int:
    """How many steps fit into a time, from a trial on a copy."""
    trial, few = copy.deepcopy(model), 10
    begin = time.process_time()
    fit(trial, setting, data, few)
    return max(1, round(few * seconds / (time.process_time() - begin)))


def fit(model: kl.KAN, setting: Setting, data: Data, steps: int) -> None:
    smooth = kl.Penalty(smoothness=setting.smoothness)
    optimizer: Any = setting.optimizer
    penalty = smooth if setting.smoothness else None
    kl.fit(model, data.train, optimizer=optimizer, steps=steps, penalty=penalty, progress=False)


def least_squares(seed: int, quick: bool) -> Run:
    """A plane through the table: what every model of it has to beat."""
    data, measured = table(seed), Run()
    with timed(measured):
        (x, y), (z, truth) = (
            (torch.cat([x, torch.ones(len(x), 1)], 1), y) for x, y in (data.train, data.test)
        )
        plane = torch.linalg.lstsq(x, y).solution
    error = float((z @ plane - truth).square().mean().sqrt() / truth.std(correction=0))
    return {"error": error, "parameters": plane.numel()} | measured


# Choices -------------------------------------------------------------------------------------

BASE = Setting()


def splines(num_intervals: int, degree: int = 3) -> Setting:
    return replace(BASE, basis=lambda: kl.BSpline(num_intervals, degree))


CHOICES: dict[str, dict[str, Setting]] = {
    "num_intervals": {str(g): splines(g) for g in (2, 3, 5, 10, 20)},
    # Eight functions on each edge, whatever the degree.
    "degree": {str(k): splines(8 - k, k) for k in (1, 2, 3, 4, 5)},
    "hidden units": {str(width): replace(BASE, hidden=width) for width in (1, 2, 3, 5, 10)},
    "optimizer": {
        name: replace(BASE, optimizer=name, seconds=BUDGET) for name in ("adam", "lbfgs", "lm")
    },
    "init": {
        f"{init}, {residual or 'no residual'}": replace(BASE, init=init, residual=residual)
        for init in ("variance", "paper", "power")
        for residual in ("silu", None)
    },
    "restarts": {str(n): replace(BASE, restarts=n) for n in (1, 2, 4, 8)},
    # Eight functions on each edge again.
    "basis": {
        "BSpline": BASE,
        "GaussianRBF": replace(BASE, basis=lambda: kl.GaussianRBF(8)),
        "Chebyshev": replace(BASE, basis=lambda: kl.Chebyshev(7)),
        "Fourier": replace(BASE, basis=lambda: kl.Fourier(4)),
    },
    "smoothness": {
        f"{weight:g}": replace(splines(20), smoothness=weight)
        for weight in (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    },
}
TASKS = {
    f"{choice}: {problem}": Task(
        {name: method(problem, setting) for name, setting in settings.items()},
        ("error", "parameters", "process_seconds"),
    )
    for choice, settings in CHOICES.items()
    for problem in (NOISY if choice == "smoothness" else PROBLEMS)
} | {"reference: diabetes": Task({"linear": least_squares}, ("error", "parameters"))}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
