"""The status page, ``book/status.md``: versions, machine, and how long each notebook ran.

    python tools/status.py --measure   # from the latest runs: writes the data and the page
    python tools/status.py             # the page again, from the data
    python tools/status.py --check     # fail where the page is not what the data gives

The data, ``book/_static/status.json``, is committed and changes only when it is measured anew
(`make status`), so that building the book leaves the tree clean.
"""

import argparse
import datetime
import json
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.execution import RUN_TIMES
from tools.sources import ROOT, relative, sources, title

DATA = ROOT / "book" / "_static" / "status.json"
PAGE = ROOT / "book" / "status.md"
LIMIT = 90  # seconds that a notebook may take on two cores
PACKAGES = ("torch", "numpy", "scipy", "matplotlib", "jupyter-book", "sphinx", "myst-nb", "nbval")

_PAGE = """\
# Versions and run times

<!-- Made from _static/status.json by `make status`: do not edit. -->

Every notebook of the book is run from its first cell to its last whenever the book is tested, and
its checked outputs have to come again. This page says on what machine, with which versions, and how
long it took when it was last measured, on {measured}. The times hold the start of a fresh Python
process and its imports; two notebooks ran at a time, each on one thread. A notebook may take
{limit} seconds at most; the longest took {longest:.0f}.

## Machine

| part | what it is |
|---|---|
| processor | {processor} |
| cores | {cores} |
| memory | {memory} GiB |
| system | {system} |
| Python | {python} |

## Run times

| notebook | seconds |
|---|---:|
{notebooks}

All {count} notebooks together took {total:.0f} seconds of running time.

## Versions

| package | version |
|---|---|
{packages}

These are the versions that the book is built and tested with; `requirements.txt` pins every package
below them too. The package `kanlite` itself runs with much else: its own needs are ranges.
"""


def measure() -> dict[str, Any]:
    """The data of the status page, from the latest run of each notebook on this machine."""
    seconds = {relative(page): _seconds(page) for page in sources()}
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "packages": {name: version(name) for name in PACKAGES},
        "notebooks": seconds,
    }


def machine() -> dict[str, Any]:
    """What the machine is: its processor and system, never its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def page(data: dict[str, Any]) -> str:
    """The text of the status page."""
    times = {name: spent for name, spent in data["notebooks"].items() if (ROOT / name).exists()}
    here = data["machine"]
    return _PAGE.format(
        measured=data["measured"],
        limit=LIMIT,
        longest=max(times.values()),
        processor=here["processor"],
        cores=here["cores"],
        memory=here["memory_gib"],
        system=here["system"],
        python=here["python"],
        notebooks="\n".join(_line(name, spent) for name, spent in times.items()),
        count=len(times),
        total=sum(times.values()),
        packages="\n".join(f"| {name} | {number} |" for name, number in data["packages"].items()),
    )


def _line(name: str, spent: float) -> str:
    """A notebook's row, linked to its page."""
    kind = "exercises, solved: " if name.startswith("exercises/") else ""
    target = os.path.relpath(ROOT / name, PAGE.parent)
    return f"| {kind}[{title(ROOT / name)}]({Path(target).as_posix()}) | {spent:.1f} |"


def _seconds(source: Path) -> float:
    """How long a notebook's latest run took."""
    note = (RUN_TIMES / relative(source)).with_suffix(".json")
    if not note.exists():
        raise FileNotFoundError(f"{relative(source)} has not been run here: `make status` does it")
    return float(json.loads(note.read_text(encoding="utf-8"))["seconds"])


def _processor() -> str:
    """The processor's model, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists() and (
        model := re.search(r"^model name\s*: *(.+)$", info.read_text(encoding="utf-8"), re.M)
    ):
        return model[1].strip()
    return platform.processor() or platform.machine()


def main() -> int:
    """Measure, write the page, or check it."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--measure", action="store_true", help="write the data anew")
    parser.add_argument("--check", action="store_true", help="fail where the page is stale")
    options = parser.parse_args()
    if options.measure:
        DATA.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
        print(f"  wrote {relative(DATA)}")
    if not DATA.exists():
        print("nothing has been measured yet: run `make status`", file=sys.stderr)
        return int(options.check)
    text = page(json.loads(DATA.read_text(encoding="utf-8")))
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if options.check:
        print(f"{relative(PAGE)} is not in step: run `make notebooks`", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"  wrote {relative(PAGE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
