"""One HTML file of everything: template, style and scripts inlined, so that nothing is fetched.

The file forbids the browser every request and every script but its own, which it names by their
digests (Content-Security-Policy): a name that came through unescaped could still do nothing.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.report.figures import style

import itables
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent
LOADED_BY_NAME = "page.{kind}"

COLOURS = {
    "ink": style.INK,
    "grey": style.GREY,
    "grid": style.GRID,
    "paper": style.PAPER,
    "alarm": style.ALARM,
    "accent": style.PRECISIONS["fp32"],
    "good": style.PRECISIONS["tf32"],
}


def render_page(content: Mapping[str, Any]) -> str:
    """Return the HTML of a page.

    Args:
        content: what `page.html.j2` names.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [vega(), data_tables()[0], _own("js")]
    wrapped = [f"\n{_inline(script)}\n" for script in scripts]
    return environment.get_template(LOADED_BY_NAME.format(kind="html.j2")).render(
        **content,
        colours=COLOURS,
        policy=_policy(wrapped),
        # Ours and the libraries': nothing in them is from a config, a model or a record.
        scripts=[Markup(script) for script in wrapped],
        styles=[Markup(data_tables()[1]), Markup(_own("css"))],
    )


@functools.cache
def vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which makes `vegaEmbed` known."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


@functools.cache
def data_tables() -> tuple[str, str]:
    """Return DataTables as a script, which makes `DataTable` known, and its style."""
    folder = Path(itables.__file__).parent / "html"
    bundle = (folder / "dt_bundle.js").read_text(encoding="utf-8")
    # It is a module for others to import, and here there is no file to import it from.
    exported = r"export\s*\{[^{}]*?([\w$]+) as default[^{}]*\};?"
    script, found = re.subn(exported, r"window.DataTable=\1;", bundle)
    assert found == 1, f"{folder}: not the module that it was"
    return script, (folder / "dt_bundle.css").read_text(encoding="utf-8")


def _own(kind: str) -> str:
    return (_HERE / LOADED_BY_NAME.format(kind=kind)).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """Return a script as an HTML file can hold it: nothing in it may look like its end."""
    return re.sub(r"<(/script|!--|script)", r"\\x3c\1", script, flags=re.IGNORECASE)


def _policy(scripts: list[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    named = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {named}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@dataclass(frozen=True)
class Drawing:
    """A figure as an image that stands in the file; no script in it is run. Size in points."""

    source: str
    width: int
    height: int


def read_svg(path: Path) -> Drawing:
    """Return an SVG as an image of the page. One that does not say its size gets that of a page."""
    content = path.read_bytes()
    box = re.search(rb'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', content)
    width, height = (round(float(side)) for side in box.groups()) if box else (620, 400)
    source = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return Drawing(source, width, height)
