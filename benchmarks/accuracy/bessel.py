"""J0(20x) by one edge, [1, 1]: how far an honest spline gets, and how fast it gets there.

    python -m benchmarks.accuracy.bessel                # everything, 5 seeds, pykan beside it
    python -m benchmarks.accuracy.bessel --without pykan

3000 random points of [-1, 1], 10,000 others to test, and 20,001 equally spaced points of all of
[-1, 1]: the ends, which no sample quite reaches, are where grids that follow the data fail. Both
use 200 cubic intervals. Prints a table and writes bessel.json beside this file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Data, Run, Target, Task, generator, rmse, slope, timed

GRIDS, QUICK_GRIDS = [50, 100, 200], [10, 20]


def target(x: Tensor) -> Tensor:
    return torch.special.bessel_j0(20 * x)


def data(seed: int, quick: bool) -> Data:
    return Data.of(target, 1, 300 if quick else 3000, seed)


def errors(model: nn.Module, sample: Data) -> Run:
    """On the test set, on the part of it between the samples, and on all of [-1, 1]."""
    x, y = sample.test
    low, high = sample.train[0].aminmax()
    between = ((x >= low) & (x <= high)).squeeze(1)
    everywhere = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:, None]
    inside = rmse(model, (x[between], y[between]))
    interval = rmse(model, (everywhere, target(everywhere)))
    return {
        "rmse": rmse(model, sample.test),
        "inside": inside,
        "interval": interval,
        "interval_over_inside": interval / inside,
    }


def kanlite(seed: int, quick: bool) -> Run:
    return fit(seed, quick, (QUICK_GRIDS if quick else GRIDS)[-1])


def fit(seed: int, quick: bool, num_intervals: int) -> Run:
    """One edge is linear in its coefficients: a few steps of Levenberg-Marquardt end it."""
    sample, run = data(seed, quick), Run()
    with timed(run):
        basis = kl.BSpline(num_intervals)
        model = kl.KAN([1, 1], basis, residual=None, generator=generator(seed)).double()
        kl.fit(model, sample.train, optimizer="lm", steps=20, progress=False)
    return errors(model, sample) | {"parameters": kl.count_parameters(model)} | run


def scaling(seed: int, quick: bool) -> Run:
    """The error on finer and finer grids, and p in error ~ G^-p."""
    grids = QUICK_GRIDS if quick else GRIDS
    runs = [fit(seed, quick, grid) for grid in grids]
    found = [run["rmse"] for run in runs]
    seconds = {key: sum(run[key] for run in runs) for key in ("process_seconds", "wall_seconds")}
    return {
        "rmse": found[-1],
        "parameters": runs[-1]["parameters"],
        "by_grid": dict(zip(map(str, grids), found, strict=True)),
        "exponent": slope(grids, found),
    } | seconds


def pykan(seed: int, quick: bool) -> Run:
    """Its `fit` with its defaults (LBFGS, 100 steps), on 200 intervals at once."""
    from benchmarks.accuracy.pykan import fit_by_grids

    sample = data(seed, quick)
    model, run = fit_by_grids(
        [1, 1],
        sample,
        [(QUICK_GRIDS if quick else GRIDS)[-1]],
        steps=2 if quick else 100,
        seed=seed,
    )
    return errors(model, sample) | run


TASKS = {
    "J0(20x)": Task(
        {"kanlite": kanlite, "pykan": pykan, "kanlite, finer and finer": scaling},
        (
            "rmse",
            "inside",
            "interval",
            "parameters",
            "exponent",
            "process_seconds",
            "wall_seconds",
        ),
        (
            Target("RMSE, all seeds", campaign.worst("kanlite"), 5e-7),
            Target("parameters", campaign.worst("kanlite", "parameters"), 210),
            Target("process time over pykan's", campaign.time_ratio("kanlite", "pykan"), 0.05),
            Target(
                "RMSE on [-1, 1] over that between the samples",
                campaign.worst("kanlite", "interval_over_inside"),
                10,
            ),
            Target(
                "p in error ~ G^-p",
                campaign.exponent("kanlite, finer and finer"),
                3.8,
                at_least=True,
            ),
        ),
    )
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
