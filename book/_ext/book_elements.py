"""What the reader can touch: small interactive elements, plain JavaScript and SVG.

The directive ``{bspline-playground}`` stands for a spline whose coefficients and knots move.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PLAYGROUND = """\
<div class="playground" data-element="bspline-playground">
<noscript><p>Here a small program lets you drag the coefficients and knots of a spline and watch
the curve follow. It needs JavaScript, which is switched off; the figures of this chapter show
the same things.</p></noscript>
</div>
"""


class BSplinePlayground(SphinxDirective):
    """A spline whose coefficients and knots can be dragged; drawn by ``bspline.js``."""

    def run(self) -> list[nodes.Node]:
        self.env.metadata[self.env.docname]["bspline-playground"] = True
        return [nodes.raw("", PLAYGROUND, format="html")]


def add_script(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load an element's script on the pages that hold the element, and only there."""
    if "bspline-playground" in app.env.metadata.get(pagename, {}):
        app.add_js_file("bspline.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("bspline-playground", BSplinePlayground)
    app.connect("html-page-context", add_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
