"""The command line: ``python -m kanlite fit data.csv --target y``; then ``predict``, ``explain``.

``fit`` reads a table, keeps a part of its rows aside, trains a network on the others, and tells how
well it does on the rows that it has not seen, beside a linear model and an MLP on the same rows. It
writes the model, a figure and a short report, all or nothing. ``predict`` applies the model to
another table; ``explain`` tells what it is. Wrong input ends in one line on standard error and exit
status 2. Under ``torchrun -m kanlite fit ...`` the processes train one network together, and the
first one writes and talks.

Glossary
    x, y      columns of the inputs (rows, inputs), target (rows, 1) or class indices (rows,)
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kanlite._version import __version__
from kanlite.baselines import MLP, count_parameters
from kanlite.discovery import find_formula
from kanlite.edges import edge_layers
from kanlite.inspection import explain
from kanlite.layers import KAN
from kanlite.parallel import is_first_process
from kanlite.persistence import load, read_file, save
from kanlite.pruning import prune
from kanlite.symbolic import Formula, to_formula
from kanlite.tables import Recipe, Task, fit_rows, importances, merge_rows, probabilities
from kanlite.training import fit

__all__ = ["main"]

LEAST_ROWS = 20
MLP_STEPS = (1000, 5000)  # least and most; 200 epochs between
MISSING = {"", "na", "n/a", "nan", "null", "none"}
FILES = ("model.pt", "network.png", "report.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows ``python -m kanlite``; ``sys.argv[1:]`` if None.

    Returns:
        The exit status: 0, or 2 if the input is wrong.
    """
    options = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "fit": _fit,
        "predict": _predict,
        "explain": _explain,
    }
    try:
        commands[options.command](options)
    except FileNotFoundError as error:
        return _failed(f"there is no file {error.filename}")
    except (ValueError, FloatingPointError, OSError) as error:
        return _failed(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kanlite", description=_first_line(__doc__))
    parser.add_argument("--version", action="version", version=f"kanlite {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fit", help="train a network on a table")
    one.add_argument("table", metavar="data", type=Path, help="CSV file with a header")
    one.add_argument("--target", required=True, help="column to predict")
    one.add_argument("--task", choices=("auto", "regression", "classification"), default="auto")
    one.add_argument("--ignore", nargs="+", default=[], metavar="COLUMN", help="columns to skip")
    one.add_argument("--out", type=Path, help="folder to write to (default: NAME-kan)")
    one.add_argument("--force", action="store_true", help="replace what an earlier run wrote")
    one.add_argument("--widths", type=int, nargs="*", help="hidden widths (one of 5 or more)")
    one.add_argument("--num-intervals", type=int, default=5, help="intervals of each spline (5)")
    one.add_argument("--degree", type=int, default=3, help="degree of each spline (3)")
    one.add_argument("--steps", type=int, help="most parameter updates")
    one.add_argument("--test-fraction", type=float, default=0.2, help="rows kept aside (0.2)")
    one.add_argument("--seed", type=int, default=0, help="of the split and the weights (0)")
    one.add_argument(
        "--formula",
        action=argparse.BooleanOptionalAction,
        help="look for a formula (default: in regression with at most 6 inputs)",
    )
    two = commands.add_parser("predict", help="apply a model to a table")
    two.add_argument("model", type=Path, help="model.pt of fit")
    two.add_argument(
        "table", metavar="data", type=Path, help="CSV file with the columns of the fit"
    )
    two.add_argument("--out", type=Path, help="CSV file to write (default: standard output)")
    two.add_argument("--force", action="store_true", help="replace an existing file")
    three = commands.add_parser("explain", help="tell what a model is")
    three.add_argument("model", type=Path, help="model.pt of fit")
    return parser


# Commands ------------------------------------------------------------------------------------


def _fit(options: argparse.Namespace) -> None:
    out = options.out or Path(f"{options.table.stem}-kan")
    found = [name for name in FILES if (out / name).exists()]
    if found and not options.force:
        raise ValueError(f"{out} holds {', '.join(found)} already: use --force or another --out")
    if not 0.0 < options.test_fraction < 1.0:
        raise ValueError(f"--test-fraction must be in (0, 1), got {options.test_fraction}")
    table = _problem(_Csv.read(options.table), options)
    recipe = Recipe(
        task=table.task,
        widths="auto" if options.widths is None else tuple(options.widths),
        num_intervals=options.num_intervals,
        degree=options.degree,
        steps=options.steps,
    )
    kind = "regression" if not table.classes else f"{len(table.classes)} classes"
    _say(f"{len(table.x)} rows, {len(table.names)} inputs, target {table.target!r} ({kind})")
    result = _train(table, recipe, options.test_fraction, options.seed)
    _say(f"\n{result.text()}")
    formula = _formula(table, result, options.formula)
    _say(f"\n{formula}")
    if is_first_process():
        _write(out, table, result, formula)
    _say(f"\nwritten to {out}: {', '.join(name for name in FILES if (out / name).exists())}")


def _predict(options: argparse.Namespace) -> None:
    model, notes = _load(options.model)
    if options.out is not None and options.out.exists() and not options.force:
        raise ValueError(f"{options.out} exists already: use --force or another --out")
    data = _Csv.read(options.table)
    with torch.no_grad():
        values = model(torch.from_numpy(data.numbers(notes["names"])))
    classes, target = notes["classes"], notes["target"]
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    if classes:
        share = probabilities(values)
        writer.writerow([target, *(f"P({name})" for name in classes)])
        for row, best in zip(share.tolist(), share.argmax(1).tolist(), strict=True):
            writer.writerow([classes[best], *(f"{p:.6g}" for p in row)])
    else:
        writer.writerow([target])
        writer.writerows([[repr(value)] for value in values[:, 0].tolist()])
    if options.out is None:
        sys.stdout.write(lines.getvalue())
        return
    _replace(options.out, lambda path: path.write_text(lines.getvalue(), encoding="utf-8"))
    _say(f"{len(values)} predictions written to {options.out}")


def _explain(options: argparse.Namespace) -> None:
    model, notes = _load(options.model)
    _say(f"{notes['task']} of {notes['target']!r} from {', '.join(notes['names'])}")
    if notes["classes"]:
        _say(f"classes: {', '.join(notes['classes'])}")
    _say(f"\n{notes['scores']}\n\n{notes['formula']}\n\n{notes['importances']}\n\n{explain(model)}")


# Tables --------------------------------------------------------------------------------------


@dataclass
class _Csv:
    """A table of texts: its name, the names of its columns, and its rows."""

    name: str
    header: list[str]
    rows: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> _Csv:
        """The table of a CSV file; commas, semicolons and tabs are told apart by its header."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text in UTF-8: {error}") from error
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        lines = [
            (number, [cell.strip() for cell in row])
            for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1)
            if row
        ]
        if not lines:
            raise ValueError(f"{path} is empty")
        header = lines[0][1]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has several columns {twice[0]!r}")
        for number, row in lines[1:]:
            if len(row) != len(header):
                raise ValueError(
                    f"line {number} of {path} has {len(row)} cells, the header {len(header)}"
                )
        return cls(str(path), header, [row for _, row in lines[1:]])

    def column(self, name: str) -> list[str]:
        """Its cells."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def require(self, names: Sequence[str]) -> None:
        """Refuse the table if columns are missing from it."""
        absent = [name for name in names if name not in self.header]
        if absent:
            raise ValueError(
                f"{self.name} has no {_columns(absent)}: it has {', '.join(self.header)}"
            )

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """The columns as float64, (rows, names); texts and gaps are refused by name."""
        self.require(names)
        if not self.rows:
            raise ValueError(f"{self.name} has no rows below its header")
        texts = [name for name in names if self.is_text(name)]
        if texts:
            raise ValueError(
                f"{self.name} holds text in {_columns(texts)}: encode it as numbers, or skip it "
                "in fit with --ignore"
            )
        table = np.array([[_number(cell) for cell in self.column(name)] for name in names]).T
        bad = ~np.isfinite(table)
        if bad.any():
            counts = [
                f"{name!r} ({count} of {len(table)} rows)"
                for name, count in zip(names, bad.sum(0).tolist(), strict=True)
                if count
            ]
            raise ValueError(
                f"{self.name} has NaN, infinite or missing values in {', '.join(counts)}: "
                "fill or remove them"
            )
        return table

    def is_text(self, name: str) -> bool:
        """Whether a column holds cells that are neither numbers nor missing."""
        return any(_number(cell) is None for cell in self.column(name))


@dataclass
class _Problem:
    """What to learn: inputs (rows, inputs), targets (rows, 1) or class indices (rows,)."""

    x: np.ndarray
    y: np.ndarray
    names: list[str]
    target: str
    task: Task
    classes: list[str]

    @property
    def outputs(self) -> int:
        """Numbers that a model gives."""
        return len(self.classes) if len(self.classes) > 2 else 1


def _problem(data: _Csv, options: argparse.Namespace) -> _Problem:
    """Inputs and target of a table, checked."""
    data.require([options.target, *options.ignore])
    skipped = {options.target, *options.ignore}
    names = [name for name in data.header if name not in skipped]
    if not names:
        raise ValueError(f"{data.name} must have columns besides {options.target!r}, got none")
    if len(data.rows) < LEAST_ROWS:
        raise ValueError(f"{data.name} must have at least {LEAST_ROWS} rows, got {len(data.rows)}")
    cells = data.column(options.target)
    gaps = sum(cell.lower() in MISSING for cell in cells)
    if gaps:
        raise ValueError(
            f"{data.name} has missing values in the target {options.target!r} "
            f"({gaps} of {len(cells)} rows): remove these rows"
        )
    text, distinct = data.is_text(options.target), sorted(set(cells), key=_order)
    if options.task == "regression" and text:
        raise ValueError(f"the target {options.target!r} holds text: its task is classification")
    x = data.numbers(names)
    if options.task == "classification" or (
        options.task == "auto" and (text or len(distinct) == 2)
    ):
        counts = {name: cells.count(name) for name in distinct}
        least = min(counts, key=lambda name: counts[name])
        if len(distinct) < 2 or counts[least] < 2 or len(distinct) > len(cells) // 2:
            raise ValueError(
                f"the target {options.target!r} must have 2 or more classes of 2 or more rows "
                f"each, got {len(distinct)} different values in {len(cells)} rows"
            )
        y = np.array([distinct.index(cell) for cell in cells])
        return _Problem(x, y, names, options.target, "classification", distinct)
    y = data.numbers([options.target])
    if y.min() == y.max():
        raise ValueError(f"the target {options.target!r} must vary, got {cells[0]} in all rows")
    return _Problem(x, y, names, options.target, "regression", [])


def _number(cell: str) -> float | None:
    """The cell's number, NaN if it is missing, None if it is a text."""
    try:
        return math.nan if cell.lower() in MISSING else float(cell)
    except ValueError:
        return None


def _order(cell: str) -> tuple[float, str]:
    """Numbers by value, then texts."""
    number = _number(cell)
    return (math.inf if number is None else number, cell)


# Training ------------------------------------------------------------------------------------


@dataclass
class _Result:
    """A trained network, and how it does on rows that no training has seen.

    Attributes:
        model: The network, in the units of the table.
        train: Which rows it was trained on, (rows,).
        scores: For each model its name, parameters, and two figures.
        measures: The figures' names.
    """

    model: KAN
    train: np.ndarray
    scores: list[tuple[str, int, float, float]]
    measures: tuple[str, str]

    def cells(self) -> list[list[str]]:
        """The table of scores, its header first."""
        head = ["model", "parameters", *self.measures]
        return [head, *([n, str(p), f"{a:.4f}", f"{b:.4g}"] for n, p, a, b in self.scores)]

    def text(self) -> str:
        """The table, aligned."""
        rows = self.cells()
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        held = int((~self.train).sum())
        lines = [
            "  ".join([row[0].ljust(sizes[0]), *map(str.rjust, row[1:], sizes[1:])]) for row in rows
        ]
        return "\n".join([f"on {held} rows kept aside:", *lines])


def _train(table: _Problem, recipe: Recipe, test_fraction: float, seed: int) -> _Result:
    """Split the rows, train the network and the two baselines on one part, score on the other."""
    generator = torch.Generator().manual_seed(seed)
    train = ~_kept_aside(table, test_fraction, generator)
    rows = merge_rows(table.x[train], table.y[train])
    network = fit_rows(
        rows, recipe, outputs=table.outputs, generator=generator, progress="auto"
    ).model
    n, q = len(table.names), table.outputs
    shape = [n, q], [n, 100, q]
    models = [
        ("KAN", network),
        *zip(("linear", "MLP"), _baselines(table, train, shape, generator), strict=True),
    ]
    held = torch.from_numpy(table.x[~train])
    scores = []
    for name, model in models:
        with torch.no_grad():
            scores.append((name, count_parameters(model), *_score(table, ~train, model(held))))
    measures = ("accuracy", "log loss") if table.classes else ("R2", "RMSE")
    return _Result(network, train, scores, measures)


def _kept_aside(table: _Problem, fraction: float, generator: torch.Generator) -> np.ndarray:
    """A mask of rows, drawn evenly from every class."""
    order = torch.randperm(len(table.x), generator=generator).numpy()
    if table.classes:
        order = order[np.argsort(table.y[order], kind="stable")]
    count = min(max(round(fraction * len(order)), 2), len(order) - 10)
    mask = np.zeros(len(order), dtype=bool)
    mask[order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]] = True
    return mask


class _Scaled(nn.Module):
    """A baseline between standardized inputs and targets in their units."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.net = net
        self.shift, self.scale = x.mean(0), _spread(x)
        self.offset, self.size = y.mean(0), _spread(y)

    def forward(self, x: Tensor) -> Tensor:
        """Predictions, (rows, outputs)."""
        values: Tensor = self.net((x - self.shift) / self.scale)
        return values * self.size + self.offset


def _baselines(
    table: _Problem, train: np.ndarray, shapes: Sequence[list[int]], generator: torch.Generator
) -> list[nn.Module]:
    """A linear model by LBFGS, and an MLP by Adam as long as the rows ask for."""
    x, y = torch.from_numpy(table.x[train]), torch.from_numpy(table.y[train]).double()
    if table.classes:  # logits are not to be scaled
        y = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    steps = min(max(200 * -(-len(x) // 200), MLP_STEPS[0]), MLP_STEPS[1])
    models: list[nn.Module] = []
    for shape in shapes:
        deep = len(shape) > 2
        model = _Scaled(MLP(shape, "relu", generator=generator).double(), x, y)
        target = torch.from_numpy(table.y[train])
        if table.outputs == 1 and table.classes:
            target = target.unsqueeze(1).double()
        size, center = model.size, model.offset
        fit(
            model,
            (x, target),
            optimizer=_adamw if deep else "lbfgs",
            steps=steps if deep else 50,
            loss=_loss(table, center, size),
            batch_size=min(200, len(x)) if deep else None,
            penalty=None if deep else _shrinkage,
            generator=generator,
            progress=False,
        )
        models.append(model)
    return models


def _loss(table: _Problem, center: Tensor, size: Tensor) -> Any:
    """What the baselines minimize: as the network does."""
    if not table.classes:
        return lambda prediction, y: ((prediction - y) / size).square().mean()
    if table.outputs == 1:
        return nn.functional.binary_cross_entropy_with_logits
    return "cross_entropy"


def _adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-3)


def _shrinkage(model: nn.Module, x: Tensor) -> Tensor:
    """A little, so that classes that a plane separates have a solution."""
    return sum((p.square().sum() for p in model.parameters()), x.new_zeros(())) / (2 * len(x))


def _spread(values: Tensor) -> Tensor:
    spread = values.std(0, correction=0)
    return torch.where(spread > 0, spread, 1.0)


def _score(table: _Problem, rows: np.ndarray, values: Tensor) -> tuple[float, float]:
    """R2 and root mean square error, or accuracy and mean log loss."""
    y = torch.from_numpy(table.y[rows])
    if table.classes:
        share = probabilities(values)
        loss = -share.gather(1, y[:, None]).clamp(min=1e-15).log().mean()
        return float((share.argmax(1) == y).double().mean()), float(loss)
    error, variance = (values - y).square().mean(), (y - y.mean(0)).square().mean()
    return float(1 - error / variance) if variance > 0 else math.nan, float(error.sqrt())


# Results -------------------------------------------------------------------------------------


def _formula(table: _Problem, result: _Result, wanted: bool | None) -> str:
    """A line about the formula, from at most 1,000 of the training rows."""
    if wanted is None and (table.classes or len(table.names) > 6):
        return "formula: not looked for (--formula does, with patience)"
    if wanted is False:
        return "formula: not looked for"
    if find_spec("sympy") is None:
        return "formula: needs SymPy (pip install kanlite[symbolic])"
    x, y = (torch.from_numpy(a[result.train][:1000]) for a in (table.x, table.y))
    if len(x) < 40:
        return f"formula: needs at least 40 training rows, got {len(x)}"
    varies = (x.amax(0) > x.amin(0)).nonzero()[:, 0].tolist()
    if table.classes:
        small, kept = prune(result.model, x, drop_inputs=True)
        with torch.no_grad():
            values = result.model(x)
        found = to_formula(small, x[:, kept], values, names=[table.names[i] for i in kept])
    else:
        names = [table.names[i] for i in varies]
        found = find_formula(x[:, varies], y, names=names).formula
    return _described(table, found)


def _described(table: _Problem, formula: Formula) -> str:
    if not formula.found:
        return "formula: no short one explains the rows"
    left = table.target
    if table.classes:
        left = f"log-odds of {table.classes[1]}" if len(table.classes) == 2 else "logits"
    return f"formula: {left} = {formula.expr}  (relative error {formula.relative_error:.1e})"


def _write(out: Path, table: _Problem, result: _Result, formula: str) -> None:
    """Model, figure and report: in a folder beside `out` first, and into it once all is there."""
    x = torch.from_numpy(table.x[result.train])
    shares = importances(result.model, x).tolist()
    ranked = sorted(zip(shares, table.names, strict=True), reverse=True)
    notes = {
        "task": table.task,
        "target": table.target,
        "names": table.names,
        "classes": table.classes,
        "scores": result.text(),
        "formula": formula,
        "importances": "\n".join(f"{share:6.1%}  {name}" for share, name in ranked),
    }
    created = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f".{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        save(result.model, temporary / "model.pt", notes=notes)
        drawn = _draw(result.model, x[:1000], table.names, temporary / "network.png")
        report = _report(table, result, formula, ranked, drawn)
        (temporary / "report.md").write_text(report, encoding="utf-8")
        for name in FILES:
            if (temporary / name).exists():
                os.replace(temporary / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)  # of an earlier run
    finally:
        shutil.rmtree(temporary)
        if created and not any(out.iterdir()):
            out.rmdir()


def _draw(model: KAN, x: Tensor, names: list[str], path: Path) -> str:
    """Write the figure, if it can be drawn; else a word why not."""
    if find_spec("matplotlib") is None:
        return "Not drawn: it needs Matplotlib (`pip install kanlite[plot]`)."
    widest = max(layer.in_features * layer.out_features for layer in edge_layers(model))
    if widest > 64:
        return f"Not drawn: {widest} edges in a layer are too many to read."
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib import pyplot as plt

    from kanlite.plotting import plot_kan

    figure = plot_kan(model, x, names=names)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return f"![The network: inputs below, outputs above, a small plot on each edge]({path.name})"


def _report(
    table: _Problem,
    result: _Result,
    formula: str,
    ranked: Sequence[tuple[float, str]],
    drawn: str,
) -> str:
    head, *rows = result.cells()
    held = int((~result.train).sum())
    lines = [
        f"# {table.target}: {table.task} by a Kolmogorov-Arnold network",
        "",
        f"Trained on {len(table.x) - held} rows with {len(table.names)} inputs; "
        f"scores are on {held} rows kept aside.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"{formula[0].upper()}{formula[1:]}",
        "",
        "## Importance of the inputs",
        "",
        "| input | share |",
        "|---|---|",
        *(f"| {name} | {share:.1%} |" for share, name in ranked),
        "",
        "## The network",
        "",
        drawn,
        "",
        "```text",
        explain(result.model),
        "```",
        "",
        "Predict with `python -m kanlite predict model.pt data.csv`, or in Python with",
        '`kanlite.load("model.pt")`, which takes the inputs above in float64 and in their units.',
        "",
    ]
    return "\n".join(lines)


def _load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A model that `fit` wrote, and what it noted."""
    notes = read_file(path, "model").get("notes")
    needed = {"task", "target", "names", "classes", "scores", "formula", "importances"}
    if not isinstance(notes, dict) or not needed <= set(notes):
        raise ValueError(
            f"{path} is a kanlite model, but not one that `python -m kanlite fit` wrote"
        )
    return load(path), notes


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _columns(names: Sequence[str]) -> str:
    return f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0].replace("``", "")


def _say(text: str) -> None:
    if is_first_process():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _failed(message: str) -> int:
    one_line = " ".join(message.split())
    if is_first_process():
        sys.stderr.write(f"kanlite: {one_line}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
