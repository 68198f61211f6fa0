"""Configs that no user should write: whole files, and values for every key."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sdbench.config.check import Config

Path = tuple[str | int, ...]

BLOCK = """matrix:
- {model: shapes, devices: [cpu], backends: [pytorch], precisions: [fp32], batch_sizes: [1]}
"""


def with_batches(count: int) -> str:
    """Return a config of 250 times `count` cells."""
    devices = ", ".join(f"d{i}: {{kind: cuda}}" for i in range(25))
    names = ", ".join(f"d{i}" for i in range(25))
    options = "none, autocast, vae-slicing, channels-last, fused-qkv"
    sizes = ", ".join(map(str, range(1, count + 1)))
    return (
        f"devices: {{{devices}}}\nmatrix:\n- {{model: shapes, devices: [{names}], "
        f"backends: [pytorch, onnxruntime], precisions: [fp32], options: [{options}], "
        f"batch_sizes: [{sizes}]}}\n"
    )


def with_devices(count: int) -> str:
    """Return a config of so many jobs that measure."""
    names = [f"d{i}" for i in range(count)]
    defined = ", ".join(f"{name}: {{kind: cpu}}" for name in names)
    block = BLOCK.replace("[cpu]", f"[{', '.join(names)}]")
    return f"devices: {{{defined}}}\n{block}quality: []\n"


def sourced(source: str) -> str:
    return f"models: {{shapes: {{source: {{{source}}}}}}}\n"


REFUSED_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "found nothing"),
    "only a comment": ("# nothing\n", "found nothing"),
    "only a byte order mark": ("\ufeff", "found nothing"),
    "null": ("null\n", "found nothing"),
    "a word": ("shapes\n", "found text"),
    "a list": ("- models\n- devices\n", "found a list"),
    "two documents": (f"{BLOCK}---\n{BLOCK}", "not YAML"),
    "an open list": ("matrix: [", "not YAML"),
    "a second colon": ("a: b: c\n", "not YAML"),
    "an unknown alias": ("matrix: *nothing\n", "undefined alias"),
    "an unknown tag": ("matrix: !thing {}\n", "not YAML"),
    "a Python function": ("matrix: !!python/name:os.system\n", "not YAML"),
    "a Python object": ("matrix: !!python/object/apply:os.system ['touch canary']\n", "not YAML"),
    "a date that is none": ("matrix: 2026-13-45\n", "not YAML"),
    "a number that is none": ("matrix: !!int x\n", "not YAML"),
    "a timestamp that is none": ("matrix: !!timestamp x\n", "not YAML"),
    "an empty number": ("matrix: !!int ''\n", "not YAML"),
    "an endless number": (f"currency: {'9' * 5000}\n", "not YAML"),
    "a list as a key": ("? [a]\n: 1\n", "not YAML"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not UTF-8"),
    "zeros": (bytes(1000), "not YAML"),
    "Latin-1": ("currency: \xe9\n".encode("latin-1"), "byte 10: not UTF-8"),
    "a bell": ("currency: \x07\n", "not YAML"),
    "a device twice": ("devices:\n  cpu: {kind: cpu}\n  cpu: {kind: cuda}\n", "cpu: found twice"),
    "a key twice in JSON": ('{"currency": "USD", "currency": "EUR"}', "currency: found twice"),
    "a key twice, unprintable": ('{"a\\n\\u202e": 1, "a\\n\\u202e": 2}', "found twice"),
    "a template": ("__use_yte__: true\ncurrency: ?'USD'\n", "__use_yte__: found a template"),
    "a template that runs code": (
        "__use_yte__: true\n__definitions__:\n- open('canary', 'w')\n",
        "__use_yte__: found a template",
    ),
    "a million cases": (with_batches(4096), "matrix: found 1,024,000 cells; allowed are 30,000"),
    "fifty thousand cases": (with_batches(200), "matrix: found 50,000 cells"),
    "a thousand jobs": (with_devices(1000), "jobs; allowed are 750"),
    "a key of a number": ("models: {1: {}}\n", "found 1 as a key"),
    "a key of nothing": ("devices: {null: {kind: cpu}}\n", "found None as a key"),
    "a key of a date": ("devices: {2026-01-01: {kind: cpu}}\n", "as a key"),
    "bytes": ("currency: !!binary aGk=\n", "currency: found b'hi', a bytes"),
    "a set": ("matrix: !!set {a, b}\n", "matrix: found {"),
    "an unknown key, unprintable": ('{"mod\\u202els\\n": {}}', "unknown key"),
    "an endless key": (f"{'x' * 120}: 1\n", "unknown key"),
    "a local model with a zero byte": (
        sourced('local: "a\\0b"'),
        "models.shapes.source.local: found 'a\\x00b'",
    ),
    "a local model of a long name": (
        sourced(f"local: {'x' * 500}"),
        "File name too long: use a folder that can be read",
    ),
    "a local model that is a file": (sourced("local: README.md"), "models.shapes.source: "),
    "a seeded model elsewhere": (
        sourced("seeded: ../../etc/passwd"),
        "models.shapes.source.seeded: found",
    ),
    "a name that is another's file": ("devices: {cpu.json: {kind: cpu}}\n", "found 'cpu.json'"),
    "a result folder that is an option": ("pathvars: {results: --help}\n", "pathvars.results"),
    "a result folder with a wildcard": ("pathvars: {results: 'a/{model}'}\n", "pathvars.results"),
    "a result folder with an empty part": ("pathvars: {results: a//b}\n", "pathvars.results"),
    "a result folder with a shell's words": (
        "pathvars: {results: '$(touch canary)'}\n",
        "pathvars.results",
    ),
    "a pathvar of Snakemake's own": ("pathvars: {logs: elsewhere}\n", "pathvars.logs: unknown key"),
    "a published campaign of nobody": (
        "published: [../resources]\n",
        "published[0]: found '../resources'; allowed are `lambda-2022-10`",
    ),
}
"""What a file holds, and what the line says. What people write by mistake: test_config.py."""

ACCEPTED_FILES: dict[str, str | bytes] = {
    "one entry": BLOCK,
    "an empty mapping": "{}\n",
    "no line end": BLOCK.strip(),
    "JSON": json.dumps({"currency": "EUR", "quality": []}),
    "JSON with tabs": '{\n\t"currency":\t"EUR"\n}',
    "anchors": f"x: &x\n{BLOCK}".replace("x: &x\n", "").replace("[cpu]", "&d [cpu]")
    + "- {model: shapes, devices: *d, backends: [pytorch], precisions: [bf16], batch_sizes: [2]}\n",
    "the same entry twice": BLOCK + BLOCK.partition("\n")[2],
    "cells that cannot exist": BLOCK.replace("[fp32]", "[fp32, tf32]"),
    "a prompt in many scripts": "models: {shapes: {generation: {prompt: "
    '"一只红色的圆 \u202e\u05d0\u05d1 \U0001f534 <b>&amp;</b> $x^2$ =1+1\\n`touch canary`"}}}\n',
    "names with dots": BLOCK.replace("[cpu]", "[c.p-u_1]") + "devices: {c.p-u_1: {kind: cpu}}\n",
    "a seed as large as can be": "models: {shapes: {generation: {seed: 9223372036854710271}}}\n",
    "a constraint with a shell's words": "devices: {cpu: {constraint: '$(touch canary); a|b'}}\n",
    "ten thousand cells": with_batches(40),
}

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "a fraction": 1.5,
    "a whole float": 2.0,
    "a huge number": 10**30,
    "a huge negative number": -(10**30),
    "the largest float": 1e308,
    "the smallest float": 5e-324,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "an empty text": "",
    "a space": " ",
    "a word": "text",
    "a number as text": "1",
    "up a folder": "../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "dots": "..",
    "a line end": "a\nb",
    "a line end at the end": "fp32\n",
    "a turn of direction": "\u202egpj.exe",
    "a bell": "\x07",
    "a zero byte": "a\x00b",
    "half a surrogate pair": "\ud800",
    "letters of others": "é😀日本",
    "a shell's words": "$(touch canary); `touch canary` | cat > canary",
    "a tag": "<script>alert(1)</script>",
    "a formula": "=1+1",
    "a wildcard": "{model}",
    "an endless text": "x" * 100_000,
    "an empty list": [],
    "an empty mapping": {},
    "a list of null": [None],
    "a list of lists": [[[]]],
    "a mapping": {"a": 1},
    "twice the same": [1, 1],
    "unlike things": [1, "a", None, {}, [], 1.5],
    "a thousand unlike things": [f"x{i}" if i % 2 else i for i in range(1_000)],
}
"""What stands in the place of each key's value in turn."""


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the place of every value in a config."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value[:1]):
            yield from paths(item, (*path, i))


def places(name: str, whole: Any) -> Iterator[Path]:
    """Yield the places of values where one of `VALUES` is tried: all. But where a text or a number
    is of the wrong kind, one of each is enough: what else they are plays no part there."""
    value = VALUES[name]
    kind = str if isinstance(value, str) else int | float
    everywhere = name in ("a word", "minus one") or not isinstance(value, str | int | float)
    for path in paths(whole):
        there = at(whole, path)
        if everywhere or there is None or isinstance(there, kind):
            yield path


def at(config: Config, path: Sequence[str | int]) -> Any:
    """Return what stands at a place of a config."""
    value: Any = config
    for part in path:
        value = value[part]
    return value


def mutated(config: Config, path: Path, value: Any) -> Config:
    """Return a copy of a config with another value at a place."""
    changed = copy.deepcopy(config)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def renamed(config: Config, section: str, name: Any) -> Config:
    """Return a copy of a config with another name for each thing that a section defines."""
    first, *_ = config[section]
    changed = copy.deepcopy(config)
    changed[section] = {name: config[section][first]}
    for block in (*changed["matrix"], *changed["quality"]):
        if section == "models":
            block["model"] = name
        else:
            block["devices"] = [name]
            if "reference" in block:
                block["reference"]["device"] = name
    return changed
