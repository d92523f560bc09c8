"""The shape of the package: which way its imports point, how long it is, and what it ships."""

import ast
import importlib
import io
import shutil
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest

import kanlite as kl

ROOT = Path(kl.__file__).parents[1]
PACKAGE = ROOT / "kanlite"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(file.with_suffix("").parts).removesuffix(".__init__"): PACKAGE / file
    for file in FILES
    if file.name != "__init__.py" or file.parent.name
}

# Imports point to an earlier line, never to the same or a later one.
LEVELS = (
    ("_version", "baselines", "superposition", "parallel", "samples"),
    ("bspline",),
    ("kernels.build", "kernels.torch_path", "kernels.tuning"),
    ("kernels.cpu", "kernels.triton_path"),
    ("kernels.choice",),
    ("kernels.autograd",),
    ("kernels", "quantiles"),
    ("bases",),
    ("layers", "other_bases"),
    ("edges", "gauss_newton", "candidates"),
    ("variants", "architectures", "composition"),
    ("snapping", "selection"),
    (
        "penalties",
        "refinement",
        "pruning",
        "symbolic",
        "plotting",
        "optim",
        "persistence",
        "inspection",
        "structure",
        "export",
    ),
    ("training",),
    ("discovery", "tables"),
    ("estimators", "__main__"),
)
THIRD_PARTY = {"torch", "numpy", "tqdm"}
# Loaded when one of their names is used.
OPTIONAL = {"plotting", "estimators", "kernels.triton_path"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> set[str]:
    """Full names of all that is imported in a tree, in functions too."""
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            names |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, "imports are absolute"
            assert part.module is not None
            names |= {f"{part.module}.{alias.name}" for alias in part.names}
    return names


def imported_on_load(module: ast.Module) -> set[str]:
    """First parts of the names that a module imports as soon as it is imported itself."""
    names: set[str] = set()
    for statement in module.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names |= {name.split(".")[0] for name in imports(statement)}
    return names


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


def test_every_module_has_its_place() -> None:
    assert set(MODULES) <= {name for names in LEVELS for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    for imported in imports(tree(MODULES[name])):
        if imported.split(".")[0] == "kanlite":
            parts = imported.split(".")
            assert len(parts) > 1, f"{name} must import modules, not the whole package"
            target = ".".join(parts[1:3]) if ".".join(parts[1:3]) in MODULES else parts[1]
            assert level(target) < level(name), f"{name} must not import {target}"


def test_fast_paths_are_reached_through_one_door() -> None:
    users = {name for name in MODULES if "kanlite.kernels" in imports(tree(MODULES[name]))}
    assert users == {"layers", "gauss_newton", "inspection", "export"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - OPTIONAL))
def test_only_light_packages_are_imported_on_load(name: str) -> None:
    others = imported_on_load(tree(MODULES[name])) - set(sys.stdlib_module_names) - {"kanlite"}
    assert others <= THIRD_PARTY


def test_importing_kanlite_loads_no_optional_package() -> None:
    """Asked of a fresh interpreter; torch alone decides what it loads itself."""
    script = (
        "import sys, torch; before = set(sys.modules); import kanlite\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = {'matplotlib', 'scipy', 'sympy', 'sklearn', 'pandas', 'tqdm', 'IPython'}\n"
        "print(sorted(new & heavy), 'kanlite.plotting' in sys.modules)\n"
        "print('matplotlib' in sys.modules, 'scipy' in sys.modules, 'sklearn' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["[] False", "False False False"]


def test_lazy_names_are_there_when_asked_for() -> None:
    for name in kl.__all__:
        assert getattr(kl, name) is not None
    assert kl.plot_kan.__module__ == "kanlite.plotting"
    with pytest.raises(AttributeError, match="module 'kanlite' has no attribute 'plot_everything'"):
        kl.plot_everything  # noqa: B018
    assert set(kl._LAZY) < set(kl.__all__)


def code_lines(path: Path) -> int:
    """Lines that are neither blank nor comment nor docstring nor the raising of an error."""
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(tree(path)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            skipped |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        if isinstance(node, ast.Raise):
            skipped |= set(range(node.lineno, node.end_lineno + 1))
    silent = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - skipped)


EXAMPLE = '''\
"""A docstring

of three lines."""

x = 1  # why
# a comment alone


def f():
    """Another."""
    y = """a text
of two lines"""
    if y:
        raise ValueError(
            "a message"
        )
    return (
        y
    )
'''


def test_lines_are_counted_as_stated(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(EXAMPLE)
    assert code_lines(file) == 8


def test_the_core_can_be_read_in_one_sitting() -> None:
    """Without what is raised, which is for users: readers skip it."""
    assert sum(code_lines(MODULES[name]) for name in ("bspline", "bases", "layers")) <= 450


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short(name: str) -> None:
    """At most 40 lines without the docstring."""
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= 40, node.name


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    """Modules, and all functions, classes and methods whose names do not start with _."""
    module = tree(MODULES[name])
    assert ast.get_docstring(module)
    for node in module.body:
        public = isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for part in (node, *(node.body if public else ())):
            if not isinstance(part, ast.FunctionDef | ast.ClassDef) or part.name.startswith("_"):
                continue
            marks = {mark.id for mark in part.decorator_list if isinstance(mark, ast.Name)}
            assert ast.get_docstring(part) or "overload" in marks, part.name


def test_exported_names_exist() -> None:
    for name in set(MODULES) - OPTIONAL - {"_version"}:
        module = importlib.import_module(f"kanlite.{name}")
        assert module.__all__, name
        assert all(hasattr(module, exported) for exported in module.__all__), name


@pytest.mark.parametrize("name", MODULES)
def test_house_rules(name: str) -> None:
    """No prints, no assertions, no star imports, no mutable defaults, no .data, and no
    **kwargs that are forwarded.
    """
    for node in ast.walk(tree(MODULES[name])):
        assert not isinstance(node, ast.Assert)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exec", "eval"}
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
        if isinstance(node, ast.Attribute):
            assert node.attr != "data"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
        if isinstance(node, ast.FunctionDef):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            assert not any(isinstance(value, ast.List | ast.Dict | ast.Set) for value in defaults)
            if node.args.kwarg is not None:
                # Triton takes the constants of a kernel by name.
                assert name == "kernels.triton_path" or not _forwards(node, node.args.kwarg.arg)


def _forwards(function: ast.FunctionDef, kwargs: str) -> bool:
    """Whether a function hands its **kwargs on to another."""
    return any(
        keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == kwargs
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
    )


def test_types_are_shipped_and_tests_are_not(tmp_path: Path) -> None:
    """In the wheel that `pip install .` builds."""
    pytest.importorskip("setuptools", minversion="77")
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    copied = Path(shutil.copytree(PACKAGE, source / "kanlite", ignore=ignored))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = out.glob("*.whl")
    assert wheel.name == f"kanlite-{kl.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        metadata = archive.read(f"kanlite-{kl.__version__}.dist-info/METADATA").decode()
    assert sorted(names) == sorted(
        [
            "kanlite/py.typed",
            "kanlite/kernels/local_support.c",
            *(f"kanlite/{path.relative_to(copied).as_posix()}" for path in copied.rglob("*.py")),
        ]
    )
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    always = {line.split()[1].split(">")[0] for line in needed if "extra ==" not in line}
    assert always == THIRD_PARTY
