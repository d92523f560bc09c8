"""The book's sources: which files are notebooks, what they hold, and what they depend on.

A *source* is a MyST Markdown notebook (``.md``). Its *twin* is the generated ``.ipynb`` beside
it; a *student copy* is an exercise without its solutions, under ``exercises/student``.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
STUDENT = Path("exercises/student")
CHECKED = "nbval-check-output"

# What a notebook's outputs depend on besides its own cells.
_SHARED = (
    "requirements.txt",
    "kanlite/**/*.py",
    "kanlite/**/*.c",
    "exercises/checks/*.py",
    "book/notebook.py",
    "benchmarks/**/*.json",
)
# What the site depends on besides the above.
_SITE = (
    "_config.yml",
    "_toc.yml",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "book/**/*",
    "exercises/**/*.md",
    "exercises/student/**/*.ipynb",
)


def sources(root: Path = ROOT) -> list[Path]:
    """All MyST notebooks among chapters and exercises, in alphabetical order."""
    pages = [*root.glob("book/**/*.md"), *root.glob("exercises/**/*.md")]
    return sorted(page for page in pages if is_notebook(page))


def exercises(root: Path = ROOT) -> list[Path]:
    """The exercises' sources, with solutions."""
    return [page for page in sources(root) if page.is_relative_to(root / "exercises")]


def is_notebook(page: Path) -> bool:
    """Whether a Markdown file's header makes it a notebook for Sphinx and Jupytext alike."""
    header = re.match(r"---\n(.*?)\n---\n", page.read_text(encoding="utf-8"), re.DOTALL)
    return header is not None and re.search(r"format_name: *myst\b", header[1]) is not None


def twin_of(source: Path) -> Path:
    """Where the generated notebook of a source lies."""
    return source.with_suffix(".ipynb")


def student_of(source: Path, root: Path = ROOT) -> Path:
    """Where the student copy of an exercise lies."""
    inner = source.relative_to(root / "exercises")
    return (root / STUDENT / inner).with_suffix(".ipynb")


def read_source(source: Path) -> NotebookNode:
    """The notebook that a source describes, without outputs."""
    return jupytext.read(source, fmt="md:myst")


def title(source: Path) -> str:
    """A page's first heading."""
    heading = re.search(r"^# +(.+?) *$", source.read_text(encoding="utf-8"), re.MULTILINE)
    if heading is None:
        raise ValueError(f"{relative(source)} has no heading")
    return heading[1]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def relink(text: str, old: Path, new: Path) -> str:
    """Markdown moved from the folder `old` to `new`, with its links to files adjusted."""

    def moved(match: re.Match[str]) -> str:
        return f"]({Path(os.path.relpath(old / match[1], new)).as_posix()}"

    return re.sub(r"\]\((?![\w+.-]+:|/|#)([^)#\s]+\.\w+)", moved, text)


def shared_hash(root: Path = ROOT) -> str:
    """A fingerprint of all that outputs depend on besides the notebooks themselves."""
    return _hash(root, _SHARED)


def site_hash(root: Path = ROOT) -> str:
    """A fingerprint of all that the built site depends on."""
    return _hash(root, (*_SHARED, *_SITE))


def repository_files(root: Path = ROOT) -> list[Path]:
    """All files that are, or would be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return sorted(path for name in listed.split("\0") if name and (path := root / name).is_file())


def relative(path: Path, root: Path = ROOT) -> str:
    """A path as the repository's readers know it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _hash(root: Path, patterns: Iterable[str]) -> str:
    """The fingerprint of all files that match, caches left out."""
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return fingerprint(sorted(path for path in found if path.suffix != ".pyc"), root)


def fingerprint(files: Iterable[Path], root: Path = ROOT) -> str:
    """SHA-256 of the names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{relative(path, root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
