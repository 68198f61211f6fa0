"""Write the reference of all config keys from the schema: `make docs`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.config import load_schema, resolve

MARK = "<!-- made from config/schema.yaml by `make docs`: do not edit below -->"

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "multipleOf": "a multiple of {}",
}
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}


def render_reference(schema: Mapping[str, Any]) -> str:
    """Return Markdown, a table for each section: key, meaning, allowed values, default, why."""
    parts = []
    for name, section in schema["properties"].items():
        rows = list(_rows(section, "", schema)) or [_row("", section, True, schema)]
        parts.append(
            f"## `{name}`\n\n{section['description']}\n\n"
            "| key | meaning | allowed | default | why |\n"
            "| --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _rows(node: Mapping[str, Any], prefix: str, root: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each key below `node`, in the order of the schema."""
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
    text = _TYPES[value["type"]]
    if isinstance(value.get("items"), Mapping):
        text += f" of: {_allowed(value['items'], root)}"
    limits = [text.format(value[rule]) for rule, text in _LIMITS.items() if rule in value]
    return ", ".join([text, *limits])


def main(schema: Path, readme: Path) -> None:
    """Replace what stands below the mark in `readme` by the reference of `schema`."""
    written = readme.read_text(encoding="utf-8").partition(MARK)[0]
    reference = render_reference(load_schema(schema))
    readme.write_text(f"{written}{MARK}\n\n{reference}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
