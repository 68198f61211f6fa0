"""The digest of the code that decides what the script of a rule computes.

Snakemake sees a change of a script, and none of what the script imports. That is found here, in the
text of the modules: nothing is imported, and no list is kept by hand but `INFRASTRUCTURE`.
"""

import ast
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sdbench.runtime.digests import digest
from sdbench.runtime.files import sha256

INFRASTRUCTURE = {
    "sdbench/__init__.py": "the version of the workflow, and where a failed import is logged",
    "sdbench/runtime/errors.py": "the words in which something is refused",
    "sdbench/runtime/job.py": "the log of a job, how it ends, and which argument gets which file",
    "sdbench/runtime/ownership.py": "which of two jobs may write, not what",
    "sdbench/runtime/progress.py": "what the terminal is told",
    "sdbench/runtime/__init__.py": "no code",
    "sdbench/runtime/digests.py": "names of contents, this digest's too: others change it anyway",
}
"""Modules that no number depends on, each with the reason. What they import counts where others
import it too. Whatever is not listed here costs a rerun, so when in doubt, leave it out."""

Names = Mapping[str, Collection[str]]
"""What the placeholders in `LOADED_BY_NAME` stand for. One that is missing stands for anything."""

_sha256 = functools.cache(sha256)


def code_digest(script: Path, names: Names) -> str:
    """Return the SHA-256 of all code that decides what a script computes, 64 hexadecimal digits.

    Where the workflow lies plays no part: the same code in another folder has the same digest.
    """
    files = reached(script, names, without=INFRASTRUCTURE)
    return digest({path.relative_to(script.parent).as_posix(): _sha256(path) for path in files})


def reached(script: Path, names: Names, without: Collection[str] = ()) -> list[Path]:
    """Return a script and every file next to it that it imports anywhere or loads by name, sorted.

    Left out is `without`, relative to the script's folder, and what only these files import.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path in found or path.relative_to(script.parent).as_posix() in without:
            continue
        found.add(path)
        if path.suffix == ".py":
            module = read_module(path)
            for name in module.imports:
                waiting += _sources(script.parent, name)
            if module.loaded_by_name:
                waiting += _loaded(path.parent / module.loaded_by_name, names)
    return sorted(found)


class Module(NamedTuple):
    """What a module says that it needs.

    `loaded_by_name` is its constant `LOADED_BY_NAME`, the files of its own folder whose names are
    known only when it runs, such as "{backend}.py"; empty where there is none. A placeholder that
    is called as a wildcard of the rule stands for its value.
    """

    imports: frozenset[str]  # dotted names; one that is no module is an attribute of one
    loaded_by_name: str


@functools.cache
def read_module(path: Path) -> Module:
    """Read what a module needs from its text; once in a run."""
    imports: set[str] = set()
    loaded = ""
    for node in _statements(ast.parse(path.read_bytes())):
        match node:
            case ast.Import(names=names):
                imports.update(alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert module and level == 0, f"{path}: a relative import"
                imports.add(module)
                imports.update(f"{module}.{alias.name}" for alias in names)
            case (
                ast.Assign(targets=[ast.Name("LOADED_BY_NAME")], value=value)
                | ast.AnnAssign(target=ast.Name("LOADED_BY_NAME"), value=ast.expr() as value)
            ):
                loaded = ast.literal_eval(value)
    return Module(frozenset(imports), loaded)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement below a node: no expression, most of a tree, holds an import."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            yield child
            yield from _statements(child)


@functools.cache
def _sources(folder: Path, name: str) -> list[Path]:
    """Return the files below `folder` that are run when a module is imported."""
    parts = name.split(".")
    paths = [folder.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py"))]
    return [file for file in files if file.is_file()]


def _loaded(pattern: Path, names: Names) -> list[Path]:
    """Return the files that a pattern stands for."""

    def known(placeholder: re.Match[str]) -> str:
        name = placeholder[1]
        return f"({'|'.join(map(re.escape, names[name])) if name in names else '.+'})"

    expression = re.sub(r"\\{(\w+)\\}", known, re.escape(pattern.name))
    files = [file for file in pattern.parent.iterdir() if re.fullmatch(expression, file.name)]
    if not files:
        raise FileNotFoundError(f"{pattern}: no file for {dict(names)}")
    return files
