"""`snakemake --use-conda`, as a user types it, over the environment files as they stand.

Every environment is made from its file, and the default workflow runs in them. Snakemake is
installed alone, since a script also finds what lies next to Snakemake: so a package that is missing
from an environment is a failure. docs/environments.md says what this does not prove.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sdbench.config.check import Config, check_config, load_schema
from tests.conda.conftest import Bench
from tests.conftest import BASE, copy_workflow
from tests.environments import BACKENDS, ENVS, SCRIPTS, dependencies, imported, jobs

pytestmark = pytest.mark.slow

BROUGHT_BY_SNAKEMAKE = {"docutils", "jinja2", "jsonschema", "markupsafe", "pyyaml"}
"""What environments name and Snakemake has too: the run cannot miss them, the imports can."""

SHORT = "short.yaml"


LEFT_OUT = {
    *("autocast", "attention-vanilla", "attention-sliced", "channels-last"),  # need no package
    "compile",  # minutes, of a compiler that no environment has
}
"""Options that are not measured here."""


def short_config(clone: Path) -> Config:
    """Return the preset of the bundled model with all that needs another rule or package, and less
    of what costs time."""
    config: Config = yaml.safe_load(BASE.read_text())
    del config["pathvars"]
    for block in config["matrix"]:
        block["batch_sizes"] = [1]
        if "largest_batch" in block:
            block["largest_batch"] = 2
        block["options"] = [o for o in block.get("options", ["none"]) if o not in LEFT_OUT]
    config["matrix"] = [block for block in config["matrix"] if block["options"]]
    # A search takes a minute, and one shows the rule.
    (tuned,) = (block for block in config["matrix"] if "tuned" in block["options"])
    config["matrix"] += [{**tuned, "backends": ["onnxruntime"], "options": ["tuned"]}]
    tuned["options"].remove("tuned")
    for model in config["models"].values():
        model["generation"]["steps"] = 2
    for device in config["devices"].values():
        device["threads"] = 1  # several wait for each other where other work runs
    for entry in config["quality"]:
        entry |= {"backends": ["onnxruntime"], "precisions": ["fp32"]}
        entry |= {"trajectory_steps": 2, "runs": [1, 2], "panel_step": 2}
    config["quality_set"] = [
        {
            "model": "shapes",
            "device": "cpu",
            "prompts": ["a red circle on a blue background"],
            "judge": "shapes",
            "variants": [{"backend": "onnxruntime"}],
        }
    ]
    config["measuring"] |= {
        "launches": 1,
        "max_busy_cores": 1000,
        "warmup_calls": 1,
        "min_samples": 3,
        "min_duration_s": 0,
        "max_duration_s": 0.1,
        "throughput_duration_s": 0.1,
    }
    # Now, and not when all environments are made.
    folder = clone / "config"
    check_config(config, load_schema(folder / "schema.yaml"), [folder / "config.yaml"])
    return config


@pytest.fixture(scope="module")
def clone(bench: Bench) -> Path:
    clone = copy_workflow(bench.folder / "clone")
    (clone / SHORT).write_text(yaml.safe_dump(short_config(clone)))
    return clone


@pytest.fixture(scope="module")
def environments(bench: Bench, clone: Path) -> dict[str, Path]:
    """Every environment of the default workflow, by the name of its file."""
    output = bench.snakemake(clone, "--conda-create-envs-only")
    assert output.endswith("ended with 0"), output
    made = {copy.read_bytes(): copy for copy in (clone / ".snakemake" / "conda").glob("*.yaml")}
    return {file.stem: made.pop(file.read_bytes()).with_suffix("") for file in ENVS}


def test_every_environment_is_made_from_its_file(environments: dict[str, Path]) -> None:
    for file in ENVS:
        for package in dependencies(file).conda:
            assert list((environments[file.stem] / "conda-meta").glob(f"{package}-*.json")), package


def test_the_default_workflow_runs_with_every_rule_in_its_environment(
    bench: Bench, clone: Path, environments: dict[str, Path]
) -> None:
    output = bench.snakemake(clone, "--configfile", SHORT)
    assert output.endswith("ended with 0"), output
    assert (clone / "results" / "checks.txt").is_file()
    used = re.findall(r"Activating conda environment: (\S+)", output)
    assert {Path(path).name for path in used} == {path.name for path in environments.values()}
    # The config is shorter than the default: no rule may be missing for that, but the one that
    # builds a model at full size, which takes minutes.
    wanted = rules(bench.snakemake(clone, "--dry-run", "--forceall"))
    assert wanted - rules(output) == {"build_model"}


def rules(output: str) -> set[str]:
    stats = output.partition("Job stats:")[2].partition("\n\n")[0]
    return set(re.findall(r"^(\w+) +\d+$", stats, re.M))


def test_snakemake_stands_alone(bench: Bench) -> None:
    """Of what the environments name, only these could be missing and found all the same."""
    python = bench.folder / "alone" / "bin" / "python"
    found = run(sys.executable, "-m", "pip", "--python", str(python), "list", "--format=freeze")
    beside = {line.partition("==")[0].lower() for line in found.splitlines()}
    named = {package.lower() for file in ENVS for package in dependencies(file).on_pypi()}
    assert "snakemake" in beside
    assert beside & named == BROUGHT_BY_SNAKEMAKE


@pytest.mark.parametrize("file", ENVS, ids=lambda file: file.stem)
def test_an_environment_has_what_its_scripts_import_without_snakemake(
    environments: dict[str, Path], file: Path
) -> None:
    """All rules of it, those too that the default workflow does not have; and its packages fit each
    other."""
    ours = [job for job in jobs() if job.env == file.stem]
    names = [job.script.stem for job in ours]
    names += [f"sdbench.backends.{file.stem}"] if file.stem in BACKENDS else []
    names += sorted(set().union(*map(imported, ours)))
    command = f"import sys; sys.path.append({str(SCRIPTS)!r})\n"
    command += "\n".join(f"import {name}" for name in names)
    python = str(environments[file.stem] / "bin" / "python")
    run(python, "-c", command)
    run(sys.executable, "-m", "pip", "--python", python, "check")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_package_missing_from_an_environment_is_a_failure(bench: Bench) -> None:
    """Though the virtual environment that the tests run in has it."""
    clone = copy_workflow(bench.folder / "incomplete")
    file = clone / "envs" / "tables.yaml"
    whole = file.read_text()
    file.write_text(re.sub(r"^  - pandera=.*\n", "", whole, flags=re.M))
    assert len(file.read_text().splitlines()) == len(whole.splitlines()) - 1
    output = bench.snakemake(clone, "results/tables/cases.csv")
    assert output.endswith("ended with 1")
    assert "ModuleNotFoundError: No module named 'pandera'" in output
    assert not (clone / "results" / "tables" / "cases.csv").exists()


def test_a_changed_environment_file_reruns_the_rules_in_it(
    bench: Bench, clone: Path, environments: dict[str, Path]
) -> None:
    """The last row of docs/staleness.md; it changes the clone, and so stands last."""
    file = clone / "envs" / "figures.yaml"
    file.write_text(file.read_text() + "  - pyyaml=6.0.3\n")
    planned = rules(bench.snakemake(clone, "--dry-run", "--configfile", SHORT))
    assert planned - {"all", "check_results", "total"} == {"write_page"} | {
        rule for rule in rules(bench.snakemake(clone, "--dry-run", "--forceall")) if "plot" in rule
    }
