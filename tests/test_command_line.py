"""``python -m kanlite``: tables in, models and reports out, one line for whatever is wrong."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import kanlite as kl
from kanlite.__main__ import main

Rows = list[list[object]]
Write = Callable[..., Path]


def sums(count: int = 80) -> Rows:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, size=(count, 2)).tolist()
    return [[a, b, 3 * a - b**2] for a, b in rows]


def kinds(count: int = 90) -> Rows:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, size=(count, 2)).tolist()
    return [[a, b, "left" if a < -0.3 else "right" if a > 0.3 else "middle"] for a, b in rows]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes a table as CSV into an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write_csv(
        rows: Rows, header: tuple[str, ...] = ("a", "b", "y"), delimiter: str = ","
    ) -> Path:
        path = tmp_path / "data.csv"
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
        return path

    return write_csv


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLP of few steps, where a test is not about it."""
    monkeypatch.setattr("kanlite.__main__.MLP_STEPS", (20, 20))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


FAST = ("--target", "y", "--steps", 10, "--widths", 2)


def test_fit_predict_and_explain(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(sums())
    assert run("fit", data, *FAST) == 0
    out = capsys.readouterr().out
    assert "80 rows, 2 inputs, target 'y' (regression)" in out
    assert "on 16 rows kept aside" in out
    scores = {
        line.split()[0]: float(line.split()[2])
        for line in out.splitlines()
        if "." in line and line.split()[0] in ("KAN", "linear", "MLP")
    }
    assert scores["KAN"] > 0.99 > scores["linear"]
    assert scores["MLP"] > 0.9
    assert "formula: y = 3*a - b**2" in out
    folder = Path("data-kan")
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.pt",
        "network.png",
        "report.md",
    ]
    assert (folder / "network.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text()
    assert f"| KAN | 49 | {scores['KAN']:.4f} |" in report
    assert "Formula: y = 3*a - b**2" in report

    assert run("predict", folder / "model.pt", data) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "y"
    x = torch.tensor([row[:2] for row in sums()], dtype=torch.float64)
    with torch.no_grad():  # an ordinary model file, in the units of the table
        expected = kl.load(folder / "model.pt")(x)[:, 0]
    assert [float(line) for line in lines] == expected.tolist()

    assert run("explain", folder / "model.pt") == 0
    text = capsys.readouterr().out
    assert "regression of 'y' from a, b" in text
    assert "formula: y = 3*a - b**2" in text
    assert "KAN with 2 KAN layers" in text


@pytest.mark.usefixtures("hasty")
def test_text_targets_are_classes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(kinds(), delimiter=";")
    assert run("fit", data, *FAST[:2], "--steps", 40, "--out", "here") == 0
    out = capsys.readouterr().out
    assert "(3 classes)" in out
    assert "accuracy" in out
    assert "not looked for" in out
    assert run("predict", "here/model.pt", data, "--out", "p.csv") == 0
    with Path("p.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["y", "P(left)", "P(middle)", "P(right)"]
    assert np.mean([row[0] == kind[2] for row, kind in zip(rows, kinds(), strict=True)]) > 0.9
    assert sum(map(float, rows[0][1:])) == pytest.approx(1.0, abs=1e-5)
    assert run("predict", "here/model.pt", data, "--out", "p.csv") == 2
    assert "p.csv exists already: use --force" in capsys.readouterr().err
    assert run("predict", "here/model.pt", data, "--out", "p.csv", "--force") == 0
    capsys.readouterr()
    assert run("explain", "here/model.pt") == 0
    assert "classes: left, middle, right" in capsys.readouterr().out


@pytest.mark.usefixtures("hasty")
def test_two_numbers_are_classes_unless_told_otherwise(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write([[a, b, int(a > 0)] for a, b, _ in sums()])
    assert run("fit", data, *FAST, "--no-formula") == 0
    assert "(2 classes)" in capsys.readouterr().out
    options = ("--task", "regression", "--no-formula", "--force")
    assert run("fit", data, *FAST, *options) == 0
    assert "(regression)" in capsys.readouterr().out


@pytest.mark.usefixtures("hasty")
def test_formula_of_log_odds_on_request(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    data = write([[a, b, "yes" if a > 0 else "no"] for a, b, _ in sums()])
    assert run("fit", data, *FAST[:4], "--widths", "--formula") == 0
    assert "\nformula: " in capsys.readouterr().out


@pytest.mark.usefixtures("hasty")
def test_results_are_not_overwritten_unasked(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(sums())
    folder = Path("data-kan")
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    (folder / "report.md").write_text("old")
    assert run("fit", data, *FAST) == 2
    assert "data-kan holds report.md already: use --force" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "report.md"]
    assert run("fit", data, *FAST, "--no-formula", "--force") == 0
    assert (folder / "mine.txt").read_text() == "keep me"
    assert (folder / "report.md").read_text() != "old"


@pytest.mark.usefixtures("hasty")
def test_nothing_is_left_half_written(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr("kanlite.__main__._draw", full)
    assert run("fit", write(sums()), *FAST, "--no-formula") == 2
    assert "kanlite: no space left\n" in capsys.readouterr().err
    assert not Path("data-kan").exists()


@pytest.mark.usefixtures("hasty")
def test_wide_networks_are_not_drawn(write: Write) -> None:
    data = write(sums())
    assert run("fit", data, "--target", "y", "--steps", 3, "--widths", 40, "--no-formula") == 0
    assert not Path("data-kan/network.png").exists()
    assert "Not drawn: 80 edges in a layer" in Path("data-kan/report.md").read_text()


GOOD = sums(30)
WRONG: dict[str, tuple[Rows, tuple[object, ...], str]] = {
    "no such target": (GOOD, ("--target", "z"), "has no column 'z': it has a, b, y"),
    "no such column to skip": (GOOD, ("--target", "y", "--ignore", "q"), "has no column 'q'"),
    "text": (
        [[a, "x", y] for a, _, y in GOOD],
        ("--target", "y"),
        "holds text in column 'b': encode it",
    ),
    "gaps": (
        [["" if n < 2 else a, "nan" if n == 7 else b, y] for n, (a, b, y) in enumerate(GOOD)],
        ("--target", "y"),
        "missing values in 'a' (2 of 30 rows), 'b' (1 of 30 rows)",
    ),
    "infinity": ([[a, "inf", y] for a, _, y in GOOD], ("--target", "y"), "'b' (30 of 30 rows)"),
    "gaps in the target": (
        [[a, b, "NA" if n < 3 else y] for n, (a, b, y) in enumerate(GOOD)],
        ("--target", "y"),
        "missing values in the target 'y' (3 of 30 rows)",
    ),
    "few rows": (GOOD[:19], ("--target", "y"), "must have at least 20 rows, got 19"),
    "ragged": ([*GOOD, [1, 2]], ("--target", "y"), "line 32 of"),
    "no inputs": (GOOD, ("--target", "y", "--ignore", "a", "b"), "must have columns besides 'y'"),
    "constant target": ([[a, b, 1] for a, b, _ in GOOD], ("--target", "y"), "'y' must vary"),
    "regression of text": (
        kinds(30),
        ("--target", "y", "--task", "regression"),
        "'y' holds text: its task is classification",
    ),
    "a class for each row": (
        [[a, b, f"name {n}"] for n, (a, b, _) in enumerate(GOOD)],
        ("--target", "y"),
        "must have 2 or more classes of 2 or more rows each, got 30 different values",
    ),
    "test fraction": (
        GOOD,
        ("--target", "y", "--test-fraction", 1.5),
        "--test-fraction must be in (0, 1), got 1.5",
    ),
    "widths": (GOOD, ("--target", "y", "--widths", 0), "widths must be numbers of at least 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_in_one_line(
    name: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, options, message = WRONG[name]
    assert run("fit", write(rows), *options) == 2
    err = capsys.readouterr().err
    assert err.startswith("kanlite: ")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("data-kan").exists()


def test_files_that_are_no_tables(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        "twice.csv": (b"a,a,y\n1,2,3\n", "has several columns 'a'"),
        "empty.csv": (b"", "is empty"),
        "latin.csv": (b"a,y\n\xe9,1\n", "is not a text in UTF-8"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert run("fit", tmp_path / name, "--target", "y") == 2
        assert message in capsys.readouterr().err
    assert run("fit", "nowhere.csv", "--target", "y") == 2
    assert capsys.readouterr().err == "kanlite: there is no file nowhere.csv\n"


@pytest.mark.usefixtures("hasty")
def test_models_and_tables_that_do_not_fit(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(GOOD)
    assert run("fit", data, *FAST, "--no-formula") == 0
    capsys.readouterr()
    other = write([row[:1] for row in GOOD], ("a",))
    assert run("predict", "data-kan/model.pt", other) == 2
    assert "has no column 'b': it has a" in capsys.readouterr().err
    assert run("predict", "data-kan/model.pt", write([], ("a", "b"))) == 2
    assert "has no rows below its header" in capsys.readouterr().err
    kl.save(kl.KAN([2, 1], kl.BSpline()), tmp_path / "bare.pt")
    assert run("explain", "bare.pt") == 2
    assert "bare.pt is a kanlite model, but not one that" in capsys.readouterr().err
    assert run("explain", "data.csv") == 2
    assert "data.csv is" in capsys.readouterr().err


def test_as_a_program(tmp_path: Path) -> None:
    """Status and streams as a shell sees them, without a traceback; and without scikit-learn."""
    root = Path(kl.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "kanlite", "fit", "nowhere.csv", "--target", "y"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kanlite: there is no file nowhere.csv\n"
    script = "import sys, kanlite.__main__; print({'sklearn', 'pandas'} & set(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "set()\n"
