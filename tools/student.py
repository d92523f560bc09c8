"""Students' copies of exercises: the same notebook without its solutions.

Removed are the parts between nbgrader's markers ``### BEGIN SOLUTION`` and ``### END SOLUTION``
(a stub takes their place), hidden tests, cells tagged ``solution``, and the book's own
solutions in Markdown (``{solution}``, ``{solution-start}`` to ``{solution-end}``, and drop-downs
whose title begins with "Solution").
"""

import ast
import json
import re
import textwrap

import nbformat
from nbformat import NotebookNode

from tools.sources import tags

CODE_STUB = 'raise NotImplementedError("your answer here")'
TEXT_STUB = "*Your answer here.*"

_SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)### BEGIN SOLUTION[^\n]*\n(?P<body>.*?)^[ \t]*### END SOLUTION[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_HIDDEN = re.compile(
    r"^[ \t]*### BEGIN HIDDEN TESTS[^\n]*\n.*?^[ \t]*### END HIDDEN TESTS[^\n]*\n?",
    re.DOTALL | re.MULTILINE,
)
_FENCE = re.compile(r"^\s*(?P<fence>`{3,}|:{3,})\{(?P<name>[\w-]+)\}\s*(?P<title>.*)$")
_TITLED = {"dropdown", "admonition", "toggle", "tip", "note"}


def student_copy(notebook: NotebookNode) -> NotebookNode:
    """An unsolved copy of a solved exercise, which the site shows without running it."""
    copy = nbformat.from_dict(notebook)
    gate = _Gate()
    cells = []
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = gate.open_text(cell.source)
        if "solution" in tags(cell) or not cell.source.strip():
            continue
        if cell.cell_type == "code":
            if gate.shut:
                continue
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
    for number, cell in enumerate(cells):
        rest = "\n".join(_SOLUTION.sub("", later.source) for later in cells[number:])
        cell.source = without_solution(cell.source, rest, cell.cell_type)
    copy.cells = [cell for cell in cells if cell.source.strip()]
    copy.metadata["mystnb"] = {"execution_mode": "off"}
    return _with_own_labels(copy)


def without_solution(source: str, rest: str, cell_type: str = "code") -> str:
    """A cell's text with a stub for each solution; `rest` is the text that may use its names."""
    source = _HIDDEN.sub("", source)
    if cell_type == "markdown":
        source = _SOLUTION.sub(TEXT_STUB, source)
    else:
        source = _SOLUTION.sub(lambda found: _stub(found["indent"], found["body"], rest), source)
    if left := re.search(r"### (BEGIN|END) (SOLUTION|HIDDEN TESTS)", source):
        raise ValueError(f"a marker without its partner, {left[0]!r}, in this cell:\n{source}")
    return source.rstrip("\n")


def _stub(indent: str, body: str, rest: str) -> str:
    """What a student finds in place of a solution.

    Functions keep their first line and docstring, and names that are used later become dots, so
    that the check after them can say "not answered yet".
    """
    body = textwrap.dedent(body)
    lines: list[str] = []
    for statement in ast.parse(body).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            lines += _declaration(statement, body.splitlines())
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            lines += body.splitlines()[statement.lineno - 1 : statement.end_lineno]
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            used = [name for name in _names(statement) if re.search(rf"\b{name}\b", rest)]
            blank = _blank(statement.value)
            lines += [line for name in used if (line := f"{name} = {blank}") not in lines]
        elif any(isinstance(node, ast.Return) for node in ast.walk(statement)):
            lines = []  # the inside of a function, which has no names for later cells
            break
    return textwrap.indent("\n".join(lines or [CODE_STUB]), indent)


def _declaration(statement: ast.FunctionDef | ast.ClassDef, lines: list[str]) -> list[str]:
    """A function or class without its body."""
    first = min([statement.lineno, *(d.lineno for d in statement.decorator_list)]) - 1
    has_docstring = ast.get_docstring(statement) is not None
    begin = statement.body[0]
    end = begin.end_lineno if has_docstring else begin.lineno - 1
    return [*lines[first:end], f"    {CODE_STUB}"]


def _blank(value: ast.expr | None) -> str:
    """What stands for a value: three dots, or a dictionary's keys with dots beside them."""
    if isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys):
        keys = [json.dumps(key.value) for key in value.keys if isinstance(key, ast.Constant)]
        return "{" + ", ".join(f"{key}: ..." for key in keys) + "}"
    return "..."


def _names(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment binds."""
    return [
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


class _Gate:
    """Reads Markdown and lets everything through but solutions, which may span several cells."""

    def __init__(self) -> None:
        self.shut = False  # between {solution-start} and {solution-end}
        self.fence = ""  # the fence of the directive being left out

    def open_text(self, text: str) -> str:
        """The lines of a Markdown cell that a student may see."""
        return "\n".join(line for line in text.split("\n") if self._passes(line)).strip("\n")

    def _passes(self, line: str) -> bool:
        if self.fence:
            if line.strip().startswith(self.fence) and not line.strip().strip(self.fence[0]):
                self.fence = ""
            return False
        if found := _FENCE.match(line):
            name, title = found["name"], found["title"].lower()
            if name in ("solution", "solution-start", "solution-end") or (
                name in _TITLED
                and re.match(r"(model )?(solution|answer|proof of the exercise)", title)
            ):
                self.fence = found["fence"]
                self.shut = name == "solution-start" or (self.shut and name != "solution-end")
                return False
        return not self.shut


def _with_own_labels(copy: NotebookNode) -> NotebookNode:
    """Prefix the labels that the exercise defines, since the solved page defines them as well."""
    text = "\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")
    labels = set(re.findall(r"^\(([\w:.-]+)\)=", text, re.MULTILINE))
    labels |= set(re.findall(r"^\s*:(?:label|name): *([\w:.-]+)", text, re.MULTILINE))
    labels |= set(re.findall(r"^\$\$ *\(([\w:.-]+)\)", text, re.MULTILINE))
    if not labels:
        return copy
    names = "|".join(sorted(map(re.escape, labels), key=len, reverse=True))
    places = re.compile(
        rf"(?<=[(`<#])({names})(?=[)`>])|(?<=:label: )({names})$|(?<=:name: )({names})$", re.M
    )
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = places.sub(lambda found: f"student-{found[0]}", cell.source)
    return copy
