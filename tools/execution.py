"""Running notebooks, and remembering what came out.

One execution serves twice: whatever ran to its end (while a twin is made, or under nbval) is
put into Jupyter Book's own cache, so that the book shows it without running it again.
"""

import json
import os
import shutil
import time
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbclient import NotebookClient
from nbformat import NotebookNode

from tools.sources import BUILD, ROOT, code_cells, relative, shared_hash

CELL_TIMEOUT = 120  # seconds
CACHE = BUILD / ".jupyter_cache"
DOCTREES = BUILD / ".doctrees"
EXECUTED = BUILD / "executed"  # notebooks that ran under nbval, on their way into the cache
PASSED = BUILD / "passed"  # for each twin, the fingerprint with which nbval passed
RUN_TIMES = BUILD / "run-times"  # for each source, the seconds of its latest run
_SHARED_STAMP = BUILD / ".shared-hash"


def forget_if_changed() -> None:
    """Drop all remembered outputs if the package, or what else they depend on, has changed.

    Neither cache knows of this by itself: their keys are made from a notebook's own cells.
    """
    now = shared_hash()
    if _SHARED_STAMP.exists() and _SHARED_STAMP.read_text(encoding="utf-8") == now:
        return
    for folder in (CACHE, DOCTREES, EXECUTED, PASSED):
        shutil.rmtree(folder, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    _SHARED_STAMP.write_text(now, encoding="utf-8")


def execute(notebook: NotebookNode, folder: Path) -> float:
    """Run a notebook's cells in place, in a fresh kernel, from `folder`; give the seconds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    begin = time.perf_counter()
    client.execute()
    return time.perf_counter() - begin


def as_sphinx_reads(source: Path) -> NotebookNode:
    """A source in the form from which the keys of Jupyter Book's cache are made."""
    text = source.read_text(encoding="utf-8")
    config = MdParserConfig(enable_extensions=set(_myst_extensions()))
    return read_myst_markdown_notebook(text, config, add_source_map=True, path=source)


def is_remembered(source: Path) -> bool:
    """Whether Jupyter Book's cache has the outputs of a source."""
    try:
        get_cache(CACHE).match_cache_notebook(as_sphinx_reads(source))
    except KeyError:
        return False
    return True


def remember(source: Path, executed: NotebookNode, seconds: float) -> None:
    """Put the outputs of a notebook that ran to its end into Jupyter Book's cache."""
    if not source.is_relative_to(ROOT):
        return
    notebook = as_sphinx_reads(source)
    ours, theirs = code_cells(executed), code_cells(notebook)
    if [cell.source for cell in ours] != [cell.source for cell in theirs]:
        raise ValueError(f"{relative(source)}: Jupytext and MyST-NB read different code cells")
    for number, (cell, shown) in enumerate(zip(ours, theirs, strict=True), start=1):
        shown.outputs, shown.execution_count = cell.outputs, number
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    bundle = CacheBundleIn(notebook, str(source), data={"execution_seconds": seconds})
    get_cache(CACHE).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    record_time(source, seconds)


def record_time(source: Path, seconds: float) -> None:
    """Note how long a notebook took; the status page is made from these notes."""
    note = (RUN_TIMES / relative(source)).with_suffix(".json")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"seconds": round(seconds, 1)}), encoding="utf-8")


def remember_all() -> int:
    """Move what ran under nbval into Jupyter Book's cache; give the number of notebooks."""
    found = sorted(EXECUTED.glob("**/*.ipynb"))
    for path in found:
        notebook = nbformat.read(path, as_version=4)
        seconds = notebook.metadata.pop("seconds")
        source = ROOT / path.relative_to(EXECUTED).with_suffix(".md")
        if source.exists():
            remember(source, notebook, seconds)
        path.unlink()
    return len(found)


def _myst_extensions() -> list[str]:
    """The Markdown extensions that the book turns on, which decide where cells begin and end."""
    config = ROOT / "_config.yml"
    if not config.exists():
        return []
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    return list(settings.get("parse", {}).get("myst_enable_extensions", []))
