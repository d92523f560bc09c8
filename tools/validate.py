"""Run the notebooks under nbval: every cell must run, every checked output must come again.

    python tools/validate.py          # notebooks that changed since they passed
    python tools/validate.py --all    # every notebook

A notebook that passed is not run again until its twin, the package or anything else that its
outputs depend on has changed. Its outputs go into Jupyter Book's cache.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tools.execution import CELL_TIMEOUT, EXECUTED, PASSED, forget_if_changed, remember_all
from tools.sources import ROOT, relative, shared_hash, sources, twin_of

JOBS = 2


def fingerprint(twin: Path) -> str:
    """What decides whether a notebook would run as it did before."""
    return hashlib.sha256(shared_hash().encode() + twin.read_bytes()).hexdigest()


def stamp_of(twin: Path) -> Path:
    """Where the fingerprint of a twin that passed is noted."""
    return PASSED / relative(twin)


def has_passed(twin: Path) -> bool:
    """Whether nbval has passed on the twin as it is now."""
    stamp = stamp_of(twin)
    return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint(twin)


def run(twins: list[Path]) -> int:
    """Run notebooks under nbval, two at a time; give pytest's exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env"]
    command += [f"--nbval-cell-timeout={CELL_TIMEOUT}", "-p", "tools.nbval_plugin"]
    command += ["--nbval-kernel-startup-timeout=300"]  # a busy machine needs its time
    command += ["-n", str(min(JOBS, len(twins))), "--dist", "loadfile", *map(str, twins)]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run what has to run, and note what passed."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--all", action="store_true", help="run the ones that passed before too")
    options = parser.parse_args()
    forget_if_changed()
    twins = [twin_of(source) for source in sources()]
    if missing := [relative(twin) for twin in twins if not twin.exists()]:
        print(f"no twin yet: {', '.join(missing)}: run `make notebooks`", file=sys.stderr)
        return 1
    if not twins:
        print("no notebooks found", file=sys.stderr)
        return 1
    due = [twin for twin in twins if options.all or not has_passed(twin)]
    print(f"{len(due)} of {len(twins)} notebooks to run; the others passed as they are now.")
    if not due:
        return 0
    for twin in due:
        stamp_of(twin).unlink(missing_ok=True)
    status = run(due)
    for twin in due:
        if (EXECUTED / relative(twin)).exists():
            stamp_of(twin).parent.mkdir(parents=True, exist_ok=True)
            stamp_of(twin).write_text(fingerprint(twin), encoding="utf-8")
    print(f"{remember_all()} notebooks kept for the book.")
    return status


if __name__ == "__main__":
    sys.exit(main())
