"""Make the environment, ``.venv``, from requirements.txt: fast where uv can be had, else with pip.

    python3 tools/environment.py           # make it, or say that it is up to date
    python3 tools/environment.py --lock    # write requirements.txt anew from pyproject.toml

This file runs on the machine's own Python and uses nothing else. PyTorch is installed first and
with pip, since pip knows of the wheels that a machine keeps for it (a CPU build, say); everything
else follows with uv. Set TORCH_INDEX to the address of an index with other PyTorch builds.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
REQUIREMENTS = ROOT / "requirements.txt"
STAMP = VENV / ".made-from"
OLDEST = (3, 11)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# PyTorch asks for these by itself where it needs them; a CPU build does not.
GPU_ONLY = re.compile(r"^(nvidia-|cuda-)")
LINUX_ONLY = re.compile(r"^(triton==\S+)$")
LOCK_HEADER = (
    "# Made by `make lock` from pyproject.toml: what building and testing the book was tried with."
)


def say(text: str) -> None:
    """One line of progress."""
    print(f"[environment] {text}", flush=True)


def run(*command: object, quiet: bool = False) -> bool:
    """Run a command and tell whether it succeeded."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run([str(c) for c in command], stdout=sink, stderr=sink).returncode == 0


def fail(text: str) -> "SystemExit":
    """An error that tells the reader what to do."""
    return SystemExit(f"\n[environment] {text}\n")


def fingerprint() -> str:
    """What the environment was made from: the requirements, the Python, and where it lies."""
    python = ".".join(map(str, sys.version_info[:3]))
    parts = REQUIREMENTS.read_text(encoding="utf-8"), python, str(ROOT)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_up_to_date() -> bool:
    """Whether the environment was made from what is there now."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == fingerprint()


def create() -> None:
    """Make an empty environment, unless there is one with the same Python, and pip."""
    version = "import pip, sys; raise SystemExit(sys.version_info[:2] != {})"
    if PYTHON.exists() and run(
        PYTHON, "-c", version.format(tuple(sys.version_info[:2])), quiet=True
    ):
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    if not run(sys.executable, "-m", "venv", "--clear", VENV):
        shutil.rmtree(VENV, ignore_errors=True)
        raise fail(
            "Python could not make a virtual environment. On Debian and Ubuntu the module venv "
            "is a package of its own: apt-get install python3-venv"
        )


def pip(*arguments: object) -> bool:
    """Install with the environment's pip."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar"]
    options.append("on" if sys.stdout.isatty() else "off")
    return run(PYTHON, "-m", "pip", "install", "--quiet", *options, *arguments)


def pinned(package: str) -> str:
    """A package's line in requirements.txt."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    found = re.search(rf"^{package}==\S+", text, re.MULTILINE)
    if found is None:
        raise fail(f"requirements.txt does not pin {package}: run `make lock`")
    return found[0]


def install_torch() -> None:
    """Install PyTorch alone, with pip."""
    torch = pinned("torch")
    index = os.environ.get("TORCH_INDEX", "")
    say(f"installing {torch} with pip" + (f" from {index}" if index else ""))
    if not index and sys.platform == "linux":
        say(f"(if this downloads gigabytes that you do not need: make TORCH_INDEX={CPU_INDEX})")
    extra = ["--extra-index-url", index] if index else []
    if not pip("--constraint", REQUIREMENTS, *extra, torch):
        raise fail(f"pip could not install {torch}; its messages are above.")


def install_rest() -> None:
    """Install everything else, with uv if it can be had."""
    say("installing everything else in requirements.txt")
    has_uv = shutil.which("uv", path=str(BIN)) is not None or pip("uv")
    uv = shutil.which("uv", path=str(BIN))
    options = [] if sys.stdout.isatty() else ["--quiet"]
    if (
        has_uv
        and uv
        and run(uv, "pip", "install", *options, "--python", PYTHON, "-r", REQUIREMENTS)
    ):
        return
    say("uv is not to be had here: going on with pip, which takes longer")
    if not pip("-r", REQUIREMENTS):
        raise fail("pip could not install requirements.txt; its messages are above.")


def add_repository_to_path() -> None:
    """Let kanlite, the exercises' checks and the book's helpers be imported from anywhere."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = subprocess.run(
        [str(PYTHON), "-c", where], capture_output=True, text=True, check=True
    ).stdout.strip()
    Path(purelib, "kanlite-book.pth").write_text(f"{ROOT}\n", encoding="utf-8")


def make() -> None:
    """Make the environment if it is not up to date."""
    if sys.version_info < OLDEST:
        have, need = (".".join(map(str, v[:2])) for v in (sys.version_info, OLDEST))
        raise fail(
            f"Python {need} or newer is needed, but this is {have}. "
            "Name another one like this: make PYTHON=python3.12"
        )
    if is_up_to_date():
        return
    begin = time.monotonic()
    STAMP.unlink(missing_ok=True)
    create()
    install_torch()
    install_rest()
    add_repository_to_path()
    STAMP.write_text(fingerprint(), encoding="utf-8")
    say(f"ready after {time.monotonic() - begin:.0f} s")


def lock() -> None:
    """Pin everything that the groups in pyproject.toml ask for, less what only a GPU needs."""
    groups = ("--group", "book", "--group", "test")
    command = (BIN / "uv", "pip", "compile", ROOT / "pyproject.toml", *groups)
    options = ("--no-annotate", "--no-header", "--quiet", "--python", PYTHON)
    made = subprocess.run(
        [str(c) for c in (*command, *options)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise fail(f"uv could not resolve pyproject.toml:\n{made.stderr}")
    lines = [
        LINUX_ONLY.sub(r"\1; sys_platform == 'linux'", line)
        for line in made.stdout.splitlines()
        if not GPU_ONLY.match(line)
    ]
    REQUIREMENTS.write_text("\n".join([LOCK_HEADER, *lines, ""]), encoding="utf-8")
    say(f"wrote requirements.txt: {len(lines)} packages")


def main() -> None:
    """Make the environment, or pin it anew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lock", action="store_true", help="write requirements.txt anew")
    options = parser.parse_args()
    make()
    if options.lock:
        lock()


if __name__ == "__main__":
    main()
