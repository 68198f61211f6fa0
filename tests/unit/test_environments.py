"""The virtual environment and the conda environments have the same versions."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
CONDA_NAMES = {"matplotlib-base": "matplotlib"}
"""Where conda-forge calls a package by another name than PyPI."""


def pins(path: Path) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return {n.lower(): v for n, _, v in (line.partition("==") for line in lines if line)}


def test_requirements_are_exact() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        for package, version in pins(ROOT / name).items():
            assert re.fullmatch(r"[0-9][0-9a-z.+]*", version), f"{name}: {package}"


def test_constraints_agree_with_requirements() -> None:
    constraints = pins(ROOT / "constraints.txt")
    for name in ("requirements.txt", "requirements-dev.txt"):
        for package, version in pins(ROOT / name).items():
            if package != "torch":
                assert constraints[package] == version, package


def test_torch_is_left_out_of_the_constraints() -> None:
    """Its builds differ in the local part of the version, and one is as good as the other."""
    assert "torch" not in pins(ROOT / "constraints.txt")


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_a_conda_environment_agrees_with_the_requirements(path: Path) -> None:
    environment = yaml.safe_load(path.read_text())
    assert environment["channels"] == ["conda-forge"]
    requirements = pins(ROOT / "requirements.txt")
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            pairs = [requirement.split("==") for requirement in entry["pip"]]
        elif entry.startswith("python=") or entry == "pip":
            continue
        else:
            pairs = [entry.split("=")]
        for name, version in pairs:
            assert requirements[CONDA_NAMES.get(name, name).lower()] == version, name


def test_every_environment_is_used_and_exists() -> None:
    used = set()
    for rules in (ROOT / "rules").glob("*.smk"):
        used |= set(re.findall(r'"\.\./envs/([^"]+)\.yaml"', rules.read_text()))
    used = (used - {"{backend}"}) | {"pytorch", "onnxruntime"}
    assert used == {path.stem for path in ENVS}


def test_everything_required_is_in_some_environment_or_runs_the_workflow() -> None:
    named = "\n".join(path.read_text() for path in ENVS).replace("matplotlib-base", "matplotlib")
    runs_it = ("snakemake", "snakemake-executor-plugin-slurm", "pygments")
    for package in pins(ROOT / "requirements.txt"):
        assert package in named.lower() or package in runs_it, package
