"""The repository as a whole: nothing private, nothing stale, nothing forgotten."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tools import address
from tools.environment import GPU_ONLY
from tools.sources import ROOT, exercises, relative, repository_files, sources, student_of

STALE = "not in step: run `make notebooks`"
CODE = {".py", ".js", ".css", ".ipynb", ""}
TEXT = CODE | {".md", ".yml", ".yaml", ".toml", ".txt", ".cff", ".json", ".bib"}


def text_files() -> list[Path]:
    """Those of them that hold text, but for this one."""
    here = Path(__file__)
    return [path for path in repository_files() if path.suffix in TEXT and path != here]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of somebody's machine", r"(?<![\w.:/-])/(?:home|root|Users|work|opt)/\w"),
        ("a registry's host", r"pythonhosted|pypi\.org/simple|(?<!extra-)index-url[ =]+\w+:"),
    ],
)
def test_nothing_private_is_committed(what: str, pattern: str) -> None:
    found = re.compile(pattern)
    bad = [relative(p) for p in text_files() if found.search(p.read_text(encoding="utf-8"))]
    assert bad == [], what


def test_files_are_small() -> None:
    assert [relative(p) for p in repository_files() if p.stat().st_size > 600_000] == []


def test_functions_are_short() -> None:
    """At most 40 lines without the docstring (test_architecture.py says so of the package)."""
    long = []
    for path in repository_files():
        if path.suffix != ".py" or relative(path).startswith(("kanlite/", "tests/")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - (len(doc.split("\n")) if doc else 0)
                long += [f"{relative(path)}: {node.name}"] if lines > 40 else []
    assert long == []


def test_address_is_written_in_one_place() -> None:
    assert address.stale() == {}, STALE
    slug = address.address().slug
    made_from_it = {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "CHANGELOG.md"}
    notebooks = {*sources(), *(page.with_suffix(".ipynb") for page in sources())}
    notebooks |= {student_of(page) for page in exercises()}
    allowed = {ROOT / name for name in made_from_it} | notebooks
    named = {p for p in text_files() if slug in p.read_text(encoding="utf-8")}
    assert {relative(path) for path in named - allowed} == set()


def test_links_are_made_from_the_address() -> None:
    here = address.Address("https://github.com/someone/thing")
    assert here.colab("book/a b.ipynb").endswith("/github/someone/thing/blob/main/book/a%20b.ipynb")
    assert here.binder("x.ipynb").endswith("/v2/gh/someone/thing/main?urlpath=lab%2Ftree%2Fx.ipynb")
    assert here.github("x.md") == "https://github.com/someone/thing/blob/main/x.md"


def test_a_new_address_reaches_every_place(tmp_path: Path) -> None:
    for name in ("_config.yml", "CITATION.cff", "README.md", "pyproject.toml"):
        if (ROOT / name).exists():
            (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    old = address.address().repository
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace(old, "https://github.com/someone/thing"))
    for file, text in address.stale(tmp_path).items():
        file.write_text(text)
    assert address.stale(tmp_path) == {}
    for name in ("_config.yml", "CITATION.cff"):
        if (tmp_path / name).exists():
            assert "https://github.com/someone/thing" in (tmp_path / name).read_text()
            assert old not in (tmp_path / name).read_text()


def test_requirements_hold_what_the_project_pins() -> None:
    pins = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version = line.partition(";")[0].split("==")
            pins[name] = version
    assert not [name for name in pins if GPU_ONLY.match(name)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    for wanted in (*groups["book"], *groups["test"]):
        name, _, version = wanted.partition(";")[0].partition("==")
        assert re.fullmatch(version.replace("*", ".*") or ".*", pins[name]), wanted


def test_every_notebook_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"(?:file|root): *(\S+)", contents))
    for source in sources():
        assert relative(source) in listed, "chapters are named with their suffix"
    for page in exercises():
        assert relative(student_of(page)).removesuffix(".ipynb") in {
            name.removesuffix(".ipynb") for name in listed
        }
    for name in listed:
        assert any((ROOT / (name + end)).exists() for end in ("", ".md", ".ipynb")), name


def test_commands_that_the_text_names_exist() -> None:
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (p for p in text_files() if p.suffix == ".md"):
        for goal in re.findall(r"`make ([a-z-]+)", path.read_text(encoding="utf-8")):
            assert goal in goals, f"{relative(path)}: make {goal}"


def test_old_pythons_can_read_the_message_that_they_are_too_old() -> None:
    text = (ROOT / "tools" / "environment.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


def test_the_book_runs_nothing_from_elsewhere() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["execute"]["execute_notebooks"] == "cache"
    assert config["execute"]["allow_errors"] is False
