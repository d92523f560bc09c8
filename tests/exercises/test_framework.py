"""The exercises' `check`: one line when right, and a kind, exact message when not."""

from collections.abc import Callable

import pytest
import torch

from exercises import checks
from exercises.checks import Wrong, check, checker, choose, close, names, uniform


@pytest.fixture(autouse=True)
def two_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checks of a chapter that exists only here."""
    monkeypatch.setattr(checks, "_CHECKS", {})

    @checker("demo/square", "the square of random numbers")
    def _(answer: Callable[[torch.Tensor], torch.Tensor], rng: torch.Generator) -> None:
        x = uniform(rng, -1.0, 1.0, 5)
        close("the square", answer(x), x**2, hint="Multiply x by itself.")

    @checker("demo/letter", "the false step")
    def _(answer: str, rng: torch.Generator) -> None:
        choose(answer, "b", {"a": "it follows from the definition.", "c": "see line 2."})

    monkeypatch.setattr(checks, "names", lambda chapter: list(checks._CHECKS))


def unfinished(x: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError("your answer here")


def test_a_right_answer_prints_the_same_line_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    check("demo/square", lambda x: x * x)
    check("demo/square", lambda x: x.pow(2))
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == "✅ demo/square: right. Checked: the square of random numbers."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "not answered yet"),
        (..., "not answered yet"),
        ((1.0, None), "not answered yet"),
        ({"a": ...}, "not answered yet"),
        (unfinished, "not answered yet"),
        (lambda x: None, "not answered yet"),
        (lambda x: x, "off in 5 of 5 entries.* expected. Multiply x by itself."),
        (lambda x: (x * x).float(), "torch.float32: is an input converted"),
        (lambda x: x[:2], r"should have shape \(5,\), but has \(2,\)"),
        (lambda x: x / 0, "5 of 5 entries that are NaN or infinite"),
        (lambda x: x > 0, "should hold real numbers"),
        (lambda x: "text", "should be a tensor or a number, but is of type str"),
        (lambda x: x.sum(7), "your code stopped with IndexError: .*This was in `"),
        (5, "your code stopped with TypeError: 'int' object is not callable"),
    ],
)
def test_other_answers_get_a_message_that_helps(answer: object, message: str) -> None:
    with pytest.raises(Wrong, match=rf"(?s)^demo/square: .*{message}"):
        check("demo/square", answer)


def test_choices() -> None:
    check("demo/letter", " B ")
    with pytest.raises(Wrong, match="'C' is not it: see line 2"):
        check("demo/letter", "C")
    with pytest.raises(Wrong, match="'d' is not among the choices 'a', 'b', 'c'"):
        check("demo/letter", "d")
    with pytest.raises(Wrong, match="as a string"):
        check("demo/letter", 2)


def test_a_notebook_shows_the_message_alone() -> None:
    assert Wrong("demo: no.")._render_traceback_() == ["❌ demo: no."]


def test_hidden_inputs_differ_within_a_check_and_repeat_between_runs() -> None:
    seen: list[torch.Tensor] = []
    for _ in range(2):
        check("demo/square", lambda x: (seen.append(x), x * x)[1])
    assert torch.equal(seen[0], seen[1])
    assert seen[0].unique().numel() == 5


def test_unknown_names_offer_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="did you mean demo/square"):
        check("demo/sqare", 1)
    with pytest.raises(ValueError, match='"chapter/exercise"'):
        check("square", 1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="no chapter is called 'demo'"):
        names("demo")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="already a checker"):
        checker("demo/square", "again")(lambda answer, rng: None)


def test_close_knows_scale_and_infinities() -> None:
    close("large", 1e6 + 1e-4, 1e6, tol=1e-9)
    close("infinite", torch.tensor([1.0, torch.inf]), torch.tensor([1.0, torch.inf]))
    with pytest.raises(Wrong, match=r"small is off\. It is 1\.1, where 1 was expected"):
        close("small", 1.1, 1.0)
    with pytest.raises(Wrong, match=r"off in 1 of 4 entries. At index \(1, 0\)"):
        close("table", torch.tensor([[1.0, 2.0], [4.0, 4.0]]), torch.tensor([[1.0, 2.0], [3, 4]]))
    with pytest.raises(Wrong, match="is off"):
        close("sign of infinity", torch.tensor([-torch.inf]), torch.tensor([torch.inf]))
