"""Which rule runs which script in which environment, what the script imports, what that has.

Read from the catalogue of figures and the text of all else: rules, scripts and environment files.
Nothing is run.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from sdbench.config.check import load_schema
from sdbench.report.figures.catalogue import FIGURES
from sdbench.runtime.code import reached, read_module
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


_OPTIONAL = {"lpips", "tensorrt", "triton"}
"""What is imported where it is there or a GPU needs it: the user's own, and PyTorch's CUDA build
brings it."""


class Job(NamedTuple):
    """What a rule runs: `script` in `env`."""

    rule: str
    env: str
    script: Path


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
            envs = BACKENDS if env[1] == "{backend}" else [env[1]]
            found += [Job(rule, name, SCRIPTS / script[1]) for name in envs]
    figures = (f"plot_{name}" for name in FIGURES)
    return found + [Job(rule, "figures", SCRIPTS / f"{rule}.py") for rule in figures]


def imported(job: Job) -> set[str]:
    """Return the top modules of others that a job's code needs anywhere, transitively."""
    # What loads a backend runs in its environment.
    files = reached(job.script, {"backend": [job.env]} if job.env in BACKENDS else {})
    names = set().union(*(read_module(file).imports for file in files if file.suffix == ".py"))
    tops = {name.partition(".")[0] for name in names}
    return tops - sys.stdlib_module_names - _OPTIONAL - {"sdbench"}


def needed(job: Job) -> set[str]:
    """Return the packages, by their names on PyPI, that a job's code must find."""
    return {_IMPORTED_AS.get(module, module) for module in imported(job)}


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
        listed = [entry] if isinstance(entry, str) else entry["pip"]
        versions, sign = (found.conda, "=") if isinstance(entry, str) else (found.pip, "==")
        parts = (requirement.partition(sign) for requirement in listed)
        versions.update({name: version for name, _, version in parts})
    return found
