"""Text of the project's own documents as HTML: Markdown and reStructuredText, raw HTML left out."""

import html
import re
from pathlib import Path

from docutils.core import publish_parts
from markdown_it import MarkdownIt
from markupsafe import Markup


def render_markdown(path: Path, below: int) -> Markup:
    """Return a Markdown document as HTML, its title left out.

    Args:
        path: the document.
        below: the level of heading under which it stands.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(re.sub(r"\A# .*\n", "", path.read_text(encoding="utf-8")))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            # Its second level is the first that is left.
            token.tag = f"h{min(6, int(token.tag[1:]) + below - 1)}"
    rendered = markdown.renderer.render(tokens, markdown.options, {})
    # A wide table scrolls by itself, by key as well, and the page does not.
    opened = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>'
    return Markup(rendered.replace("<table>", opened).replace("</table>", "</table></div>"))


def render_caption(path: Path) -> Markup:
    """Return a caption in reStructuredText as HTML."""
    settings = {
        "raw_enabled": False,
        "file_insertion_enabled": False,
        "report_level": 5,
        "doctitle_xform": False,
    }
    text = path.read_text(encoding="utf-8")
    return Markup(publish_parts(text, writer="html5", settings_overrides=settings)["body"])


def first_sentence(caption: Markup) -> str:
    """Return the first sentence of a rendered caption as plain text."""
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", caption)).split())
    return re.split(r"(?<=[.!?]) ", text, maxsplit=1)[0]
