"""The pages around the chapters say what is true of the project."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from bs4 import BeautifulSoup

import kanlite as kl
from tools.sources import ROOT

BOOK = ROOT / "book"


def toc_files() -> set[str]:
    """Every page that the table of contents names."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return {entry["file"] for part in toc["parts"] for entry in part["chapters"] if "file" in entry}


def test_the_plan_links_what_exists_and_nothing_else() -> None:
    plan = (BOOK / "intro.md").read_text(encoding="utf-8").split("(the-plan)=")[1]
    plan = plan.split("## Courses")[0]
    entries = re.findall(r"^- (.+?)(?=\n- |\n\n)", plan, re.MULTILINE | re.DOTALL)
    assert len(entries) == 20
    linked = {f"book/{m[1]}" for entry in entries if (m := re.match(r"\[.+?\]\((\S+)\)", entry))}
    planned = [entry for entry in entries if entry.endswith("*Planned.*")]
    assert len(linked) + len(planned) == len(entries)
    chapters = {name for name in toc_files() if re.match(r"book/\w+/[\w-]+\.md$", name)}
    assert linked == chapters


def test_every_chapter_file_is_in_the_table_of_contents() -> None:
    sources = {path.relative_to(ROOT).as_posix() for path in BOOK.glob("*/*.md")}
    assert sources <= toc_files()


def test_the_api_page_has_every_public_name(site: Path) -> None:
    soup = BeautifulSoup((site / "book" / "api.html").read_text(encoding="utf-8"), "html.parser")
    documented = {str(node["id"]) for node in soup.select("dt[id^='kanlite.']")}
    names = [name for name in kl.__all__ if name != "__version__"]
    public = {f"kanlite.{name}" for name in names if not inspect.ismodule(getattr(kl, name))}
    assert public - documented == set()


def test_the_glossary_gives_each_term_in_chinese(site: Path) -> None:
    text = (site / "book" / "glossary.html").read_text(encoding="utf-8")
    definitions = BeautifulSoup(text, "html.parser").select("dl.glossary > dd")
    assert len(definitions) >= 45
    for definition in definitions:
        first = definition.select_one("p")
        assert first is not None
        assert re.match(r"(\w )?[\u4e00-\u9fff]", first.get_text()), first.get_text()
        assert first.select("[lang=zh-Hans]") != []


def test_the_glossary_is_in_alphabetical_order() -> None:
    lines = (BOOK / "glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1]
    terms = re.findall(r"(?:^|\n\n)(\S.*)", lines.split("```")[0])
    assert terms == sorted(terms, key=str.casefold)


def test_the_bibliography_is_sorted_and_dated() -> None:
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)
    assert keys == sorted(set(keys))
    for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"^\s*year\s*=", entry, re.MULTILINE), entry[:60]


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("welcome", BOOK / "figures" / "welcome.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_welcome_picture_shows_what_its_text_says(picture: ModuleType) -> None:
    """The three edges are sine, square and exponential, up to scales and shifts."""
    found = picture.found(*picture.train())
    assert set(found) == {"sine", "square", "exponential"}
    assert min(found.values()) > 0.999


def test_solved_notebooks_are_headed_solutions(site: Path) -> None:
    pages = sorted(site.glob("exercises/*/*.html"))
    assert pages
    for page in pages:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        heading = soup.select_one("h1")
        assert heading is not None
        assert heading.get_text().startswith("Solutions: "), page.name
