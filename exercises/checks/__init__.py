"""Immediate feedback on exercises: ``check("chapter/exercise", answer)``.

A *checker* is a function ``(answer, rng) -> None`` that tries a student's answer on inputs
that the student has not seen and raises `Wrong` where it fails. Checkers of a chapter live in
a module of its name, ``exercises/checks/b_splines.py`` for ``"b-splines/..."``, and are
registered there:

    @checker("b-splines/partition", "the basis functions sum to one")
    def _(answer, rng):
        x = uniform(rng, -1.0, 1.0, 50)
        close("the sum over the basis", answer(x).sum(-1), torch.ones(50))

The generator `rng` has a fixed seed for each exercise, so that a check prints the same text
whenever it is run, and each check should make several draws from it.
"""

import difflib
import importlib
import linecache
import pkgutil
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Wrong", "check", "checker", "choose", "close", "names", "uniform"]

Rule = Callable[[Any, torch.Generator], None]
HERE = Path(__file__).parent


class Wrong(AssertionError):
    """An answer that is not right yet; the message says what was tried and what to do next."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback: the message alone."""
        return [f"\N{CROSS MARK} {self}"]


@dataclass(frozen=True)
class Check:
    """One registered checker: the exercise's name, what is tested, and the function."""

    name: str
    tests: str
    rule: Rule


_CHECKS: dict[str, Check] = {}


def checker(name: str, tests: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the checker of the exercise `name`.

    Args:
        name: "chapter/exercise"; the chapter is the file name of the chapter's notebook.
        tests: what the check tests, as a phrase that can follow "checked:".
    """

    def register(rule: Rule) -> Rule:
        if name in _CHECKS:
            raise ValueError(f"there is already a checker named {name!r}")
        _CHECKS[name] = Check(name, tests, rule)
        return rule

    return register


def names(chapter: str) -> list[str]:
    """The names of all checks of a chapter, such as ``"b-splines"``, in order of appearance."""
    module = chapter.replace("-", "_")
    if module not in {m.name for m in pkgutil.iter_modules([str(HERE)])}:
        chapters = ", ".join(m.name.replace("_", "-") for m in pkgutil.iter_modules([str(HERE)]))
        raise ValueError(f"no chapter is called {chapter!r}; there are checks for: {chapters}")
    importlib.import_module(f"{__name__}.{module}")
    return [name for name in _CHECKS if name.startswith(chapter + "/")]


def check(name: str, answer: object) -> None:
    """Try `answer` on hidden inputs: print one line if it is right, else raise `Wrong`.

    Args:
        name: the exercise, such as ``"b-splines/partition"``.
        answer: what the exercise asks for: a function, a tensor, a number, a letter.
    """
    found = _find(name)
    if _is_blank(answer):
        raise _not_answered(name)
    rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    try:
        found.rule(answer, rng)
    except NotImplementedError as error:
        raise _not_answered(name) from error
    except Wrong as wrong:
        raise type(wrong)(_titled(name, str(wrong))) from None
    except Exception as error:
        raise Wrong(_titled(name, _stopped(error))) from error
    print(f"\N{WHITE HEAVY CHECK MARK} {name}: right. Checked: {found.tests}.")


def close(what: str, got: Any, expected: Any, tol: float = 1e-9, hint: str = "") -> None:
    """Raise `Wrong` unless `got` has the shape and kind of `expected` and is near to it.

    Near means: the largest error is at most `tol` times the larger of 1 and the largest entry
    of `expected`.

    Args:
        what: names the quantity, as a phrase: "the derivative at x = 0.3".
        got: the student's value: anything that `torch.as_tensor` takes.
        expected: the right value.
        tol: tolerance, as above.
        hint: a next step for the student, added to the message about wrong values.
    """
    right = torch.as_tensor(expected)
    mine = _as_tensor(what, got)
    if mine.shape != right.shape:
        raise Wrong(f"{what} should have shape {tuple(right.shape)}, but has {tuple(mine.shape)}.")
    if right.is_floating_point() and not mine.is_floating_point():
        raise Wrong(f"{what} should hold real numbers (floating point), but holds {mine.dtype}.")
    if not right.is_floating_point() and mine.dtype.is_complex:
        raise Wrong(f"{what} should hold whole numbers or booleans, but holds {mine.dtype}.")
    if mine.numel() == 0:
        return
    exact, tried = right.detach().double(), mine.detach().double()
    if bad := int((~tried.isfinite() & exact.isfinite()).sum()):
        text = f"{what} has {bad} of {mine.numel()} entries that are NaN or infinite."
        raise Wrong(f"{text} {hint}".rstrip())
    error = (tried - exact).abs().nan_to_num(0.0)
    limit = tol * max(1.0, float(exact.abs().nan_to_num(0.0, 0.0, 0.0).max()))
    if float(error.max()) > limit:
        raise Wrong(_mismatch(what, tried, exact, error, limit, mine.dtype) + f" {hint}".rstrip())


def choose(got: Any, right: str, why: Mapping[str, str]) -> None:
    """Raise `Wrong` unless the letter or word `got` is `right`, with a reason for each other one.

    Args:
        got: the student's choice; case and surrounding spaces do not matter.
        right: the right choice.
        why: for each wrong choice, what speaks against it, without giving the answer away.
    """
    options = sorted({right, *why})
    if not isinstance(got, str):
        raise Wrong(f"Give your choice as a string, one of {', '.join(map(repr, options))}.")
    mine = {option.lower(): option for option in options}.get(got.strip().lower())
    if mine is None:
        raise Wrong(f"{got!r} is not among the choices {', '.join(map(repr, options))}.")
    if mine != right:
        raise Wrong(f"{got!r} is not it: {why[mine]}")


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    """Random float64 numbers in [low, high) of the given shape."""
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=torch.float64)


def _find(name: str) -> Check:
    """The registered check of that name, or an error that offers the nearest names."""
    chapter, _, exercise = name.partition("/")
    if not exercise:
        raise ValueError(f'a check is named "chapter/exercise", got {name!r}')
    known = names(chapter)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise ValueError(f"no check is called {name!r}; did you mean {' or '.join(near)}?")
    return _CHECKS[name]


def _is_blank(answer: object) -> bool:
    """Whether the answer, or a part of it, was left as None or as three dots."""
    if isinstance(answer, dict):
        return _is_blank(list(answer.values()))
    if isinstance(answer, (tuple, list)):
        return any(_is_blank(part) for part in answer)
    return answer is None or answer is ...


def _titled(name: str, text: str) -> str:
    """The message under the exercise's name, unless an inner check has put it there already."""
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def _not_answered(name: str) -> Wrong:
    return Wrong(
        f"{name}: not answered yet. Fill in the cell above (where it says "
        "`...` or `NotImplementedError`), run it, then run this check again."
    )


def _stopped(error: Exception) -> str:
    """Where and why the student's own code stopped, in a sentence or two."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if Path(frame.filename).parent != HERE]
    text = f"your code stopped with {type(error).__name__}: {error}."
    if mine and (line := linecache.getline(mine[0].filename, mine[0].lineno or 0).strip()):
        text += f" This was in `{mine[0].name}`, line {mine[0].lineno}: `{line}`."
    return text + " Try your answer on a small input of your own first."


def _as_tensor(what: str, got: Any) -> torch.Tensor:
    """The student's value as a tensor, or a kind message."""
    if _is_blank(got):
        raise NotImplementedError(what)
    try:
        return torch.as_tensor(got)
    except (TypeError, ValueError, RuntimeError):
        kind = type(got).__name__
        raise Wrong(f"{what} should be a tensor or a number, but is of type {kind}.") from None


def _mismatch(
    what: str,
    got: torch.Tensor,
    expected: torch.Tensor,
    error: torch.Tensor,
    limit: float,
    dtype: torch.dtype,
) -> str:
    """One sentence or two about the entry that is furthest off."""
    index = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
    where = f" At index {index if len(index) > 1 else index[0]} it is" if index else " It is"
    text = f"{what} is off."
    if (wrong := int((error > limit).sum())) and error.numel() > 1:
        text = f"{what} is off in {wrong} of {error.numel()} entries."
    text += f"{where} {float(got[index]):.8g}, where {float(expected[index]):.8g} was expected."
    if dtype in (torch.float32, torch.float16, torch.bfloat16) and float(error.max()) < 1e-2:
        text += f" (Your result is {dtype}: is an input converted on the way?)"
    return text
