"""Notebooks from their MyST sources: twins, students' copies, Colab headers.

    python tools/notebooks.py build            # twins whose source changed (--all: every one)
    python tools/notebooks.py student          # students' copies of the exercises
    python tools/notebooks.py headers          # the Colab cell at the top of every source
    python tools/notebooks.py check            # fail where one of these is not in step
    python tools/notebooks.py check --execute  # the same, and run everything to compare outputs

A twin (``.ipynb`` beside the ``.md``) keeps the outputs of the cells tagged
``nbval-check-output``, since nbval compares with them, and the numbers given to ``glue``, since
the ledger of claims cites them. Figures stay out: the site shows them, and they would make
every repository clone heavier. A twin is never edited by hand.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from tools.address import address
from tools.execution import execute, forget_if_changed, remember
from tools.sources import (
    CHECKED,
    ROOT,
    code_cells,
    exercises,
    read_source,
    relative,
    relink,
    sources,
    student_of,
    tags,
    twin_of,
)
from tools.student import student_copy

GLUE = "application/papermill.record/"
GLUE_DIGITS = 10
HEADER_MARK = "# On Colab, fetch the book's code; elsewhere, do nothing."
_HEADER = """\
```{{code-cell}} ipython3
:tags: [remove-cell]

{mark}
import sys

if "google.colab" in sys.modules:
    import subprocess

    clone = ["git", "clone", "--quiet", "--depth=1", "{repository}"]
    subprocess.run([*clone, "/content/book"], check=False)
    sys.path.insert(0, "/content/book")
```
"""

FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


def plain(source: Path) -> NotebookNode:
    """The twin of a source before anything has run: cells with deterministic ids."""
    read = read_source(source)
    twin = nbformat.v4.new_notebook()
    twin.nbformat, twin.nbformat_minor = 4, 5
    kept = {key: value for key, value in read.metadata.items() if key != "jupytext"}
    twin.metadata = nbformat.from_dict({**kept, "language_info": {"name": "python"}})
    seen: Counter[str] = Counter()
    for cell in read.cells:
        key = f"{cell.cell_type}\0{cell.source}"
        seen[key] += 1
        cell.id = hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:8]
        twin.cells.append(cell)
    return twin


def kept_outputs(cell: NotebookNode, outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What a twin keeps of a cell's outputs: all text of a checked cell, else glued values."""
    kept = []
    for output in outputs:
        glued = "scrapbook" in output.get("metadata", {})
        if not (glued or CHECKED in tags(cell)):
            continue
        output = nbformat.from_dict(output)
        if "data" in output:
            text = {mime: d for mime, d in output.data.items() if "image/" not in mime}
            output.data = {mime: _rounded(d) if glued else d for mime, d in text.items()}
        if output.get("data", True):
            kept.append(output)
    return kept


def _rounded(value: object) -> object:
    """A glued float with the digits that do not depend on the machine's last bits."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", value):
        return (
            value if value.lstrip("-").isdigit() else repr(float(f"{float(value):.{GLUE_DIGITS}g}"))
        )
    return value


def fill(twin: NotebookNode, outputs: list[list[NotebookNode]]) -> NotebookNode:
    """Put outputs, one list for each code cell, into a twin that has none."""
    for number, (cell, found) in enumerate(zip(code_cells(twin), outputs, strict=True), start=1):
        cell.outputs = kept_outputs(cell, found)
        run = bool(cell.outputs) or CHECKED in tags(cell)
        cell.execution_count = number if run else None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    return twin


def as_text(notebook: NotebookNode) -> str:
    """A notebook as the bytes that are committed."""
    return str(nbformat.writes(notebook, version=nbformat.NO_CONVERT)).rstrip("\n") + "\n"


def carried_over(source: Path) -> NotebookNode | None:
    """The twin with the outputs that its file already has, or None if its code has changed."""
    path = twin_of(source)
    if not path.exists():
        return None
    new, old = plain(source), nbformat.read(path, as_version=4)
    mine, theirs = code_cells(new), code_cells(old)
    if [(c.source, tags(c)) for c in mine] != [(c.source, tags(c)) for c in theirs]:
        return None
    if any(CHECKED in tags(c) and c.execution_count is None for c in theirs):
        return None
    return fill(new, [cell.outputs for cell in theirs])


def executed(source: Path) -> NotebookNode:
    """The twin with outputs from a run of its own, which the book can then use as well."""
    ran = plain(source)
    seconds = execute(ran, source.parent)
    remember(source, ran, seconds)
    print(f"  {relative(source)}: ran in {seconds:.1f} s", flush=True)
    return fill(plain(source), [cell.outputs for cell in code_cells(ran)])


def checked_outputs(twin: NotebookNode) -> list[list[NotebookNode]]:
    """Of each checked cell, the outputs that have to come again."""
    return [
        [output for output in cell.outputs if "scrapbook" not in output.get("metadata", {})]
        for cell in code_cells(twin)
        if CHECKED in tags(cell)
    ]


def build(pages: list[Path], *, everything: bool = False) -> int:
    """Write the twins that are not in step; give the number of failures."""
    forget_if_changed()
    failures = 0
    for source in pages:
        twin = None if everything else carried_over(source)
        try:
            text = as_text(twin if twin is not None else executed(source))
        except FAILURES as error:
            print(f"{relative(source)} failed:\n{error}", file=sys.stderr)
            failures += 1
            continue
        _write(twin_of(source), text)
    return failures


def check(pages: list[Path], *, times: int = 0) -> int:
    """Say which generated files are not in step, after running everything `times` times."""
    forget_if_changed()
    stale = [
        *(twin_of(page) for page in pages if not _twin_in_step(page, times)),
        *(page for page in pages if with_header(page) != page.read_text(encoding="utf-8")),
        *(copy for copy, text in student_copies(pages).items() if _read(copy) != text),
        *(path for path in leftovers() if pages == sources()),
    ]
    for path in stale:
        print(f"{relative(path)} is not in step with its source: run `make notebooks`")
    return len(stale)


def _twin_in_step(source: Path, times: int) -> bool:
    """Whether the twin is what its source gives, its checked outputs in `times` fresh runs too.

    Numbers given to glue are not compared, as by nbval: some pages measure time.
    """
    carried = carried_over(source)
    if carried is None or as_text(carried) != _read(twin_of(source)):
        return False
    try:
        expected = checked_outputs(carried)
        return all(checked_outputs(executed(source)) == expected for _ in range(times))
    except FAILURES as error:
        print(f"{relative(source)} failed:\n{error}", file=sys.stderr)
        return False


def header() -> str:
    """The first code cell of every source, in MyST, with the repository's address."""
    return _HEADER.format(mark=HEADER_MARK, repository=address().repository)


def with_header(source: Path) -> str:
    """The text of a source whose first code cell is the Colab header."""
    text = source.read_text(encoding="utf-8")
    old = re.compile(
        r"```\{code-cell\}(?:(?!\n```\n).)*?" + re.escape(HEADER_MARK) + r".*?\n```\n", re.S
    )
    if old.search(text):
        return old.sub(lambda _: header(), text, count=1)
    first = re.search(r"^```+\{code-cell\}", text, re.MULTILINE)
    if first is None:
        return text
    return text[: first.start()] + header() + "\n" + text[first.start() :]


def headers(pages: list[Path]) -> int:
    """Write the Colab header into the sources."""
    for page in pages:
        _write(page, with_header(page))
    return 0


def student_copies(pages: list[Path]) -> dict[Path, str]:
    """The text of each student copy, by its path."""
    copies = {}
    for page in (page for page in exercises() if page in pages):
        path, copy = student_of(page), student_copy(plain(page))
        for cell in copy.cells:
            if cell.cell_type == "markdown":
                cell.source = relink(cell.source, page.parent, path.parent)
        copies[path] = as_text(copy)
    return copies


def students(pages: list[Path]) -> int:
    """Write the students' copies."""
    for path, text in student_copies(pages).items():
        _write(path, text)
    return 0


def leftovers() -> list[Path]:
    """Generated notebooks whose source is gone."""
    made = {twin_of(page) for page in sources()} | {student_of(page) for page in exercises()}
    found = [*ROOT.glob("book/**/*.ipynb"), *ROOT.glob("exercises/**/*.ipynb")]
    return sorted(path for path in set(found) - made if ".ipynb_checkpoints" not in path.parts)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    """Write a file if that changes it."""
    if _read(path) == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"  wrote {relative(path)}", flush=True)


def main() -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("command", choices=["build", "check", "headers", "student"])
    parser.add_argument("pages", nargs="*", type=Path, help="sources (default: all of them)")
    parser.add_argument("--all", action="store_true", help="build: run every notebook")
    parser.add_argument("--execute", action="store_true", help="check: run the notebooks too")
    parser.add_argument("--times", type=int, default=1, help="check --execute: how many times")
    options = parser.parse_args()
    pages = [page.resolve() for page in options.pages] or sources()
    commands: dict[str, Callable[[], int]] = {
        "build": lambda: build(pages, everything=options.all),
        "check": lambda: check(pages, times=options.times if options.execute else 0),
        "headers": lambda: headers(pages),
        "student": lambda: students(pages),
    }
    return min(1, commands[options.command]())


if __name__ == "__main__":
    sys.exit(main())
