"""The ``claim`` directive: a claim from the press, on trial where the book meets it.

    ```{claim} C4
    :verdict: false
    :scope: the part of the claim that this chapter tries
    Why, with evidence: {glue:text}`name`.
    ```

The claim's wording and its Chinese phrase come from ``book/claims.yml``; the ledger,
``book/claims.md``, is made from the same file and from these directives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CLAIMS = Path(__file__).resolve().parents[1] / "claims.yml"
VERDICTS = ("true", "true with conditions", "misleading", "false", "open")


class ClaimBox(nodes.General, nodes.Element):
    """The whole box: a labelled group."""


def verdict(argument: str) -> str:
    """Read the option ``:verdict:``."""
    return directives.choice(argument, VERDICTS)


def load_claims(path: Path = CLAIMS) -> dict[str, dict[str, Any]]:
    """Read the claims as a mapping from id to entry."""
    return {entry["id"]: entry for entry in yaml.safe_load(path.read_text(encoding="utf-8"))}


class ClaimDirective(SphinxDirective):
    """A box with the phrase in Chinese, our rendering, the verdict and its evidence."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"verdict": verdict, "scope": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        claim_id = self.arguments[0].strip()
        self.env.note_dependency(str(CLAIMS))
        claims = load_claims()
        if claim_id not in claims:
            raise self.error(f"claim must be one of {', '.join(claims)}, got {claim_id!r}")
        if "verdict" not in self.options:
            raise self.error(f"claim {claim_id} needs :verdict:, one of {', '.join(VERDICTS)}")
        self.assert_has_content()
        entry = claims[claim_id]
        box = ClaimBox(verdict=self.options["verdict"])
        box["ids"] = [f"claim-{claim_id.lower()}"]
        self.set_source_info(box)
        self.state.document.note_explicit_target(box)
        box += self.header(claim_id)
        box += nodes.paragraph("", entry["phrase"], classes=["claim-phrase"])
        box += nodes.paragraph("", entry["claim"], classes=["claim-text"])
        if "scope" in self.options:
            scope = nodes.paragraph(classes=["claim-scope"])
            scope += nodes.strong("", "Tried here: ")
            inline, messages = self.state.inline_text(self.options["scope"], self.lineno)
            scope += inline
            box += [scope, *messages]
        body = nodes.container(classes=["claim-body"])
        self.state.nested_parse(self.content, self.content_offset, body)
        box += body
        label = f"{box['ids'][0]}-{Path(self.env.docname).name}"
        self.env.get_domain("std").note_hyperlink_target(  # type: ignore[attr-defined]
            label, self.env.docname, box["ids"][0], f"Claim {claim_id}"
        )
        return [box]

    def header(self, claim_id: str) -> nodes.Element:
        """The first line: which claim, and the verdict as a badge."""
        header = nodes.paragraph(classes=["claim-header"])
        header += nodes.strong("", f"Claim {claim_id}", classes=["claim-id"])
        header += nodes.Text(" ")
        badge = nodes.inline("", "", classes=["claim-badge"])
        badge += nodes.inline("", "Verdict: ", classes=["claim-badge-label"])
        badge += nodes.Text(self.options["verdict"])
        header += badge
        return header


def visit_box(self: Any, node: ClaimBox) -> None:
    slug = node["verdict"].replace(" ", "-")
    name = node["ids"][0].removeprefix("claim-").upper()
    self.body.append(
        self.starttag(
            node,
            "div",
            CLASS=f"claim claim-{slug}",
            role="group",
            **{"aria-label": f"Claim {name}, verdict: {node['verdict']}"},
        )
    )


def depart_box(self: Any, node: ClaimBox) -> None:
    self.body.append("</div>\n")


def pass_by(self: Any, node: nodes.Element) -> None:
    """Other formats show the children one after another."""


def setup(app: Sphinx) -> dict[str, Any]:
    plain = dict.fromkeys(("latex", "text", "man", "texinfo"), (pass_by, pass_by))
    app.add_node(ClaimBox, html=(visit_box, depart_box), **plain)
    app.add_directive("claim", ClaimDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
