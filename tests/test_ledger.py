"""The ledger of claims and the status page: complete, and what their data give."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tools import ledger, status
from tools.sources import relative, sources, twin_of

STALE = "not in step: run `make notebooks`"

CLAIM = """\
# A chapter

```{claim} C4
:verdict: misleading
:scope: the count of paths
There are {glue:text}`paths:.1e` paths; see [there](../kans/other.md).
```
"""


def with_glued_value(source: Path, value: str) -> None:
    """Give a source a twin in which `value` is glued as "paths"."""
    data = {ledger.GLUED: value}
    output = nbformat.v4.new_output("display_data", data, metadata={"scrapbook": {"name": "paths"}})
    cell = nbformat.v4.new_code_cell("glue()", outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), twin_of(source))


def test_claims_are_complete() -> None:
    known = ledger.claims()
    assert list(known) == [f"C{number}" for number in range(1, 17)]
    for claim in known.values():
        assert set(claim) == {"id", "claim", "phrase", "tried_in"}
        assert re.search(r"[\u4e00-\u9fff]", claim["phrase"])
        assert claim["claim"].endswith((".", ")"))
        assert claim["tried_in"]


def test_ledger_is_in_step() -> None:
    assert ledger.LEDGER.read_text(encoding="utf-8") == ledger.ledger(), STALE


def test_ledger_has_every_claim_and_every_trial() -> None:
    text = ledger.ledger()
    for name, claim in ledger.claims().items():
        assert f"## Claim {name}\n" in text
        assert claim["phrase"] in text
    for trial in (trial for source in sources() for trial in ledger.trials(source)):
        assert trial.evidence in text
        assert f"{ledger._link(trial)}:** {ledger._badge(trial.verdict)}" in text


def test_trial_is_read_with_its_number(write_source: Callable[[str], Path]) -> None:
    source = write_source(CLAIM)
    with_glued_value(source, "12345.678")
    (trial,) = ledger.trials(source)
    assert (trial.claim, trial.verdict, trial.chapter) == ("C4", "misleading", "A chapter")
    assert trial.scope == "the count of paths"
    assert trial.evidence.startswith("There are 1.2e+04 paths; see [there](")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("misleading", "wrong", "must be one of"),
        ("`paths:", "`streets:", "nothing is glued as 'streets'"),
    ],
)
def test_faulty_trials_are_refused(
    write_source: Callable[[str], Path], old: str, new: str, message: str
) -> None:
    source = write_source(CLAIM.replace(old, new))
    with_glued_value(source, "1.0")
    with pytest.raises(ValueError, match=message):
        ledger.trials(source)


def test_status_page_is_in_step() -> None:
    data = json.loads(status.DATA.read_text(encoding="utf-8"))
    assert status.PAGE.read_text(encoding="utf-8") == status.page(data), STALE


def test_every_notebook_has_been_measured_and_is_quick_enough() -> None:
    times = json.loads(status.DATA.read_text(encoding="utf-8"))["notebooks"]
    assert set(times) == {relative(source) for source in sources()}, "run `make status`"
    assert max(times.values()) <= status.LIMIT
    assert sum(times.values()) <= 40 * 60  # two at a time: twenty minutes on two cores
