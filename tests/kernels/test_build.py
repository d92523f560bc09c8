"""Compiling once: what is cached, what is built again, and what is said when it fails."""

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kanlite.kernels import build

SOURCE = "int answer(void) { return ANSWER; }\n"

pytestmark = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small C file, and an empty cache."""
    monkeypatch.setenv("KANLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    file = tmp_path / "small.c"
    file.write_text(SOURCE)
    return file


def counting_compiler(tmp_path: Path, *, seconds: float = 0.0) -> tuple[Path, Path]:
    """A compiler that notes each compilation in a file, after a while."""
    log, script = tmp_path / "log", tmp_path / "counting-cc"
    log.touch()
    script.write_text(
        f'#!/bin/sh\ncase "$1" in --version) ;; *) sleep {seconds}; echo x >> {log};; esac\n'
        f'exec {build.find_compiler()} "$@"\n'
    )
    script.chmod(0o755)
    return script, log


def answer(library: ctypes.CDLL) -> int:
    return int(library.answer())


def test_a_library_is_compiled_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, log = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", str(script))
    for _ in range(2):
        assert answer(build.load(source, ["-DANSWER=42"], "a test")) == 42
    assert log.read_text() == "x\n"


def test_the_key_holds_source_and_options(source: Path) -> None:
    assert answer(build.load(source, ["-DANSWER=1"], "a test")) == 1
    assert answer(build.load(source, ["-DANSWER=2"], "a test")) == 2
    source.write_text(SOURCE.replace("ANSWER;", "-ANSWER;"))
    assert answer(build.load(source, ["-DANSWER=2"], "a test")) == -2
    assert len(list(build.cache_directory().glob("*.so"))) == 3


def test_the_key_holds_compiler_and_processor(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.load(source, ["-DANSWER=1"], "a test")
    monkeypatch.setattr(build, "_version", lambda compiler: "another")
    build.load(source, ["-DANSWER=1"], "a test")
    monkeypatch.setattr(build, "_processor", lambda: "another")
    build.load(source, ["-DANSWER=1"], "a test")
    assert len(list(build.cache_directory().glob("*.so"))) == 3


LOAD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("build", sys.argv[1])  # without PyTorch: faster
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
print(build.load(Path(sys.argv[2]), ["-DANSWER=7"], "a test").answer())
"""


def start(source: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", LOAD, build.__file__, str(source)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def test_two_processes_build_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, log = counting_compiler(tmp_path, seconds=1)
    monkeypatch.setenv("CC", str(script))
    processes = [start(source), start(source)]
    assert [process.communicate()[0] for process in processes] == ["7\n", "7\n"]
    assert log.read_text() == "x\n"
    assert not list(build.cache_directory().glob("building-*"))


@pytest.mark.parametrize("damage", [b"", b"no library", None])
def test_a_damaged_file_is_built_again(source: Path, damage: bytes | None) -> None:
    process = start(source)  # elsewhere, so that the file is not in use here
    assert process.communicate()[0] == "7\n"
    (library,) = build.cache_directory().glob("*.so")
    content = library.read_bytes()
    library.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert answer(build.load(source, ["-DANSWER=7"], "a test")) == 7
    assert build._whole(library)


def test_a_compiler_that_fails_is_quoted(source: Path) -> None:
    source.write_text("this is no C\n")
    with pytest.raises(build.BuildError, match=r"failed: .*small\.c:1:.*error"):
        build.load(source, [], "a test")
    assert not list(build.cache_directory().glob("*.so"))


def test_a_compiler_that_knows_no_native_options(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "plain-cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *=native*) exit 1;; esac\nexec {build.find_compiler()} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert answer(build.load(source, ["-DANSWER=3"], "a test")) == 3


def test_without_a_compiler(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert build.find_compiler() is None
    with pytest.raises(build.BuildError, match="no C compiler was found"):
        build.load(source, [], "a test")


def test_a_compiler_that_does_not_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "broken-cc"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(build.BuildError, match="could not be run"):
        build.load(source, [], "a test")


def test_a_library_that_cannot_be_loaded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "empty-cc"  # writes a file that is no library
    script.write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && echo no > "$2"; shift; done\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(build.BuildError, match="cannot be loaded"):
        build.load(source, [], "a test")


def test_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANLITE_CACHE", str(tmp_path / "chosen"))
    assert build.cache_directory() == tmp_path / "chosen"
    monkeypatch.delenv("KANLITE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert build.cache_directory() == tmp_path / "xdg" / "kanlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build.cache_directory() == tmp_path / ".cache" / "kanlite"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert build.cache_directory() == tmp_path / "Library" / "Caches" / "kanlite"


def test_a_home_that_cannot_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KANLITE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = build.cache_directory()
    assert directory == tmp_path / f"kanlite-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert answer(build.load(source, ["-DANSWER=5"], "a test")) == 5


def test_a_directory_of_someone_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"kanlite-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("KANLITE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = build.cache_directory()
    assert directory.name.startswith("kanlite-")
    assert not directory.is_symlink()
    assert directory != tmp_path / f"kanlite-{os.getuid()}"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(
    source: Path,
    terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    build.load(source, ["-DANSWER=1"], "the thing")
    build.load(source, ["-DANSWER=1"], "the thing")
    said = "kanlite: compiling the thing once ...\n" if terminal else ""
    assert capsys.readouterr() == ("", said)
