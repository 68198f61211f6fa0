"""Which rule runs which script in which environment, what the script imports, what that has.

Read from the text of the rules, the scripts and the environment files: nothing is run.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from sdbench.config import load_schema
from tests.conftest import ROOT

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
SCRIPTS = ROOT / "scripts"
BACKENDS = load_schema(ROOT / "config" / "schema.yaml")["$defs"]["backend"]["enum"]
"""The backends, each with an environment and a module of its name."""

CONDA_NAMES = {"matplotlib": "matplotlib-base"}
"""Where conda-forge calls a package by another name than PyPI."""

_IMPORTED_AS = {
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "pynvml": "nvidia-ml-py",
    "skimage": "scikit-image",
    "vl_convert": "vl-convert-python",
    "yaml": "pyyaml",
}
"""Packages, by the names of their modules where these differ."""


_OPTIONAL = {"tensorrt", "triton"}
"""What is imported where a GPU needs it: the user's own, and PyTorch's CUDA build brings it."""


class Job(NamedTuple):
    """What a rule runs: `script` and the `modules` that no import names, in `env`."""

    rule: str
    env: str
    script: Path
    modules: tuple[Path, ...]


def jobs() -> list[Job]:
    """Return every rule with a script, once for each of its environments."""
    found = []
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for rule, text in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.M | re.S
        ):
            env = re.search(r'"\.\./envs/([^"]+)\.yaml"', text)
            script = re.search(r'"\.\./scripts/([^"]+)"', text)
            assert env and script, f"{rule} has no environment or no script"
            path = SCRIPTS / script[1]
            if env[1] == "{backend}":
                found += [Job(rule, b, path, (_backend(b),)) for b in BACKENDS]
            else:
                found.append(Job(rule, env[1], path, ()))
    return found


def _backend(name: str) -> Path:
    return SCRIPTS / "sdbench" / "backends" / f"{name}.py"


def needed(job: Job) -> set[str]:
    """Return the packages, by their names on PyPI, that a job's code must find."""
    return {_IMPORTED_AS.get(module, module) for module in imported(job)} - _OPTIONAL


def imported(job: Job) -> set[str]:
    """Return the top modules of others that a job's code imports anywhere, transitively."""
    modules: set[str] = set()
    seen: set[Path] = set()
    waiting = [job.script, *job.modules]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports(path):
            top = name.partition(".")[0]
            if top == "sdbench":
                waiting += _sources(name)
            elif top not in sys.stdlib_module_names:
                modules.add(top)
    return modules


def _imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; one that is no module is an attribute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _sources(name: str) -> list[Path]:
    """Return the files that are run when a module of the library is imported."""
    parts = name.split(".")
    paths = [SCRIPTS.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in paths]
    return [file for file in files if file.is_file()]


class Dependencies(NamedTuple):
    """What an environment file names: versions by package, as conda and as pip call it."""

    conda: dict[str, str]
    pip: dict[str, str]

    def on_pypi(self) -> dict[str, str]:
        """Return all of it by the names on PyPI; without Python and pip, which have no version."""
        names = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
        both = {names.get(name, name): version for name, version in self.conda.items()} | self.pip
        return {name: version for name, version in both.items() if name not in ("python", "pip")}


def dependencies(file: Path) -> Dependencies:
    """Read an environment file; a package without a version has the empty one."""
    found = Dependencies({}, {})
    for entry in yaml.safe_load(file.read_text())["dependencies"]:
        if isinstance(entry, dict):
            (pinned,) = entry.values()
            found.pip.update(_split(requirement, "==") for requirement in pinned)
        else:
            found.conda.update([_split(entry, "=")])
    return found


def _split(requirement: str, sign: str) -> tuple[str, str]:
    name, _, version = requirement.partition(sign)
    return name, version
