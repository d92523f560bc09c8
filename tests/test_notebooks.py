"""Chapters and exercises as notebooks: twins in step, checks that check, figures described."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache
from myst_nb.core.read import read_myst_markdown_notebook
from nbformat import NotebookNode

from tools import execution, notebooks, status
from tools.sources import (
    CHECKED,
    ROOT,
    code_cells,
    exercises,
    is_notebook,
    read_source,
    relative,
    sources,
    tags,
    twin_of,
)

SOURCES = sources()
CHAPTERS = [page for page in SOURCES if page.is_relative_to(ROOT / "book")]

each_source = pytest.mark.parametrize("source", SOURCES, ids=relative)
each_chapter = pytest.mark.parametrize("source", CHAPTERS, ids=relative)

STALE = "not in step: run `make notebooks`"

# A cell that draws a figure: these calls outside of a function.
DRAWS = re.compile(r"^\S.*\b(?:plt\.(?:subplots|figure|show)|kl\.plot_\w+)\(|^plt\.show", re.M)

SMALL = """\
# A small page

```{code-cell} ipython3
from myst_nb import glue
```

```{code-cell} ipython3
:tags: [nbval-check-output]

glue("third", 1 / 3, display=False)
print(f"{2 / 3:.3f}")
```

```{code-cell} ipython3
print("not kept")
```
"""


def checked_cells(source: Path) -> list[NotebookNode]:
    """The cells of a twin whose outputs nbval compares."""
    twin = nbformat.read(twin_of(source), as_version=4)
    return [cell for cell in code_cells(twin) if CHECKED in tags(cell)]


def text_of(cell: NotebookNode) -> str:
    """All text among a cell's outputs."""
    outputs = [{k: v for k, v in output.items() if k != "metadata"} for output in cell.outputs]
    return json.dumps(outputs, ensure_ascii=False)


# --- the book's own notebooks ---------------------------------------------------------------


def test_every_chapter_has_its_exercises() -> None:
    names = {relative(page) for page in SOURCES}
    assert {"book/splines/b-splines.md", "book/kans/a-kan-layer.md"} <= names
    chapters = {page.relative_to(ROOT / "book") for page in CHAPTERS}
    chapters = {page for page in chapters if len(page.parts) > 1}  # not the appendix
    assert {page.relative_to(ROOT / "exercises") for page in exercises()} == chapters


@each_source
def test_twin_is_what_its_source_gives(source: Path) -> None:
    twin = notebooks.carried_over(source)
    assert twin is not None, STALE
    assert notebooks.as_text(twin) == twin_of(source).read_text(encoding="utf-8"), STALE


@each_source
def test_first_code_cell_fetches_the_book_on_colab(source: Path) -> None:
    assert notebooks.with_header(source) == source.read_text(encoding="utf-8"), STALE
    first = code_cells(read_source(source))[0]
    assert notebooks.HEADER_MARK in first.source
    assert tags(first) == ["remove-cell"]


@each_source
def test_checked_cells_are_really_compared(source: Path) -> None:
    """nbval passes over a tagged cell that has no execution count or no stored output."""
    for cell in checked_cells(source):
        assert cell.execution_count is not None, cell.source
        assert cell.outputs, f"nothing to compare: {cell.source}"
        assert any("scrapbook" not in output.get("metadata", {}) for output in cell.outputs)


@each_chapter
def test_chapter_checks_at_least_five_cells(source: Path) -> None:
    assert len(checked_cells(source)) >= 5


@each_source
def test_checked_outputs_are_not_accidental(source: Path) -> None:
    for cell in checked_cells(source):
        assert not re.search(r"0x[0-9a-f]{6,}", text_of(cell)), f"an address: {cell.source}"
        assert "<Figure" not in text_of(cell), f"a figure's text: {cell.source}"
        assert "image/" not in text_of(cell)


@each_source
def test_figures_are_shown_and_described(source: Path) -> None:
    for cell in code_cells(read_source(source)):
        if not DRAWS.search(cell.source):
            continue
        assert re.search(r"^plt\.show\(\)", cell.source, re.M), f"not shown: {cell.source}"
        shown = cell.metadata.get("mystnb", {})
        alt = shown.get("image", {}).get("alt", "")
        assert len(alt) >= 30, f"alternative text that says what the figure shows: {cell.source}"
        if source in CHAPTERS:
            assert shown.get("figure", {}).get("caption"), f"no caption: {cell.source}"


@each_source
def test_images_in_the_text_are_described(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert not re.search(r"!\[\s*\]\(", text)
    for block in re.findall(r"^(?:`{3,}|:{3,})\{(?:figure|image)\}.*\n((?::.*\n)*)", text, re.M):
        assert re.search(r"^:alt: \S", block, re.MULTILINE)


@each_source
def test_cited_numbers_come_from_cells(source: Path) -> None:
    cited = set(re.findall(r"\{glue:text\}`([^`:]+)", source.read_text(encoding="utf-8")))
    glued = {
        output.metadata.scrapbook.name
        for cell in code_cells(nbformat.read(twin_of(source), as_version=4))
        for output in cell.outputs
        if "scrapbook" in output.get("metadata", {})
    }
    assert cited <= glued


@each_source
def test_no_proof_by_intimidation(source: Path) -> None:
    prose = "\n".join(c.source for c in read_source(source).cells if c.cell_type == "markdown")
    assert not re.search(r"\b(obviously|trivially|it is (easy|clear) to see)\b", prose, re.I)


def test_no_notebook_without_a_source() -> None:
    assert notebooks.leftovers() == []


# --- the generator --------------------------------------------------------------------------


def test_other_pages_are_not_notebooks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("---\nkernelspec:\n  name: python3\n---\n# Page\n", encoding="utf-8")
    assert not is_notebook(page)


def test_build_keeps_what_is_needed_and_repeats_to_the_byte(
    write_source: Callable[[str], Path],
) -> None:
    source = write_source(SMALL)
    assert notebooks.build([source]) == 0
    first = twin_of(source).read_bytes()
    assert notebooks.build([source], everything=True) == 0
    assert twin_of(source).read_bytes() == first
    imports, checked, other = code_cells(nbformat.read(twin_of(source), as_version=4))
    assert (imports.outputs, imports.execution_count) == ([], None)
    assert (other.outputs, other.execution_count) == ([], None)
    assert checked.execution_count == 2
    glued, printed = checked.outputs
    assert glued.data[notebooks.GLUE + "text/plain"] == "0.3333333333"
    assert printed.text == "0.667\n"


def test_text_may_change_without_a_run(
    write_source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(SMALL)
    notebooks.build([source])
    monkeypatch.setattr(notebooks, "execute", None)  # a run would fail now
    source.write_text(source.read_text().replace("A small page", "Another title"))
    assert notebooks.check([source]) > 0
    assert notebooks.build([source]) == 0
    assert "Another title" in twin_of(source).read_text()
    assert "0.667" in twin_of(source).read_text()


def test_check_names_a_stale_twin_and_the_way_out(
    write_source: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(notebooks.header() + "\n```{code-cell} ipython3\nprint(1)\n```\n")
    assert notebooks.build([source]) == 0
    assert notebooks.check([source]) == 0
    source.write_text(source.read_text().replace("print(1)", "print(2)"))
    assert notebooks.check([source]) == 1
    printed = capsys.readouterr().out
    assert twin_of(source).name in printed
    assert "make notebooks" in printed


def test_check_by_running_compares_what_is_checked_and_not_what_is_glued(
    write_source: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(notebooks.with_header(write_source(SMALL)))
    assert notebooks.build([source]) == 0
    assert notebooks.check([source], times=1) == 0
    ran = notebooks.executed

    def with_change(old: str, new: str) -> Callable[[Path], NotebookNode]:
        return lambda page: nbformat.reads(
            notebooks.as_text(ran(page)).replace(old, new), as_version=4
        )

    monkeypatch.setattr(notebooks, "executed", with_change("0.3333333333", "0.25"))  # glued
    assert notebooks.check([source], times=1) == 0
    monkeypatch.setattr(notebooks, "executed", with_change("0.667", "0.75"))  # printed
    assert notebooks.check([source], times=1) == 1


def test_a_failing_notebook_fails_the_build(
    write_source: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source("# Page\n\n```{code-cell} ipython3\n1 / 0\n```\n")
    assert notebooks.build([source]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not twin_of(source).exists()


def test_header_is_added_once_and_replaced(write_source: Callable[[str], Path]) -> None:
    source = write_source(SMALL)
    once = notebooks.with_header(source)
    assert once.count(notebooks.HEADER_MARK) == 1
    source.write_text(once.replace("https://", "https://elsewhere.invalid/"))
    assert notebooks.with_header(source) == once


def test_a_run_is_found_in_the_cache_of_the_book(
    write_source: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(SMALL)
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    monkeypatch.setattr(execution, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(execution, "RUN_TIMES", tmp_path / "times")
    ran = notebooks.plain(source)
    for number, cell in enumerate(code_cells(ran)):
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{number}\n")]
    execution.remember(source, ran, 1.5)
    as_sphinx_reads_it = read_myst_markdown_notebook(source.read_text(), path=source)
    _, merged = get_cache(tmp_path / "cache").merge_match_into_notebook(as_sphinx_reads_it)
    assert [cell.outputs[0].text for cell in code_cells(merged)] == ["0\n", "1\n", "2\n"]


# --- nbval ----------------------------------------------------------------------------------


def with_one_digit_changed(twin: Path) -> str:
    """The text of a twin in which one digit of a checked output is another one."""
    notebook = nbformat.read(twin, as_version=4)
    for cell in code_cells(notebook):
        for output in cell.outputs if CHECKED in tags(cell) else []:
            if output.output_type == "stream" and re.search(r"\d", output.text):
                output.text = re.sub(
                    r"\d", lambda m: str((int(m[0]) + 1) % 10), output.text, count=1
                )
                return notebooks.as_text(notebook)
    raise AssertionError(f"{twin} has no checked digit")


def quickest_twin() -> Path:
    """The twin of the source that ran fastest among those whose checked outputs hold a digit."""
    digits = re.compile(r'"text": "[^"]*\d')
    fit = [s for s in SOURCES if any(digits.search(text_of(c)) for c in checked_cells(s))]
    seconds = json.loads(status.DATA.read_text(encoding="utf-8"))["notebooks"]
    return twin_of(min(fit, key=lambda source: seconds[relative(source)]))


def test_one_changed_digit_fails_nbval_and_the_twin_itself_passes(tmp_path: Path) -> None:
    twin = quickest_twin()
    shutil.copy(twin, tmp_path / "untouched.ipynb")
    (tmp_path / "tampered.ipynb").write_text(with_one_digit_changed(twin), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--nbval-lax", "--nbval-current-env"]
    command += ["-p", "tools.nbval_plugin", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    command += ["--nbval-kernel-startup-timeout=300", "--color=no", "-c", os.devnull]
    command += [str(tmp_path)]  # one after the other: other tests run beside this one
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = re.findall(r"^FAILED (\S+)::", done.stdout, re.MULTILINE)
    assert [Path(name).name for name in failed] == ["tampered.ipynb"], done.stdout[-3000:]
    assert "Cell outputs differ" in done.stdout
    cells = 2 * len(code_cells(nbformat.read(twin, as_version=4)))
    assert f"1 failed, {cells - 1} passed" in done.stdout, done.stdout[-3000:]
