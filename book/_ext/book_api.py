"""The API reference, made from the package: a section per module, an entry per name.

The directive ``{api-reference}`` documents what every module lists in its ``__all__``: public
names as ``kanlite.name``, the others as ``kanlite.module.name``. So nothing can be forgotten, and
docstrings are read as they are meant.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import kanlite

PACKAGE = Path(kanlite.__file__).parent
# Methods that scikit-learn adds to every estimator, with pages of its own behind them.
FOREIGN = "set_fit_request, set_partial_fit_request, set_predict_request, set_score_request"


@cache
def depth(name: str) -> int:
    """How many modules of the package lie below one, along the longest chain of imports."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    below = {
        statement.module.split(".")[1]
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").count(".") == 1
    }
    below = {other for other in below if (PACKAGE / f"{other}.py").exists()}
    return 1 + max(map(depth, below), default=0)


def modules() -> list[ModuleType]:
    """The package's modules, those first that import nothing from the others."""
    names = [path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_")]
    order = sorted(names, key=lambda name: (depth(name), name != "bspline", name))
    return [importlib.import_module(f"kanlite.{name}") for name in order]


def home_of(name: str, module: ModuleType) -> str:
    """Where readers find a name of a module: in the package itself if it is public."""
    return "kanlite" if name in kanlite.__all__ else module.__name__


def complete_roles(line: str, module: ModuleType) -> str:
    """Spell out where a name lives: in the package if it is public, else in this module."""

    def complete(role: re.Match[str]) -> str:
        kind, home, name = role.groups()
        known = name in kanlite.__all__ or (not home and hasattr(module, name))
        return f"{kind}`~{home_of(name, module)}.{name}`" if known else role[0]

    return re.sub(r"(:(?:func|class|data):)`~?(kanlite\.(?:\w+\.)?)?(\w+)`", complete, line)


def section(module: ModuleType) -> list[str]:
    """A module's section in MyST: what it is, then its functions and classes as in the source."""
    entries = [
        (inspect.getsourcelines(thing)[1], name, inspect.isclass(thing))
        for name in getattr(module, "__all__", ())
        if inspect.isroutine(thing := getattr(module, name)) or inspect.isclass(thing)
    ]
    if not entries:
        return []
    title = (module.__doc__ or "").strip().splitlines()[0]
    lines = [f"# `{module.__name__}`", "", title, "", "```{eval-rst}"]
    for _, name, is_class in sorted(entries):
        kind = "class" if is_class else "function"
        lines.append(f".. auto{kind}:: {home_of(name, module)}.{name}")
        lines += ["   :members:", f"   :exclude-members: {FOREIGN}", ""] if is_class else [""]
    comments = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
    for name in getattr(module, "__all__", ()):
        if name.isupper() and not callable(getattr(module, name)):
            lines += [f".. py:data:: {name}", f"   :module: {home_of(name, module)}", ""]
            text = comments.get(("", name), [])
            lines += [f"   {complete_roles(line, module)}" for line in text] + [""]
    return [*lines, "```", ""]


class ApiReference(SphinxDirective):
    """All modules, one after another."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for module in modules():
            self.env.note_dependency(str(module.__file__))
            lines += section(module)
        container = nodes.Element()
        self.state.nested_parse(
            StringList(lines, "api"), self.content_offset, container, match_titles=True
        )
        return container.children


def read_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading into the package's docstrings what is not there.

    Types stand in the signatures, so the text before a colon is never one; and the star in a
    shape such as (..., *F) opens no emphasis. Several attributes on one line are no type and name.
    """
    module = sys.modules[getattr(obj, "__module__", None) or "kanlite"]
    after_returns = what == "property"
    for number, line in enumerate(lines):
        line = complete_roles(line, module)
        lines[number] = line = re.sub(r"(?<=[ (])\*(?=\w+[,)])", r"\\*", line)
        if re.match(r" +\w+(, \w+)+: ", line):
            names, _, text = line.partition(": ")
            lines[number] = line = f"{names.replace(', ', ',')}: {text}"
        if after_returns and line.strip():
            indent = len(line) - len(line.lstrip())
            lines[number] = f"{line[:indent]}: {line[indent:]}"
            after_returns = False
        elif line.strip() == "Returns:":
            after_returns = True


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("api-reference", ApiReference)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)  # before napoleon
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
