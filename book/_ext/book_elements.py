"""What the reader can touch: small interactive elements, plain JavaScript and SVG.

Each entry of ``ELEMENTS`` makes a directive, such as ``{bspline-playground}``, which puts an empty
box on the page for its script to fill. Scripts are loaded where their element stands, and only
there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Element(NamedTuple):
    """A script of ``book/_static``, and what a reader without JavaScript is told instead."""

    script: str
    instead: str


ELEMENTS = {
    "bspline-playground": Element(
        "bspline.js",
        "Here a small program lets you drag the coefficients and knots of a spline and watch the "
        "curve follow.",
    ),
    "bumps-playground": Element(
        "bumps.js",
        "Here a small program lets you add one neuron at a time, choose where it bends, and watch "
        "the error fall, or get stuck where the bend is a polynomial.",
    ),
    "coordinates-playground": Element(
        "coordinates.js",
        "Here a small program lets you move the coefficients of a spline in B-splines, and shows "
        "the coefficients of the same curve in powers of ReLU.",
    ),
    "digits-playground": Element(
        "digits.js",
        "Here a small program magnifies Sprecher's inner function around any point, one digit "
        "after the other.",
    ),
    "terms-playground": Element(
        "terms.js",
        "Here a small program lets you choose a function, a recipe (Bernstein, Fourier or "
        "Chebyshev) and a number of terms, and shows the error that remains.",
    ),
    "towns-playground": Element(
        "towns.js",
        "Here a small program shows, for any point of the square, which of the five towns have a "
        "block there, and subtracts one step of the proof after the other.",
    ),
}

BOX = """\
<div class="playground" data-element="{name}">
<noscript><p>{instead} It needs JavaScript, which is switched off; the figures of this chapter show
the same things.</p></noscript>
</div>
"""


class Playground(SphinxDirective):
    """An element that is drawn by its script; the directive's name says which one."""

    def run(self) -> list[nodes.Node]:
        self.env.metadata[self.env.docname][self.name] = True
        box = BOX.format(name=self.name, instead=ELEMENTS[self.name].instead)
        return [nodes.raw("", box, format="html")]


def add_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load an element's script on the pages that hold the element, and only there."""
    here = app.env.metadata.get(pagename, {})
    for name, element in ELEMENTS.items():
        if name in here:
            app.add_js_file(element.script, loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    for name in ELEMENTS:
        app.add_directive(name, Playground)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
