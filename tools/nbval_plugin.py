"""A pytest plugin beside nbval: what a notebook gave is kept for the book.

Use with ``pytest --nbval-lax -p tools.nbval_plugin``. A notebook whose cells all pass is
written, with its outputs, to ``_build/executed``; `tools.execution.remember_all` puts it into
Jupyter Book's cache afterwards. Values given to ``glue`` are left out of the comparison: they
have all digits, the checked text beside them has those that are claimed.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile

from tools.execution import EXECUTED
from tools.sources import ROOT, code_cells

GLUE_PREFIX = "application/papermill.record/"
_OUTPUTS = {"stream", "display_data", "execute_result"}


@dataclass
class Run:
    """How far a notebook has come: outputs of its cells so far, and its time."""

    cells: int = 0
    outputs: list[list[NotebookNode]] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False


RUNS = pytest.StashKey[dict[Path, Run]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no notebooks."""
    config.stash[RUNS] = defaultdict(Run)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count the cells of each notebook, and keep nbval from comparing glued values."""
    for item in items:
        if isinstance(item, IPyNbCell) and isinstance(item.parent, IPyNbFile):
            config.stash[RUNS][item.path].cells += 1
            skipped = set(item.parent.skip_compare)
            glued = {GLUE_PREFIX + mime for mime in ("text/plain", "text/html", "text/latex")}
            item.parent.skip_compare = tuple(sorted(skipped | glued | {GLUE_PREFIX + "image/png"}))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Collect a cell's outputs; after a notebook's last cell, keep it if all went well."""
    report: pytest.TestReport = yield
    if isinstance(item, IPyNbCell):
        run = item.config.stash[RUNS][item.path]
        run.seconds += call.duration
        run.failed = run.failed or not report.passed
        if call.when == "call":
            run.outputs.append(list(item.test_outputs or []))
            if len(run.outputs) == run.cells and not run.failed:
                keep(item.path, run)
    return report


def keep(path: Path, run: Run) -> None:
    """Write a notebook that passed, with the outputs of this run, for the book to use."""
    kinds = {output.output_type for cell in run.outputs for output in cell}
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    if not path.is_relative_to(ROOT) or len(cells) != len(run.outputs) or not kinds <= _OUTPUTS:
        return
    for number, (cell, outputs) in enumerate(zip(cells, run.outputs, strict=True), start=1):
        cell.outputs, cell.execution_count = outputs, number
    notebook.metadata["seconds"] = run.seconds
    target = EXECUTED / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
