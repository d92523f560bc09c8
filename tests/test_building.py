"""What is remembered between runs, and when it is forgotten."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import build_book, execution, once, validate
from tools.environment import GPU_ONLY
from tools.sources import shared_hash, site_hash


@pytest.fixture
def build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build folder of our own."""
    build = tmp_path / "_build"
    monkeypatch.setattr(execution, "BUILD", build)
    monkeypatch.setattr(execution, "_SHARED_STAMP", build / ".shared-hash")
    for name in ("CACHE", "DOCTREES", "EXECUTED", "PASSED"):
        monkeypatch.setattr(execution, name, build / name.lower())
    return build


def test_outputs_are_forgotten_when_the_package_changes(
    build_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [execution.CACHE, execution.DOCTREES, execution.EXECUTED, execution.PASSED]
    for fingerprint, kept in (("first", False), ("first", True), ("second", False)):
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(execution, "shared_hash", lambda now=fingerprint: now)
        execution.forget_if_changed()
        assert [folder.exists() for folder in folders] == [kept] * len(folders)


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("kanlite/layers.py", True),
        ("exercises/checks/b_splines.py", True),
        ("book/notebook.py", True),
        ("requirements.txt", True),
        ("book/_static/book.css", False),
        ("_toc.yml", False),
    ],
)
def test_fingerprints_see_what_matters(tmp_path: Path, name: str, shared: bool) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    prints = []
    for text in ("one", "two"):
        file.write_text(text, encoding="utf-8")
        prints.append((shared_hash(tmp_path), site_hash(tmp_path)))
    (shared_one, site_one), (shared_two, site_two) = prints
    assert site_one != site_two
    assert (shared_one != shared_two) is shared


def test_a_notebook_that_passed_runs_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = tmp_path / "page.ipynb"
    twin.write_text("one", encoding="utf-8")
    monkeypatch.setattr(validate, "stamp_of", lambda path: tmp_path / "stamp")
    assert not validate.has_passed(twin)
    (tmp_path / "stamp").write_text(validate.fingerprint(twin), encoding="utf-8")
    assert validate.has_passed(twin)
    twin.write_text("two", encoding="utf-8")
    assert not validate.has_passed(twin)


def test_a_plain_build_does_not_count_as_a_strict_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_book, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(build_book, "HTML", tmp_path)
    (tmp_path / "index.html").touch()
    assert not build_book.is_up_to_date(strict=False)
    for kind, counts in (("plain", False), ("strict", True)):
        (tmp_path / "stamp").write_text(f"{kind} {site_hash()}", encoding="utf-8")
        assert build_book.is_up_to_date(strict=False)
        assert build_book.is_up_to_date(strict=True) is counts
    (tmp_path / "stamp").write_text("strict of something else", encoding="utf-8")
    assert not build_book.is_up_to_date(strict=False)


def test_a_failing_notebook_is_reported(write_source: Callable[[str], Path]) -> None:
    result = build_book.run(write_source("# Page\n\n```{code-cell} ipython3\n1 / 0\n```\n"))
    assert isinstance(result, str)
    assert "ZeroDivisionError" in result


@pytest.mark.parametrize("name", ["nvidia-cublas==13.1", "cuda-bindings==13"])
def test_what_only_a_gpu_needs_is_not_pinned(name: str) -> None:
    assert GPU_ONLY.match(name)
    assert not GPU_ONLY.match("torch==2.13.0")


def test_a_command_that_succeeded_runs_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, log = tmp_path / "file", tmp_path / "log"
    monkeypatch.setattr(once, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(once, "repository_files", lambda: [file])
    monkeypatch.delenv("AGAIN", raising=False)

    def runs(status: int = 0) -> bool:
        log.unlink(missing_ok=True)
        program = f"open({str(log)!r}, 'w'); raise SystemExit({status})"
        assert once.once("try", [sys.executable, "-c", program]) in (0, status)
        return log.exists()

    file.write_text("one", encoding="utf-8")
    assert [runs(status=1), runs(), runs()] == [True, True, False]
    file.write_text("two", encoding="utf-8")
    assert [runs(), runs()] == [True, False]
    monkeypatch.setenv("AGAIN", "yes")
    assert runs()
