"""Students' copies of the exercises: nothing solved, everything still to be checked."""

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from exercises.checks import names
from tools.notebooks import plain, student_copies
from tools.sources import code_cells, exercises, read_source, relative, student_of, tags
from tools.student import CODE_STUB, student_copy, without_solution

EXERCISES = exercises()
CHECK = re.compile(r'^check\(\s*"([^"]+)"', re.MULTILINE)
SOLUTION = re.compile(r"### BEGIN SOLUTION.*?\n(.*?)### END SOLUTION", re.DOTALL)

each_exercise = pytest.mark.parametrize("source", EXERCISES, ids=relative)


def copy_of(source: Path) -> NotebookNode:
    """The student copy as it is committed."""
    return nbformat.read(student_of(source), as_version=4)


def all_text(notebook: NotebookNode) -> str:
    """Everything that a notebook's cells say."""
    return "\n".join(cell.source for cell in notebook.cells)


# --- the book's own exercises ---------------------------------------------------------------


@each_exercise
def test_copy_is_what_its_source_gives(source: Path) -> None:
    ((path, text),) = student_copies([source]).items()
    assert path.read_text(encoding="utf-8") == text, "not in step: run `make notebooks`"


@each_exercise
def test_copy_holds_no_solution(source: Path) -> None:
    copy = copy_of(source)
    assert not re.search(r"BEGIN SOLUTION|HIDDEN TESTS|\{solution", all_text(copy))
    assert all(not cell.outputs for cell in code_cells(copy))
    assert not any("solution" in tags(cell) for cell in copy.cells)
    given = {line.strip() for line in all_text(copy).splitlines()}
    for cell in read_source(source).cells:
        for solution in SOLUTION.findall(cell.source):
            lines = [line.strip() for line in solution.splitlines()]
            telling = [line for line in lines if re.match(r"return .{8}|\w+ = .{8}", line)]
            assert not given.intersection(telling)


@each_exercise
def test_copy_asks_for_every_check(source: Path) -> None:
    asked = CHECK.findall(all_text(copy_of(source)))
    assert asked == CHECK.findall(all_text(read_source(source)))
    assert sorted(asked) == sorted(names(source.stem)), "a check that is not used, or the reverse"
    assert len(asked) >= 4


@each_exercise
def test_unsolved_checks_fail_kindly(source: Path) -> None:
    copy = copy_of(source)
    NotebookClient(
        copy,
        allow_errors=True,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(source.parent)}},
    ).execute()
    checks = [cell for cell in code_cells(copy) if CHECK.search(cell.source)]
    assert checks
    for cell in checks:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert [error.ename for error in errors] == ["Wrong"], cell.source
        assert "not answered yet" in errors[0].evalue, errors[0].evalue


@each_exercise
def test_links_lead_to_the_same_places(source: Path) -> None:
    def targets(text: str, folder: Path) -> set[Path]:
        links = re.findall(r"\]\((?![\w+.-]+:|#)([^)#\s]+\.\w+)", text)
        return {(folder / link).resolve() for link in links}

    def prose(notebook: NotebookNode) -> str:
        return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")

    found = targets(prose(copy_of(source)), student_of(source).parent)
    assert found <= targets(prose(read_source(source)), source.parent)
    assert all(path.exists() for path in found)


# --- the maker of copies --------------------------------------------------------------------


def stub(code: str, rest: str = "") -> str:
    """What is left of a cell whose whole text is a solution."""
    return without_solution(f"### BEGIN SOLUTION\n{code}\n### END SOLUTION", rest)


def test_a_function_keeps_its_first_line_and_docstring() -> None:
    left = stub('def square(x):\n    """x times x."""\n    return x * x')
    assert left == f'def square(x):\n    """x times x."""\n    {CODE_STUB}'


def test_the_inside_of_a_function_becomes_an_error() -> None:
    cell = "def f(x):\n    ### BEGIN SOLUTION\n    y = x\n    return y\n    ### END SOLUTION"
    assert without_solution(cell, "f(1)") == f"def f(x):\n    {CODE_STUB}"


def test_a_function_may_return_from_within_a_loop() -> None:
    cell = "def f(x):\n    ### BEGIN SOLUTION\n    a = 0\n    while True:\n        return a\n"
    assert without_solution(cell + "    ### END SOLUTION", "a") == f"def f(x):\n    {CODE_STUB}"


def test_names_that_are_used_later_become_dots() -> None:
    assert stub("helper = 1\nanswer = helper + 1", "check(answer)") == "answer = ..."
    assert stub("a, b = 1, 2", "check((a, b))") == "a = ...\nb = ..."
    assert stub('answer = {"a": 1, "b": 2}', "answer") == 'answer = {"a": ..., "b": ...}'
    assert stub("print(1)") == CODE_STUB


def test_imports_stay_and_hidden_tests_go() -> None:
    assert stub("import math\nmath.pi") == "import math"
    hidden = "f(1)\n### BEGIN HIDDEN TESTS\nassert f(2) == 4\n### END HIDDEN TESTS"
    assert without_solution(hidden, "") == "f(1)"


def test_a_marker_without_its_partner_is_an_error() -> None:
    with pytest.raises(ValueError, match="without its partner"):
        without_solution("### BEGIN SOLUTION\nx = 1", "")


def test_solutions_in_the_text_go_with_all_that_they_hold(
    write_source: Callable[[str], Path],
) -> None:
    body = """\
# Exercises

Why? {ref}`ex-why`.

(ex-why)=
## Why

````{solution} ex-why
Because of
```python
secret = 1
```
````

:::{dropdown} Solution
secret
:::

:::{dropdown} A hint
Look closer.
:::

```{solution-start} ex-why
```

```{code-cell} ipython3
secret = 2
```

```{solution-end}
```

```{code-cell} ipython3
:tags: [solution]
secret = 3
```

The end.
"""
    copy = student_copy(plain(write_source(body)))
    text = all_text(copy)
    assert "secret" not in text
    assert "Because" not in text
    assert "Look closer." in text
    assert text.endswith("The end.")
    assert "{ref}`student-ex-why`" in text
    assert "(student-ex-why)=" in text
    assert copy.metadata["mystnb"] == {"execution_mode": "off"}
