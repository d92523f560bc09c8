"""exp(sin(pi x) + y^2) and x y: the smallest networks that hold them, to many digits.

    python -m benchmarks.accuracy.two_variables
    python -m benchmarks.accuracy.two_variables --only product --without pykan

3000 random points of [-1, 1]^2, 500 others to choose among restarts, 10,000 to test. kanlite goes
from coarse grids to fine ones with Levenberg-Marquardt; pykan does as in its tutorial on function
fitting, on grids 3, 10, 20, 50 (3, 10, 20 for the product) with 50 steps of LBFGS on each, of up
to 20 inner iterations. Prints tables and writes two_variables.json beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Data, Method, Run, Target, Task, generator, rmse, timed

SCALING_GRIDS, QUICK_GRIDS = [10, 20, 40, 80], [10, 20]


def composition(x: Tensor) -> Tensor:
    return torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)


def product(x: Tensor) -> Tensor:
    return x[:, :1] * x[:, 1:]


def data(function: campaign.Function, seed: int, quick: bool) -> Data:
    return Data.of(function, 2, 200 if quick else 3000, seed)


def kanlite(
    function: campaign.Function,
    widths: Sequence[int],
    grids: Sequence[int],
    *,
    degree: int = 3,
    init: kl.layers.Init = "power",
    restarts: int = 4,
) -> Method:
    """Restarts on the first grid, the best by validation refined grid by grid."""

    def method(seed: int, quick: bool) -> Run:
        sample, draws, run = data(function, seed, quick), generator(seed), Run()
        stages = QUICK_GRIDS if quick else grids
        basis = kl.BSpline(stages[0], degree)
        model = kl.KAN(widths, basis, residual=None, init=init, generator=draws).double()
        with timed(run):
            model, _ = kl.fit_coarse_to_fine(
                model,
                sample.train,
                num_intervals=stages,
                restarts=restarts,
                steps=3 if quick else 50,
                validation=sample.validation,
                generator=draws,
                progress=False,
            )
        found = {"rmse": rmse(model, sample.test), "parameters": kl.count_parameters(model)}
        return found | run

    return method


def scaling(seed: int, quick: bool) -> Run:
    """The error on finer and finer grids, each refined from the one before."""
    grids = QUICK_GRIDS if quick else SCALING_GRIDS
    sample, draws, run = data(composition, seed, quick), generator(seed), Run()
    model = kl.KAN([2, 1, 1], kl.BSpline(), residual=None, init="power", generator=draws).double()
    found: list[float] = []
    for grid in grids:
        with timed(run):
            first = not found
            model, _ = kl.fit_coarse_to_fine(
                model,
                sample.train,
                num_intervals=[5, grid] if first else [grid],
                restarts=4 if first else 1,
                steps=3 if quick else 50,
                validation=sample.validation,
                generator=draws,
                progress=False,
            )
        found.append(rmse(model, sample.test))
    return {
        "rmse": found[-1],
        "parameters": kl.count_parameters(model),
        "by_grid": dict(zip(map(str, grids), found, strict=True)),
        "exponent": campaign.slope(grids, found),
    } | run


def pykan(function: campaign.Function, widths: Sequence[int], grids: Sequence[int]) -> Method:
    def method(seed: int, quick: bool) -> Run:
        from benchmarks.accuracy.pykan import fit_by_grids

        sample = data(function, seed, quick)
        stages, steps = (QUICK_GRIDS, 2) if quick else (grids, 50)
        model, run = fit_by_grids(widths, sample, stages, steps=steps, seed=seed)
        return {"rmse": rmse(model, sample.test)} | run

    return method


def time_target(method: str) -> Target:
    text = f"process time over pykan's, {method}"
    return Target(text, campaign.time_ratio(method, "pykan"), 1.0)


SMALL, LARGE = "kanlite, G = 50, k = 4", "kanlite, G = 100, k = 4"
CUBIC, FINER = "kanlite, G = 50, k = 3", "kanlite, finer and finer"
TASKS = {
    "composition": Task(
        {
            SMALL: kanlite(composition, [2, 1, 1], [5, 10, 50], degree=4),
            CUBIC: kanlite(composition, [2, 1, 1], [5, 10, 50]),
            LARGE: kanlite(composition, [2, 1, 1], [5, 10, 50, 100], degree=4),
            "pykan": pykan(composition, [2, 1, 1], [3, 10, 20, 50]),
            FINER: scaling,
        },
        ("rmse", "parameters", "exponent", "process_seconds", "wall_seconds"),
        (
            Target(f"RMSE of {SMALL}, all seeds", campaign.worst(SMALL), 5e-6),
            Target(f"parameters of {SMALL}", campaign.worst(SMALL, "parameters"), 165),
            Target(f"RMSE of {LARGE}, all seeds", campaign.worst(LARGE), 1e-7),
            Target(f"parameters of {LARGE}", campaign.worst(LARGE, "parameters"), 320),
            Target("p in error ~ G^-p, cubic", campaign.exponent(FINER), 3.8, at_least=True),
            time_target(SMALL),
            time_target(LARGE),
        ),
    ),
    "product": Task(
        {
            "kanlite": kanlite(product, [2, 2, 1], [2, 4, 8, 16]),
            "pykan": pykan(product, [2, 2, 1], [3, 10, 20]),
        },
        targets=(
            Target("RMSE, four of five seeds", campaign.worst("kanlite", best_of=4), 1e-7),
            Target("parameters", campaign.worst("kanlite", "parameters"), 150),
            time_target("kanlite"),
        ),
    ),
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
