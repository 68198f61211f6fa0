"""The environments agree with each other, and each has what its rules import and no more."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.environments import ENVS, Job, dependencies, jobs, needed


def pins(path: Path) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return {n.lower(): v for n, _, v in (line.partition("==") for line in lines if line)}


def test_requirements_are_exact_and_those_of_the_constraints() -> None:
    constraints = pins(ROOT / "constraints.txt")
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        for package, version in pins(ROOT / name).items():
            assert re.fullmatch(r"[0-9][0-9a-z.+]*", version), f"{name}: {package}"
            assert package == "torch" or constraints[package] == version, package
    # Its builds differ in the local part of the version, and one is as good as the other.
    assert "torch" not in constraints


def locked(path: Path) -> dict[str, tuple[str, int]]:
    """Return the packages of a lock: version, and how many hashes each has."""
    entries = re.findall(
        r"^([\w.-]+)==([^ ]+)[^\\\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)+)",
        path.read_text(),
        re.M,
    )
    return {_name(name): (version, hashes.count("sha256:")) for name, version, hashes in entries}


def _name(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", ["requirements.txt"]),
        ("requirements-dev.lock", ["requirements.txt", "requirements-dev.txt"]),
        ("requirements-measure.lock", []),
    ],
)
def test_a_lock_has_the_hashes_of_what_is_required(lock: str, requirements: list[str]) -> None:
    """A test cannot ask what the hashes are; pip compares them with what it gets."""
    found = locked(ROOT / lock)
    text = (ROOT / lock).read_text()
    assert len(found) == len(re.findall(r"^[A-Za-z]", text, re.M)), "an entry without a hash"
    assert "torch" not in found and "://" not in text
    constraints = {_name(name): version for name, version in pins(ROOT / "constraints.txt").items()}
    for package, (version, _) in found.items():
        if package in constraints:
            assert version == constraints[package], f"{package}: run `make lock`"
    for name in requirements:
        for package, version in pins(ROOT / name).items():
            if package != "torch":
                assert found[_name(package)][0] == version, f"{package}: run `make lock`"


def test_the_locks_and_the_constraints_are_of_the_same_packages() -> None:
    """But for what only other systems need."""
    found = locked(ROOT / "requirements-dev.lock")
    constraints = {_name(name) for name in pins(ROOT / "constraints.txt")}
    assert constraints <= set(found), "run `make lock`"
    text = (ROOT / "requirements-dev.lock").read_text()
    everywhere = {_name(name) for name in re.findall(r"^([\w.-]+)==[^ ]+ \\$", text, re.M)}
    assert everywhere - constraints <= {"pip"}, "name them in constraints.txt"


@pytest.mark.parametrize("file", ENVS, ids=lambda file: file.stem)
def test_a_conda_environment_agrees_with_the_requirements(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["channels"] == ["conda-forge"]
    named = dependencies(file)
    assert named.conda["python"] == "3.11"
    assert ("pip" in named.conda) == bool(named.pip)
    requirements = pins(ROOT / "requirements.txt")
    for package, version in named.on_pypi().items():
        assert requirements[package.lower()] == version, package


def test_every_environment_is_used_and_everything_required_is_in_some() -> None:
    assert {job.env for job in jobs()} == {file.stem for file in ENVS}
    named = {package.lower() for file in ENVS for package in dependencies(file).on_pypi()}
    runs_the_workflow = {
        "snakemake",
        "snakemake-executor-plugin-slurm",
        "snakemake-logger-plugin-rich",
        "pygments",
    }
    assert named | runs_the_workflow == set(pins(ROOT / "requirements.txt"))


@pytest.mark.parametrize("job", jobs(), ids=lambda job: f"{job.rule}-{job.env}")
def test_a_rule_finds_all_that_its_script_imports(job: Job) -> None:
    (file,) = [file for file in ENVS if file.stem == job.env]
    assert needed(job) <= set(dependencies(file).on_pypi())


UNSEEN = {
    "accelerate": "diffusers and transformers load weights with it",
    "hf-xet": "huggingface_hub downloads large files with it",
    "onnx": "torch.onnx writes graphs with it",
    "onnxscript": "torch.onnx translates operators with it",
    "safetensors": "diffusers and transformers read weights with it",
}
"""Packages that no script imports, and who does."""


@pytest.mark.parametrize("file", ENVS, ids=lambda file: file.stem)
def test_an_environment_has_nothing_that_none_of_its_rules_needs(file: Path) -> None:
    imported = set().union(*(needed(job) for job in jobs() if job.env == file.stem))
    assert set(dependencies(file).on_pypi()) - imported <= set(UNSEEN)


def test_a_bundle_has_what_measuring_with_pytorch_needs_and_no_more() -> None:
    """And what the lock has is what the same packages are everywhere else."""
    named = {package for package in pins(ROOT / "requirements-measure.txt")}
    here = ("pytorch", "hub")
    imported = set().union(*(needed(job) for job in jobs() if job.env in here))
    runs_it = {"snakemake", "pygments"}
    left_out = {"hf-xet"}
    assert imported - {"torch"} <= named
    assert named - imported - runs_it <= set(UNSEEN) - left_out
    measured, every = (locked(ROOT / f"requirements{n}.lock") for n in ("-measure", ""))
    assert measured.items() <= every.items()
    text = (ROOT / "requirements-measure.lock").read_text()
    for package in ("torch", "pulp", *left_out):
        assert not re.search(rf"^{package}==[^;]*\\$", text, re.M), package
