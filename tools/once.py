"""Run a command, unless it has succeeded before on exactly the files that are there now.

    python -m tools.once NAME COMMAND...

So `make test` is quick when nothing changed. ``make test AGAIN=yes`` runs everything anyway.
"""

import os
import subprocess
import sys

from tools.environment import STAMP as ENVIRONMENT
from tools.sources import BUILD, ROOT, fingerprint, repository_files


def once(name: str, command: list[str]) -> int:
    """Run the command if it has to run, note a success, and give its exit status."""
    stamp = BUILD / "succeeded" / name
    now = fingerprint([*repository_files(), *([ENVIRONMENT] if ENVIRONMENT.exists() else [])])
    known = stamp.read_text(encoding="utf-8") if stamp.exists() else None
    if known == now and not os.environ.get("AGAIN"):
        print("Nothing changed since these tests passed.")
        return 0
    stamp.unlink(missing_ok=True)
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status == 0:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(now, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(once(sys.argv[1], sys.argv[2:]))
