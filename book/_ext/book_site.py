"""What every page of the site needs: MathJax from this machine, the book's styles and script.

A built page asks nothing of the network: MathJax comes out of the package
``sphinx-mathjax-offline``, and the scripts of Thebe (which this book does not use, but
Jupyter Book always adds) are taken off again. Chinese words are marked as Chinese.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform

# Of MathJax, only what the TeX-to-CHTML component can ask for: the component, its fonts, the
# TeX extensions that it loads on demand, and the reading aids behind its context menu.
MATHJAX_ENTRY = "tex-chtml.js"
MATHJAX_PARTS = (
    MATHJAX_ENTRY,
    "input/tex/extensions/",
    "output/chtml/fonts/",
    "a11y/",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "sre/mathmaps/nemeth.json",
)
MATHJAX_NOTICE = "MathJax 3.2.2, unchanged. Copyright The MathJax Consortium. Apache License 2.0.\n"

# Han characters, and the punctuation between them.
CHINESE = re.compile("([\u3400-\u9fff](?:[\u3000-\u9fff\uff00-\uffef, ]*[\u3400-\u9fff])?)")
VERBATIM = (nodes.raw, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block)

# What extensions write into pages that browsers or screen readers object to.
UNWANTED = (
    ' id="proof"',  # sphinx-proof gives every proof without a label the same anchors
    ' id="proof-content"',
    ' role="list"',  # docutils, around citations: its children are not list items
    ' role="doc-biblioentry"',  # deprecated
)
# The corner of a table that has headers on two sides: nothing is there to be a header of.
EMPTY_HEADER = re.compile(r"<th( [^>]*)?>\s*(?:<p>\s*</p>\s*)?</th>")


def copy_mathjax(app: Sphinx) -> None:
    """Copy the needed parts of MathJax into the site, before the pages are written."""
    if app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "mathjax")
    marker = "static/mathjax/"
    copied = 0
    for entry in files("sphinx-mathjax-offline") or ():
        _, found, part = entry.as_posix().partition(marker)
        if not found or not part.startswith(MATHJAX_PARTS):
            continue
        copied += 1
        destination = target / part
        if not destination.exists():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(entry.locate()), destination)
    if copied == 0:
        raise RuntimeError("sphinx-mathjax-offline holds no MathJax: is it another version?")
    (target / "NOTICE.txt").write_text(MATHJAX_NOTICE, encoding="utf-8")


def drop_thebe(app: Sphinx) -> None:
    """Silence Thebe, which Jupyter Book always adds.

    Its script repeats a constant, an error on every page, and would load itself from a CDN.
    """
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if getattr(listener.handler, "__module__", "").startswith("sphinx_thebe"):
                app.disconnect(listener.id)


def mend_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out Thebe's style sheet, anchors that repeat, roles and headers that do not fit."""
    body = context.get("body", "")
    for unwanted in UNWANTED:
        body = body.replace(unwanted, "")
    context["body"] = EMPTY_HEADER.sub(r"<td\1></td>", body)
    context["css_files"] = [
        sheet for sheet in context.get("css_files", []) if "sphinx-thebe" not in str(sheet.filename)
    ]


def share_html_handlers(app: Sphinx) -> None:
    """Give the one-page builder all HTML handlers.

    Sphinx looks for handlers under the builder's name first. One extension registers its nodes
    for ``singlehtml`` alone, which would hide every handler that is registered for ``html``.
    """
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}


class Chinese(nodes.Inline, nodes.TextElement):
    """A run of Chinese, marked as such for fonts, hyphenation and screen readers."""


class MarkChinese(SphinxPostTransform):
    """Wrap each run of Chinese in the text of a page."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if isinstance(parent, VERBATIM) or not CHINESE.search(text):
                continue
            pieces: list[nodes.Node] = []
            for number, piece in enumerate(CHINESE.split(text)):
                if piece:
                    pieces.append(Chinese("", piece) if number % 2 else nodes.Text(piece))
            parent.replace(text, pieces)


def visit_chinese(self: Any, node: Chinese) -> None:
    self.body.append('<span lang="zh-Hans">')


def depart_chinese(self: Any, node: Chinese) -> None:
    self.body.append("</span>")


def use_own_mathjax(app: Sphinx, config: Config) -> None:
    """Point pages with formulas to the copied MathJax."""
    config.mathjax_path = f"mathjax/{MATHJAX_ENTRY}"  # type: ignore[attr-defined]


def name_solutions(app: Sphinx, docname: str, source: list[str]) -> None:
    """The solved notebooks are headed "Solutions", as they are called in the contents."""
    if docname.startswith("exercises/") and not docname.startswith("exercises/student/"):
        source[0] = source[0].replace("# Exercises: ", "# Solutions: ", 1)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_css_file("book.css")
    app.add_js_file("book.js", loading_method="defer")
    drop_thebe(app)
    app.add_node(Chinese, html=(visit_chinese, depart_chinese))
    app.add_post_transform(MarkChinese)
    app.connect("config-inited", use_own_mathjax)
    app.connect("source-read", name_solutions)
    app.connect("builder-inited", copy_mathjax)
    app.connect("builder-inited", share_html_handlers)
    app.connect("html-page-context", mend_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
