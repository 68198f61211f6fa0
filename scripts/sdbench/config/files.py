"""Read the files of a config, and say in one line why one cannot be read.

Stricter than Snakemake, which reads them first where nothing keeps it: a repeated key is refused,
and whatever could run code. Imports nothing heavy.
"""

import argparse
import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError, one_line, plain, refuse

import yaml

# The same language, read by a library in C where PyYAML was built with it.
FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TEMPLATE = "__use_yte__"
"""The key with which Snakemake runs what a YAML file holds as Python."""


def find_path(path: str, workflow: Path) -> Path:
    """Return a path of the working directory, or else of the workflow's folder.

    They differ with --directory, and where the workflow is a module of another.
    """
    return Path(path) if Path(path).exists() else workflow / path


def read_config_file(path: Path) -> dict[str, Any]:
    """Return what a file of the config holds, JSON or YAML, as Snakemake would read it.

    Raises:
        UserError: if it is not there, or not one mapping in UTF-8; if a key stands twice; or if it
            is a template.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: use a readable file") from None


def refuse_unreadable(paths: Iterable[str | Path]) -> None:
    """End with one line if one of the files cannot be read: Snakemake's reader is next."""
    try:
        for path in paths:
            read_config_file(Path(path))
    except UserError as error:
        refuse(error)


def refuse_unreadable_arguments(arguments: Sequence[str]) -> None:
    """Do the same for the files that a command line of Snakemake names with `--configfile`.

    It takes all that follows for files: a target there is refused with the place where it belongs.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    files = parser.parse_known_args(list(arguments))[0].configfile
    for file in files[1:]:
        if Path(file).suffix not in (".yaml", ".yml", ".json"):
            refuse(
                UserError(
                    f"{file}: no config file: if it is a target, write it before --configfile: "
                    f"`snakemake {file} --configfile {files[0]}`"
                )
            )
    refuse_unreadable(files)


@functools.lru_cache(maxsize=32)
def _read(path: Path, _changed: int) -> dict[str, Any]:
    try:
        data = _parse(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start}: not UTF-8: save it as UTF-8 text") from None
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = error.problem or error.context or "cannot be parsed"
        raise UserError(
            f"{path}: {where}not YAML ({_said(reason)}): correct it (tabs, quotes, brackets)"
        ) from None
    except _UNREADABLE as error:
        raise UserError(f"{path}: not YAML ({_said(error)}): correct it") from None
    if not isinstance(data, dict):
        kind = "nothing" if data is None else "a list" if isinstance(data, list) else "text"
        raise UserError(
            f"{path}: found {kind}; allowed is a mapping, `key: value`: see config/README.md"
        )
    if TEMPLATE in data:
        raise UserError(
            f"{path}: {TEMPLATE}: found a template, which may run any code when loaded; allowed "
            "is plain YAML: remove the key"
        )
    return data


# What PyYAML lets through of a number or a date that is none.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError)


def _parse(text: str) -> Any:
    try:  # as Snakemake does
        return json.loads(text, object_pairs_hook=_mapping)
    except ValueError:
        return yaml.load(text, _StrictLoader)


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated([key for key, _ in pairs], "")
    return dict(pairs)


class _StrictLoader(FastLoader):  # type: ignore[misc]
    """YAML as Snakemake reads it, but that a repeated key is not silently the last one, and a
    number no other than it looks."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[Any] = set()

    def flatten_mapping(self, node: Any) -> None:
        # Once for each mapping: this adds the keys of a merge (`<<`) to it, which may be repeated.
        if node not in self._seen:
            self._seen.add(node)
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _refuse_repeated(keys, f", from line {node.start_mark.line + 1} on")
        super().flatten_mapping(node)


def _number(loader: Any, node: Any) -> Any:
    kind = node.tag.rpartition(":")[2]
    number = getattr(loader, f"construct_yaml_{kind}")(node)
    if re.match(r"[-+]?0[0-7_]+$|.*:", node.value):  # of base 8 or 60
        raise UserError(
            f"line {node.start_mark.line + 1}: found {plain(node.value)}, which YAML reads as "
            f"{number}: write that, or put it in quotes if it is text"
        )
    return number


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)


def _refuse_repeated(keys: Sequence[str], where: str) -> None:
    for key, count in Counter(keys).items():
        if count > 1:
            raise UserError(f"{plain(key)}: found twice{where}: keep one of them")


def _said(reason: Any) -> str:
    return plain(one_line(Exception(reason)), 120)


def locate(path: Sequence[str | int], files: Sequence[Path]) -> str:
    """Name a key of the config for the user, after the last of `files` that holds most of `path`.

    Args:
        path: keys and places in lists from the top of the config to the one that is meant.
        files: the files that were merged, the later ones overriding.
    """
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{plain(part)}" for part in path)
    deepest = max(reversed(files), key=lambda file: _depth(path, file), default=None)
    # A key that no file holds was given on the command line.
    found = deepest and (not path or _depth(path, deepest))
    name = str(deepest) if found else "--config"
    return f"{name}: {key.removeprefix('.')}" if key else name


def _depth(path: Sequence[str | int], file: Path) -> int:
    value: Any = read_config_file(file)
    for depth, part in enumerate(path):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)
