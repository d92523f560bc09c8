"""What every chapter's exercises are held to, as one test class.

A chapter's test file says where its solved notebook is, which name of the notebook answers
which check, and, for each check, at least three wrong answers with the reason why each of
them must be rejected::

    class TestExercises(ChapterTests):
        source = "splines/b-splines.md"
        space = {"kl": kl, "math": math}  # what the solution cells use beside torch
        answers = {"predict": "prediction"}  # check -> name in the solved notebook
        wrong = {"predict": {"took the left limit": (0.5, "at the knot"), ...}}
"""

from pathlib import Path
from typing import Any, ClassVar

import jupytext
import pytest
import torch

from exercises.checks import Wrong, check, names

SOURCES = Path(__file__).parents[2] / "exercises"


def run_solutions(source: str, space: dict[str, Any]) -> dict[str, Any]:
    """The names that the solution cells of a notebook define, run in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    made = {"torch": torch, **space}
    try:
        for cell in jupytext.read(SOURCES / source, fmt="md:myst").cells:
            if cell.cell_type == "code" and "### BEGIN SOLUTION" in cell.source:
                exec(cell.source, made)
    finally:
        torch.set_default_dtype(before)
    return made


class ChapterTests:
    """Right answers pass, blanks are not answered yet, wrong ones fail for their reason."""

    source: ClassVar[str]
    space: ClassVar[dict[str, Any]] = {}
    answers: ClassVar[dict[str, str]]
    wrong: ClassVar[dict[str, dict[str, tuple[Any, str]]]]
    draws: ClassVar[frozenset[str]] = frozenset()  # checks whose right answer itself draws weights

    @pytest.fixture(autouse=True)
    def _float64(self):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(before)

    @pytest.fixture(scope="class")
    @classmethod
    def solutions(cls) -> dict[str, Any]:
        return run_solutions(cls.source, cls.space)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "mistake" in metafunc.fixturenames:
            cases = [
                pytest.param(name, mistake, id=f"{name}: {mistake}")
                for name, mistakes in self.wrong.items()
                for mistake in mistakes
            ]
            metafunc.parametrize(("name", "mistake"), cases)
        elif "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.answers)

    @property
    def chapter(self) -> str:
        return Path(self.source).stem

    def test_every_check_is_tested(self):
        assert {f"{self.chapter}/{name}" for name in self.answers} == set(names(self.chapter))
        assert set(self.wrong) == set(self.answers)
        assert all(len(mistakes) >= 3 for mistakes in self.wrong.values())

    def test_the_solution_passes(self, name, solutions, capsys):
        check(f"{self.chapter}/{name}", solutions[self.answers[name]])
        assert "right. Checked:" in capsys.readouterr().out

    def test_a_check_says_the_same_each_time_and_leaves_the_global_generator_alone(
        self, name, solutions, capsys
    ):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        for _ in range(2):
            check(f"{self.chapter}/{name}", solutions[self.answers[name]])
        first, second = capsys.readouterr().out.splitlines()
        assert first == second
        if name not in self.draws:
            assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("blank", [None, ...], ids=["none", "dots"])
    def test_a_blank_is_not_answered_yet(self, name, blank):
        with pytest.raises(Wrong, match="not answered yet"):
            check(f"{self.chapter}/{name}", blank)

    def test_a_wrong_answer_is_rejected_for_its_reason(self, name, mistake):
        answer, reason = self.wrong[name][mistake]
        with pytest.raises(Wrong, match=reason):
            check(f"{self.chapter}/{name}", answer)

    def test_reasons_differ(self, name):
        """At least three different messages: a check does not reject all for one reason."""
        messages = set()
        for answer, _ in self.wrong[name].values():
            with pytest.raises(Wrong) as caught:
                check(f"{self.chapter}/{name}", answer)
            messages.add(str(caught.value))
        assert len(messages) >= 3
