"""The ledger of claims, ``book/claims.md``: every claim, and each verdict with its evidence.

    python tools/ledger.py            # write it
    python tools/ledger.py --check    # fail where it is not what the chapters give

The claims stand in ``book/claims.yml``; verdicts are read out of the ``{claim}`` directives in
the chapters, and the measured numbers that they cite out of the chapters' twins.
"""

import argparse
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from myst_nb.core.variables import format_plain_text

from tools.sources import ROOT, code_cells, relative, relink, sources, title, twin_of

VERDICTS = ("true", "true with conditions", "misleading", "false", "open")
GLUED = "application/papermill.record/text/plain"
LEDGER = ROOT / "book" / "claims.md"

_DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{claim\} *(?P<id>\S+) *\n(?P<body>.*?)^(?P=fence) *$",
    re.DOTALL | re.MULTILINE,
)
_GLUE = re.compile(r"\{glue:text\}`([^`:]+)(?::([^`]*))?`")

_OPENING = """\
# The claims on trial

<!-- Made from claims.yml and the chapters by `make notebooks`: do not edit. -->

In the spring of 2024 Kolmogorov-Arnold networks became a sensation, and many people first heard of
them in the press. Our witness is a popular article in Chinese that was shared widely in those
weeks. It is well told, and much of what it says is said elsewhere too; that is why it is worth
a trial. Each of its claims is quoted where the book meets it, in the article's own words beside our
rendering, with its hedges; then it is tried, in a cell that you can run, and given a verdict. This
page gathers the verdicts, with the numbers as they were measured. So far {tried} of the {total}
claims have been tried.

The verdicts mean:

**true**
: The claim holds as it was made.

**true with conditions**
: It holds if something is added that was not said; the chapter says what.

**misleading**
: Something in it is right, but whoever believes it will expect what does not happen.

**false**
: There is a counterexample, and the chapter shows it.

**open**
: Nobody knows, or the evidence does not decide.

## At a glance

| claim | verdict so far | tried in |
|---|---|---|
"""


@dataclass(frozen=True)
class Trial:
    """One ``{claim}`` directive: which claim, where, the verdict, and the text below it."""

    claim: str
    source: Path
    verdict: str
    scope: str
    evidence: str

    @property
    def chapter(self) -> str:
        """The chapter's name."""
        return title(self.source)


def claims(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """The claims by their ids."""
    entries = yaml.safe_load((root / "book" / "claims.yml").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in entries}


def trials(source: Path) -> list[Trial]:
    """The trials in a chapter, with numbers in place of ``{glue:text}``."""
    found = []
    for match in _DIRECTIVE.finditer(source.read_text(encoding="utf-8")):
        options = dict(re.findall(r"^:(\w+): *(.*?) *$", match["body"], re.MULTILINE))
        body = re.sub(r"\A(?::\w+:.*\n)+", "", match["body"]).strip()
        verdict = options.get("verdict", "")
        if verdict not in VERDICTS:
            where = f"{relative(source)}, claim {match['id']}"
            raise ValueError(f"{where}: the verdict must be one of {VERDICTS}, got {verdict!r}")
        body, scope = (_as_in_ledger(text, source) for text in (body, options.get("scope", "")))
        found.append(Trial(match["id"], source, verdict, scope, body))
    return found


def _as_in_ledger(text: str, source: Path) -> str:
    """A chapter's text with its numbers filled in and its links as seen from the ledger."""
    values = glued(source) if "{glue" in text else {}

    def number(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"{relative(source)}: nothing is glued as {match[1]!r} in its twin")
        return str(format_plain_text(values[match[1]], match[2] or "s"))

    return relink(_GLUE.sub(number, text), source.parent, LEDGER.parent)


def glued(source: Path) -> dict[str, str]:
    """The values that a chapter's twin holds, by the names that they were glued under."""
    twin = twin_of(source)
    if not twin.exists():
        raise ValueError(f"{relative(source)} has no twin yet: run `make notebooks`")
    values = {}
    for cell in code_cells(nbformat.read(twin, as_version=4)):
        for output in cell.outputs:
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                values[name] = output.data.get(GLUED, "")
    return values


def ledger() -> str:
    """The text of the ledger."""
    known = claims()
    by_claim: dict[str, list[Trial]] = {name: [] for name in known}
    for trial in (trial for source in sources() for trial in trials(source)):
        if trial.claim not in known:
            raise ValueError(f"{relative(trial.source)}: there is no claim {trial.claim!r}")
        by_claim[trial.claim].append(trial)
    count = Counter(bool(found) for found in by_claim.values())
    text = _OPENING.format(tried=count[True] or "none", total=len(known))
    text += "".join(_row(name, known[name], found) for name, found in by_claim.items())
    text += "".join(_section(known[name], found) for name, found in by_claim.items())
    return text


def _row(name: str, claim: dict[str, Any], found: list[Trial]) -> str:
    """A claim's line in the table."""
    verdicts = ", ".join(_badge(trial.verdict) for trial in found) or "not tried yet"
    chapters = ", ".join(_places(claim, found))
    return f"| [{name}](#ledger-{name.lower()}) | {verdicts} | {chapters} |\n"


def _section(claim: dict[str, Any], found: list[Trial]) -> str:
    """A claim's own section: its words, then each trial."""
    name = claim["id"]
    parts = [
        f"\n(ledger-{name.lower()})=\n## Claim {name}\n",
        f'> <span lang="zh-Hans">{claim["phrase"]}</span>\n>\n> {claim["claim"].strip()}\n',
    ]
    for trial in found:
        scope = f"*Tried there: {trial.scope}*\n\n" if trial.scope else ""
        parts.append(
            f"::::::{{div}} claim claim-{trial.verdict.replace(' ', '-')}\n"
            f"**In {_link(trial)}:** {_badge(trial.verdict)}\n\n{scope}{trial.evidence}\n::::::\n"
        )
    if not found:
        chapters = " and ".join(f"*{chapter}*" for chapter in claim["tried_in"])
        parts.append(f"Not tried yet: it belongs to the chapters to come, {chapters}.\n")
    return "\n".join(parts)


def _places(claim: dict[str, Any], found: list[Trial]) -> list[str]:
    """Where a claim has been tried, linked, and where it will be."""
    names = {trial.chapter for trial in found}
    coming = [f"*{chapter}*" for chapter in claim["tried_in"] if chapter not in names]
    return [*dict.fromkeys(_link(trial) for trial in found), *coming]


def _link(trial: Trial) -> str:
    target = os.path.relpath(trial.source, LEDGER.parent)
    return f"[{trial.chapter}]({Path(target).as_posix()})"


def _badge(verdict: str) -> str:
    """The verdict as the chapters' boxes show it; the class carries the color."""
    slug = verdict.replace(" ", "-")
    return f'<span class="claim-badge claim-{slug}">{verdict}</span>'


def main() -> int:
    """Write the ledger, or say that it is stale."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail where it is not in step")
    options = parser.parse_args()
    text = ledger()
    if LEDGER.exists() and LEDGER.read_text(encoding="utf-8") == text:
        return 0
    if options.check:
        print(f"{relative(LEDGER)} is not in step: run `make notebooks`", file=sys.stderr)
        return 1
    LEDGER.write_text(text, encoding="utf-8")
    print(f"  wrote {relative(LEDGER)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
