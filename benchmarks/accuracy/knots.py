"""The signature of a knot from six numbers of its geometry: [6, 2, 1] with 112 parameters.

    pip install database_knotinfo
    python -m benchmarks.accuracy.knots

All hyperbolic knots of KnotInfo with up to 12 crossings: volume, volume of the maximal cusp,
longitude (real), meridian (real and imaginary part) and Chern-Simons invariant; the target is
|signature|, since the table lists one of each pair of mirror images. Its half, 0 to 4, is five
classes. Five random splits, 80 % to train.

kanlite treats the class as a number: least squares by Levenberg-Marquardt with a slight smoothness
penalty, rounded; of eight starts on four fifths of the training set the best on the last fifth
goes on with the whole training set. "MLP, same size" does exactly the same with an MLP of at most
as many parameters. "MLP, 4 x 300" is a classifier of the size that the KAN paper compares with
(Adam). pykan runs its tutorial on knots: [6, 1, 5], cross-entropy, a penalty, LBFGS in batches of
1024. Prints a table and writes knots.json beside this file.

Source: Davies et al., Advancing mathematics by guiding human intuition with AI (2021),
doi:10.1038/s41586-021-04086-x, who found the relation; Livingston and Moore, KnotInfo.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Run, Target, Task, generator, timed

WIDTHS, NUM_INTERVALS, SMOOTHNESS, STARTS = [6, 2, 1], 5, 1e-6, 8
CLASSES = 5
FEATURES = (
    "volume",
    "maximum_cusp_volume",
    "longitude_translation",
    "meridian_translation",
    "chern_simons_invariant",
)


class Split(NamedTuple):
    """Inputs in [-1, 1] on the training set (samples, 6), and half of |signature| (samples,)."""

    x: Tensor
    classes: Tensor
    x_test: Tensor
    classes_test: Tensor


@functools.cache
def table() -> tuple[Tensor, Tensor]:
    """Six features and the class of every hyperbolic knot in the table with all of them."""
    import database_knotinfo

    file = Path(database_knotinfo.__file__).parent / "csv_data" / "knotinfo_data_complete.csv"
    csv.field_size_limit(10**9)
    rows = []
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="|")
        next(reader)  # the columns' titles
        for row in reader:
            cells = [row[name] for name in (*FEATURES, "signature")]
            if all(cells) and not any("Not" in cell for cell in cells):
                rows.append(_numbers(cells))
    found = torch.tensor(rows, dtype=torch.float64)
    return found[:, :6], (found[:, 6].abs() / 2).long()


def _numbers(cells: list[str]) -> list[float]:
    """Volumes, real longitude, complex meridian, Chern-Simons, signature."""
    volume, cusp, longitude, meridian, chern_simons, signature = cells
    real, imaginary = (float(part) for part in meridian.strip(" ()").split(","))
    along = float(longitude.strip(" ()").split(",")[0])
    return [
        *map(float, (volume, cusp)),
        along,
        real,
        imaginary,
        *map(float, (chern_simons, signature)),
    ]


def split(seed: int, quick: bool) -> Split:
    x, classes = table()
    order = torch.randperm(len(x), generator=generator(seed))[: 200 if quick else None]
    train, test = order[: int(0.8 * len(order))], order[int(0.8 * len(order)) :]
    low, high = x[train].aminmax(dim=0)
    x = 2 * (x - low) / (high - low) - 1
    return Split(x[train], classes[train], x[test], classes[test])


@torch.no_grad()
def rounded(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).squeeze(1).round().clamp(0, CLASSES - 1).long()


@torch.no_grad()
def largest(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).argmax(1)


def accuracies(predict: Callable[[nn.Module, Tensor], Tensor], model: nn.Module, s: Split) -> Run:
    return {
        "accuracy": float((predict(model, s.x_test) == s.classes_test).double().mean()),
        "training_accuracy": float((predict(model, s.x) == s.classes).double().mean()),
    }


def least_squares(
    make: Callable[[torch.Generator], nn.Module], smoothness: float, seed: int, quick: bool
) -> Run:
    """The best of several starts by validation, then a fit to the whole training set."""
    s, draws, run = split(seed, quick), generator(seed), Run()
    y, kept = s.classes.double()[:, None], int(0.8 * len(s.x))
    steps = 2 if quick else 20

    def fitted(model: nn.Module, rows: slice) -> nn.Module:
        penalty = kl.Penalty(smoothness=smoothness)
        kl.fit(
            model,
            (s.x[rows], y[rows]),
            optimizer="lm",
            steps=steps,
            penalty=penalty if smoothness else None,
            progress=False,
        )
        return model

    def right(model: nn.Module) -> int:
        return int((rounded(model, s.x[kept:]) == s.classes[kept:]).sum())

    with timed(run):
        starts = [fitted(make(draws), slice(kept)) for _ in range(2 if quick else STARTS)]
        model = fitted(max(starts, key=right), slice(None))
    return accuracies(rounded, model, s) | {"parameters": kl.count_parameters(model)} | run


def kan(draws: torch.Generator) -> kl.KAN:
    basis = kl.BSpline(NUM_INTERVALS)
    return kl.KAN(WIDTHS, basis, residual=None, init="power", generator=draws).double()


def kanlite(seed: int, quick: bool) -> Run:
    return least_squares(kan, SMOOTHNESS, seed, quick)


def small_mlp(seed: int, quick: bool) -> Run:
    def make(width: int) -> kl.MLP:
        return kl.MLP([6, width, 1])

    width = kl.match_width(make, kl.count_parameters(kan(generator(0))))
    return least_squares(
        lambda draws: kl.MLP([6, width, 1], "tanh", generator=draws).double(), 0.0, seed, quick
    )


def large_mlp(seed: int, quick: bool) -> Run:
    s, draws, run = split(seed, quick), generator(seed), Run()
    widths = [6, 10, CLASSES] if quick else [6, 300, 300, 300, 300, CLASSES]
    model = kl.MLP(widths, generator=draws).double()
    with timed(run):
        kl.fit(
            model,
            (s.x, s.classes),
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
            loss="cross_entropy",
            steps=3 if quick else 500,
            batch_size=256,
            generator=draws,
            progress=False,
        )
    return accuracies(largest, model, s) | {"parameters": kl.count_parameters(model)} | run


def pykan(seed: int, quick: bool) -> Run:
    from kan import KAN

    from benchmarks.accuracy.pykan import quiet_folder, size

    s, run = split(seed, quick), Run()
    mean, deviation = s.x.mean(0), s.x.std(0)  # its tutorial standardizes
    s = s._replace(x=(s.x - mean) / deviation, x_test=(s.x_test - mean) / deviation)
    # What it watches must not be smaller than a batch, and it watches nothing that we use.
    pairs = {
        f"{part}_{name}": t
        for part in ("train", "test")
        for name, t in (("input", s.x), ("label", s.classes))
    }
    with quiet_folder(), timed(run):
        model = KAN(width=[6, 1, CLASSES], grid=5, k=3, seed=seed)
        model.fit(
            pairs,
            lamb=0.005,
            batch=100 if quick else 1024,
            steps=2 if quick else 100,
            loss_fn=nn.CrossEntropyLoss(),
        )
    return accuracies(largest, model, s) | {"parameters": size(model)} | run


TASKS = {
    "signature of knots": Task(
        {
            "kanlite": kanlite,
            "MLP, same size": small_mlp,
            "MLP, 4 x 300": large_mlp,
            "pykan": pykan,
        },
        ("accuracy", "training_accuracy", "parameters", "process_seconds", "wall_seconds"),
        (
            Target(
                "mean held-out accuracy",
                campaign.mean("kanlite", "accuracy"),
                0.84,
                at_least=True,
            ),
            Target("parameters", campaign.worst("kanlite", "parameters"), 120),
            Target("process time over pykan's", campaign.time_ratio("kanlite", "pykan"), 1.0),
        ),
    )
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
