"""Read the files of a config, and say in one line why one cannot be read.

Stricter than Snakemake, which reads them first where nothing keeps it: a repeated key is refused,
and whatever could keep a reader busy for ever, or run code. Imports nothing heavy.
"""

import argparse
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sdbench.errors import UserError, one_line, plain, refuse

import yaml

try:  # the same language, read by a library in C where PyYAML was built with it
    from yaml import CSafeLoader as FastLoader
except ImportError:
    from yaml import SafeLoader as FastLoader  # type: ignore[assignment]

__all__ = [
    "FastLoader",
    "locate",
    "read_config_file",
    "refuse_unreadable",
    "refuse_unreadable_arguments",
]

LARGEST = 1_000_000
"""Bytes of a file."""
DEEPEST = 30
"""Levels of mappings and lists within each other; a config has eight."""
MOST_VALUES = 20_000
"""Keys and values of a file, its aliases written out: as many as Snakemake reads in two seconds."""
TEMPLATE = "__use_yte__"
"""The key with which Snakemake runs what a YAML file holds as Python."""


def read_config_file(path: Path) -> dict[str, Any]:
    """Return what a file of the config holds, JSON or YAML, as Snakemake would read it.

    Raises:
        UserError: if it is not there, or not one mapping in UTF-8; if a key stands twice, or an
            alias within itself; if it is larger than `LARGEST`, deeper than `DEEPEST` or holds more
            than `MOST_VALUES`; or if it is a template.
    """
    try:
        if path.stat().st_size > LARGEST:
            size = path.stat().st_size
            raise UserError(
                f"{path}: found {size:,} bytes; allowed are {LARGEST:,}: name lists once, and give "
                "them an anchor"
            )
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: name a file that can be read") from None


def refuse_unreadable(paths: Iterable[str | Path]) -> None:
    """End with one line if one of the files cannot be read: Snakemake's reader is next."""
    try:
        for path in paths:
            read_config_file(Path(path))
    except UserError as error:
        refuse(error)


def refuse_unreadable_arguments(arguments: Sequence[str]) -> None:
    """Do the same for the files that a command line of Snakemake names with `--configfile`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    refuse_unreadable(parser.parse_known_args(list(arguments))[0].configfile)


@functools.lru_cache(maxsize=32)
def _read(path: Path, _changed: int) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start}: not UTF-8: save it as UTF-8 text") from None
    try:
        data = _parse(text)
    except _RefusedError as refusal:
        raise UserError(f"{path}: {refusal}") from None
    except RecursionError:  # of JSON; YAML is looked at first
        raise UserError(f"{path}: {_TOO_DEEP}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = error.problem or error.context or "cannot be parsed"
        raise UserError(
            f"{path}: {where}not YAML ({_said(reason)}): correct it; mind tabs, quotes and brackets"
        ) from None
    except _UNREADABLE as error:
        raise UserError(f"{path}: not YAML ({_said(error)}): correct it") from None
    if not isinstance(data, dict):
        kind = {None: "nothing", list: "a list"}.get(None if data is None else type(data), "text")
        raise UserError(
            f"{path}: found {kind}; allowed is a mapping, `key: value`: see config/README.md"
        )
    if TEMPLATE in data:
        raise UserError(
            f"{path}: {TEMPLATE}: found a template, which may run any code when read; allowed is "
            "plain YAML: remove the key"
        )
    return data


class _RefusedError(Exception):
    """What is wrong with a text that is well-formed."""


# What PyYAML lets through of a number or a date that is none.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError)
_TOO_DEEP = f"found more than {DEEPEST} levels within each other: make it flatter"


def _parse(text: str) -> Any:
    try:  # as Snakemake does
        data = json.loads(text, object_pairs_hook=_mapping)
    except ValueError:
        return _parse_yaml(text)
    _weigh(data, _members)
    return data


def _parse_yaml(text: str) -> Any:
    # By events first: libyaml falls over a tree that is too deep, and takes minutes to read it.
    depth = 0
    for event in yaml.parse(text, FastLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _RefusedError(_TOO_DEEP)
    root = yaml.compose(text, FastLoader)
    if root is None:
        return None
    # Before it is built: a merge key (`<<`) writes aliases out.
    _weigh(root, _nodes)
    return yaml.load(text, _StrictLoader)


def _weigh(root: Any, members: Callable[[Any], Iterable[Any]]) -> None:
    """Refuse a tree with too many values, aliases written out, or one that holds itself."""
    weights: dict[int, int] = {}
    within: set[int] = set()

    def weigh(value: Any) -> int:
        own = id(value)
        if own in within:
            raise _RefusedError("found an alias within what it stands for: write it out")
        if len(within) > DEEPEST:
            raise _RefusedError(_TOO_DEEP)
        if own not in weights:
            within.add(own)
            weights[own] = 1 + sum(map(weigh, members(value)))
            within.remove(own)
        return weights[own]

    if weigh(root) > MOST_VALUES:
        raise _RefusedError(
            f"found {weigh(root):,} values, aliases written out; allowed are {MOST_VALUES:,}: "
            "give cases in common lists, or make two configs of it"
        )


def _nodes(node: Any) -> Iterable[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else ()


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise _RefusedError(f"{_first_repeated(keys)}: found twice: keep one of them")
    return dict(pairs)


class _StrictLoader(FastLoader):
    """YAML as Snakemake reads it, but that a repeated key is not silently the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            line = node.start_mark.line + 1
            raise _RefusedError(
                f"{_first_repeated(keys)}: found twice, in line {line} ff.: keep one of them"
            )
        return super().construct_mapping(node, deep)


def _first_repeated(keys: Sequence[str]) -> str:
    return plain(next(key for key, count in Counter(keys).items() if count > 1))


def _said(reason: Any) -> str:
    return plain(one_line(Exception(reason)), 120)


def locate(path: Sequence[str | int], files: Sequence[Path]) -> str:
    """Name a key of the config for the user.

    Args:
        path: keys and places in lists from the top of the config to the one that is meant.
        files: the files that were merged, the later ones overriding.

    Returns:
        The last of `files` that holds the key, or the longest part of its path, and the key.
    """
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{plain(part)}" for part in path)
    depths = [(_depth(path, file), number) for number, file in enumerate(files)]
    deepest = max(depths, default=(0, -1))
    # A key that no file holds was given on the command line.
    name = str(files[deepest[1]]) if deepest[0] >= min(1, len(path)) and files else "--config"
    return f"{name}: {key.removeprefix('.')}" if key else name


def _depth(path: Sequence[str | int], file: Path) -> int:
    try:
        value: Any = read_config_file(file)
    except UserError:
        return 0
    for depth, part in enumerate(path):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)
