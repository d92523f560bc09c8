"""Build the site with Jupyter Book.

    python tools/build_book.py             # for reading: only what changed
    python tools/build_book.py --strict    # for testing: all pages anew, warnings are errors

If nothing changed since it was last built, nothing is done. Outputs of notebooks come from the
cache, which `tools/validate.py` fills; what is not there runs first, two notebooks at a time.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from nbformat import NotebookNode

from tools.execution import DOCTREES, execute, forget_if_changed, is_remembered, remember
from tools.notebooks import FAILURES, plain
from tools.sources import BUILD, ROOT, relative, site_hash, sources

HTML = BUILD / "html"
STAMP = BUILD / ".site-hash"
JOBS = 2


def is_up_to_date(*, strict: bool) -> bool:
    """Whether the site on disk was built from what is there now, and strictly if asked."""
    if not (STAMP.exists() and (HTML / "index.html").exists()):
        return False
    kind, _, built_from = STAMP.read_text(encoding="utf-8").partition(" ")
    return built_from == site_hash() and (kind == "strict" or not strict)


def run(source: Path) -> tuple[NotebookNode, float] | str:
    """Run a notebook; give it with its outputs and the seconds it took, or what went wrong."""
    notebook = plain(source)
    try:
        return notebook, execute(notebook, source.parent)
    except FAILURES as error:
        return str(error)


def run_missing() -> int:
    """Run the notebooks whose outputs are not in the cache; give the number of failures."""
    due = [source for source in sources() if not is_remembered(source)]
    if not due:
        return 0
    print(f"Running {len(due)} notebooks, {JOBS} at a time.", flush=True)
    failures = 0
    with ProcessPoolExecutor(JOBS, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run, source): source for source in due}
        for done in as_completed(running):
            source, result = running[done], done.result()
            if isinstance(result, str):
                print(f"{relative(source)} failed:\n{result}", file=sys.stderr)
                failures += 1
                continue
            notebook, seconds = result
            remember(source, notebook, seconds)
            print(f"  {relative(source)}: ran in {seconds:.0f} s", flush=True)
    return failures


def build(*, strict: bool) -> int:
    """Run Jupyter Book; give its exit status."""
    forget_if_changed()
    if is_up_to_date(strict=strict):
        print("The book is up to date.")
        return 0
    STAMP.unlink(missing_ok=True)
    if run_missing():
        return 1
    if strict:  # an incremental build warns only about the pages that it reads again
        for folder in (DOCTREES, HTML):
            shutil.rmtree(folder, ignore_errors=True)
    before = site_hash()
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "."]
    command += ["-n", "-W", "--keep-going"] if strict else []
    environment = {"OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", **os.environ}
    begin = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if status:
        shutil.rmtree(DOCTREES, ignore_errors=True)  # so that it warns again
        print("The book was not built; its messages are above.", file=sys.stderr)
        return status
    STAMP.write_text(f"{'strict' if strict else 'plain'} {before}", encoding="utf-8")
    print(f"Built in {time.monotonic() - begin:.0f} s.")
    return 0


def main() -> int:
    """Build, then say where to find the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--strict", action="store_true", help="all pages, warnings are errors")
    status = build(strict=parser.parse_args().strict)
    if status == 0:
        print(f"Open {HTML / 'index.html'} in a browser, or run `make serve`.")
    return status


if __name__ == "__main__":
    sys.exit(main())
