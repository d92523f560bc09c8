"""The tuner: the fastest candidate, measured once, kept for the next process."""

import json
import math
from pathlib import Path

import pytest

from kanlite.kernels.tuning import Blocks, Tuner

SMALL, MIDDLE, LARGE = Blocks(16, 16, 16), Blocks(64, 32, 64), Blocks(128, 32, 128, 8, 3)
SECONDS = {SMALL: 3.0, MIDDLE: 1.0, LARGE: math.inf}
CANDIDATES = list(SECONDS)


def never(blocks: Blocks) -> float:
    raise AssertionError("measured again")


def test_the_fastest_is_measured_once() -> None:
    tuner = Tuner()
    assert tuner.choose("key", CANDIDATES, SECONDS.__getitem__) == MIDDLE
    assert tuner.choose("key", CANDIDATES, never) == MIDDLE


def test_without_a_timer_the_first_guess_is_taken_and_not_remembered() -> None:
    tuner = Tuner()
    assert tuner.choose("key", CANDIDATES, None) == SMALL
    assert tuner.found == {}
    assert tuner.choose("one", [LARGE], never) == LARGE


def test_another_process_need_not_measure_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "triton.json"
    first, beside = Tuner(path), Tuner(path)
    first.choose("a", CANDIDATES, SECONDS.__getitem__)
    beside.choose("b", CANDIDATES, SECONDS.__getitem__)  # does not lose what the first one kept
    later = Tuner(path)
    assert later.choose("a", CANDIDATES, never) == MIDDLE
    assert later.choose("b", CANDIDATES, never) == MIDDLE
    assert [entry.name for entry in path.parent.iterdir()] == ["triton.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": [1]}', '{"key": "abc"}', '{"key": 5}'])
def test_a_file_that_says_nothing_is_measured_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "triton.json"
    path.write_text(text, encoding="utf-8")
    assert Tuner(path).choose("key", CANDIDATES, SECONDS.__getitem__) == MIDDLE
    assert json.loads(path.read_text(encoding="utf-8")) == {"key": list(MIDDLE)}


def test_a_place_that_cannot_be_written_to_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    tuner = Tuner(blocked / "triton.json")
    assert tuner.choose("key", CANDIDATES, SECONDS.__getitem__) == MIDDLE
