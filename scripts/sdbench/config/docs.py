"""Write what the schema says of options, and the reference of all config keys: `make docs`."""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.cases.kinds import KINDS
from sdbench.cases.options import NONE, OPTIONS
from sdbench.config.check import BOUNDS, TYPES, load_schema, resolve

import yaml

MARK = "<!-- made from config/schema.yaml by `make docs`: do not edit below -->"
BEGIN = "  # made from scripts/sdbench/cases/options.py by `make docs`: do not edit\n"
END = "  # end of what is made\n"


OPTIONS_HEAD = """\
## Options

What `options` may name, joined by `+`. Without an attention option PyTorch uses
`scaled_dot_product_attention` (SDPA). An option changes the image if it computes
something else; most others round in another order, which moves it a little. More on
each is in [docs/method.md](../docs/method.md#options).

| option | what it does | backends | not together with | changes the image |
| --- | --- | --- | --- | --- |
"""


def render_option_schema() -> str:
    """Return YAML, the schema of a set of options: each by itself, for editors, and all sets."""
    schema = {
        "description": f"Options joined by `+`, or `{NONE}`.",
        "type": "string",
        "pattern": rf"^({NONE}|((^|\b\+)({'|'.join(OPTIONS)}))+)$(?!\n)",
        # The pattern decides; this is what editors offer.
        "anyOf": [
            {"const": NONE, "description": "No option."},
            *({"const": name, "description": option.does} for name, option in OPTIONS.items()),
            {"pattern": r"\+", "description": "Several options."},
        ],
    }
    text = yaml.safe_dump({"option": schema}, sort_keys=False, default_flow_style=None, width=1000)
    return textwrap.indent(text, "  ")


def render_options() -> str:
    """Return Markdown, a table of all options: what each does, where, and without which others."""
    rows = []
    for option in OPTIONS.values():
        where = "; ".join(
            backend if len(kinds) == len(KINDS) else f"{backend} on {', '.join(kinds)}"
            for backend, kinds in option.backends.items()
        )
        reasons: dict[str, list[str]] = {}
        for other, reason in {**option.excluded(), **option.no_precision}.items():
            reasons.setdefault(reason, []).append(f"`{other}`")
        cells = (
            f"`{option.name}`",
            option.does,
            f"{where} ({option.no_kind})" if option.no_kind else where,
            "; ".join(f"{', '.join(others)}: {reason}" for reason, others in reasons.items()),
            "yes" if option.changes_image else "no",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return OPTIONS_HEAD + "\n".join(rows) + "\n"


def render_reference(schema: Mapping[str, Any]) -> str:
    """Return Markdown, a table for each section: key, meaning, allowed values, default, why."""
    parts = []
    for name, section in schema["properties"].items():
        rows = list(_rows(section, "", schema)) or [_row("", section, True, schema)]
        head = "| key | meaning | allowed | default | why |\n| --- | --- | --- | --- | --- |"
        lines = [f"## `{name}`\n", f"{section['description']}\n", head, *rows, ""]
        parts.append("\n".join(lines))
    return "\n".join([*parts, render_options()])


def _rows(node: Mapping[str, Any], prefix: str, root: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each key below `node`."""
    node = resolve(node, root)
    if isinstance(node.get("additionalProperties"), Mapping):
        yield from _rows(node["additionalProperties"], f"{prefix}<name>.", root)
    if isinstance(node.get("items"), Mapping) and "properties" in resolve(node["items"], root):
        yield from _rows(node["items"], f"{prefix}[].", root)
    for choice in node.get("oneOf", ()):
        yield from _rows(choice, prefix, root)
    for key, value in node.get("properties", {}).items():
        below = list(_rows(value, f"{prefix}{key}.", root))
        if not below or "oneOf" in resolve(value, root):
            yield _row(f"{prefix}{key}", value, key in node.get("required", ()), root)
        yield from below


def _row(key: str, value: Mapping[str, Any], required: bool, root: Mapping[str, Any]) -> str:
    value = resolve(value, root)
    default = value.get("default")
    cells = (
        f"`{key}`" if key else "",
        value.get("description", ""),
        _allowed(value, root),
        f"`{default}`" if default is not None else "required" if required else "not set",
        value.get("$comment", ""),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _allowed(value: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    value = resolve(value, root)
    if "oneOf" in value:
        return " or ".join(_allowed(choice, root) for choice in value["oneOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if value.get("type") == "object" and "required" in value:
        return "{" + ", ".join(value["required"]) + "}"
    if value.get("anyOf") == root["$defs"]["option"]["anyOf"]:
        return "[options](#options)"
    text = "true or false" if value["type"] == "boolean" else TYPES[value["type"]]
    if isinstance(value.get("items"), Mapping):
        text += f" of: {_allowed(value['items'], root)}"
    bounds = ("minimum", "exclusiveMinimum", "maximum", "multipleOf")
    limits = [BOUNDS[rule].format(value[rule]) for rule in bounds if rule in value]
    return ", ".join([text, *limits])


def main(schema: Path, readme: Path) -> None:
    """Replace what is made in `schema`, and what stands below the mark in `readme`."""
    before, _, rest = schema.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    schema.write_text(before + BEGIN + render_option_schema() + END + after, encoding="utf-8")
    written = readme.read_text(encoding="utf-8").partition(MARK)[0]
    reference = render_reference(load_schema(schema))
    readme.write_text(f"{written}{MARK}\n\n{reference}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
