"""A C file becomes a loaded library: compiled once, kept in a cache, found again.

Nothing is compiled when the package is installed. The first call that could use a library
looks for a C compiler, compiles for this very processor, and keeps the result in a cache whose
key holds all that it depends on: the source, the compiler, the options and the processor. Two
processes may build at once (a lock lets the second wait, a rename makes each file appear
whole), and a file that was damaged is built again.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["BuildError", "cache_directory", "find_compiler", "load"]

OPTIONS = ("-O2", "-ftree-vectorize", "-fPIC", "-shared", "-std=gnu11", "-pthread")
NATIVE = (("-march=native",), ("-mcpu=native",), ())  # the first that the compiler takes
SECONDS = 300  # after which a compiler is given up


class BuildError(Exception):
    """Why a library could not be compiled."""


def find_compiler() -> str | None:
    """Path of a C compiler: the environment's CC, else cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path is not None:
            return path
    return None


def cache_directory() -> Path:
    """Where libraries are kept.

    The environment's KANLITE_CACHE if set; else the user's cache directory; where that cannot
    be written (a read-only home), a directory of this user alone among the temporary files.
    """
    chosen = os.environ.get("KANLITE_CACHE")
    directory = Path(chosen) if chosen else _user_cache() / "kanlite"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    if os.access(directory, os.W_OK | os.X_OK):
        return directory
    shared = Path(tempfile.gettempdir()) / f"kanlite-{os.getuid()}"
    with contextlib.suppress(OSError):
        shared.mkdir(mode=0o700, exist_ok=True)
        found = shared.lstat()  # someone else could have made it, to have us load their code
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shared.chmod(0o700)
            return shared
    return Path(tempfile.mkdtemp(prefix="kanlite-"))


def load(source: Path, defines: Sequence[str], what: str) -> ctypes.CDLL:
    """The library of a C file, compiled if the cache does not hold it.

    Args:
        source: The C file.
        defines: Options such as "-DDEGREE=3", part of the key.
        what: Its name for the progress line, which is written on a terminal only.

    Returns:
        The loaded library.

    Raises:
        BuildError: If there is no compiler, or it fails, or the result cannot be loaded.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C compiler was found (set CC, or install gcc or clang)")
    key = hashlib.sha256(source.read_bytes())
    for part in (_version(compiler), *OPTIONS, *defines, _processor()):
        key.update(b"\0" + part.encode())
    directory = cache_directory()
    library = directory / f"{source.stem}-{key.hexdigest()[:24]}.so"
    if not _whole(library):
        with _locked(directory / f"{library.stem}.lock"):
            if not _whole(library):  # nobody built it while we waited
                if sys.stderr.isatty():
                    sys.stderr.write(f"kanlite: compiling {what} once ...\n")
                _compile(compiler, source, defines, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BuildError(f"the compiled library cannot be loaded: {error}") from error


def _compile(compiler: str, source: Path, defines: Sequence[str], library: Path) -> None:
    """Compile into a private directory, then move both files into the cache."""
    errors = ""
    try:
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="building-") as place:
            made = Path(place) / library.name
            for native in NATIVE:
                command = [compiler, *OPTIONS, *native, *defines, str(source), "-o", str(made)]
                done = subprocess.run(
                    [*command, "-lm"], capture_output=True, text=True, timeout=SECONDS, check=False
                )
                if done.returncode == 0:
                    checksum = made.with_suffix(".sha256")
                    checksum.write_text(hashlib.sha256(made.read_bytes()).hexdigest())
                    os.replace(made, library)
                    os.replace(checksum, library.with_suffix(".sha256"))
                    return
                errors = done.stderr or done.stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{compiler} could not be run: {error}") from error
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no message"]
    first = next((line for line in lines if "error" in line), lines[0])
    raise BuildError(f"{compiler} failed: {first}")


def _whole(library: Path) -> bool:
    """Whether the file is there with the content that the compiler wrote."""
    try:
        stated = library.with_suffix(".sha256").read_text()
        return hashlib.sha256(library.read_bytes()).hexdigest() == stated
    except OSError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, where the file system has them."""
    import fcntl  # not on Windows, which find no compiled path (see cpu.py)

    with path.open("a") as file:
        with contextlib.suppress(OSError):  # no locks here: two may build, the renames still hold
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path("~/Library/Caches").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


@functools.cache
def _version(compiler: str) -> str:
    """What the compiler says of itself."""
    try:
        command = [compiler, "--version"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{compiler} could not be run: {error}") from error


@functools.cache
def _processor() -> str:
    """What "native" means here."""
    parts = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = ("model name", "flags", "Features")
        parts += [next((line for line in lines if line.startswith(name)), "") for name in names]
    return "\n".join(parts)
