"""The workflow used from elsewhere: another folder, another Snakefile, a second config, a
repository, a container; and its logs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake.sourcecache import infer_source_file

from sdbench.runtime.checkout import folder_of
from tests.conda.standin import install_standin
from tests.conftest import BASE, ROOT, copy_workflow, planned, run_snakemake
from tests.environments import ENVS
from tests.forked import dry_run

OUTER = """
configfile: "study.yaml"


module sdbench:
    snakefile:
        "{root}/Snakefile"
    config:
        config["sdbench"]
    pathvars:
        results="benchmark",


use rule * from sdbench as sdbench_*


rule study:
    default_target: True
    input:
        "benchmark/tables/published.csv",
        "benchmark/tables/cases.csv",
        "benchmark/figures/ladder.png",
    output:
        "study.txt",
    shell:
        "wc -l {{input}} > {{output}}"
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A workflow of somebody else's that uses this one as a module."""
    (tmp_path / "Snakefile").write_text(OUTER.format(root=ROOT))
    config = {"sdbench": yaml.safe_load(BASE.read_text()) | {"pathvars": {}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_its_rules_can_be_used_from_another_snakefile(study: Path) -> None:
    run = run_snakemake(study, "--cores", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "benchmark/tables/cases.csv" in (study / "study.txt").read_text()
    # A figure is plotted by its own script, whatever its rule is called here.
    assert (study / "benchmark/figures/ladder.csv").exists()
    assert not (study / "results").exists()


def test_a_figure_can_be_asked_for_from_another_snakefile(study: Path) -> None:
    jobs = planned(study, "benchmark/figures/throughput.png")
    assert jobs["sdbench_measure_sweep"] == 3
    assert jobs["sdbench_export_onnx"] == jobs["sdbench_plot_throughput"] == 1


def test_a_wrong_config_of_a_module_gets_one_line(study: Path) -> None:
    (study / "study.yaml").write_text(yaml.safe_dump({"sdbench": {"models": {}}}))
    run = dry_run(study)
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert "study.yaml" in line


def test_the_results_can_lie_in_another_folder(tmp_path: Path) -> None:
    target = "results/tables/cases.csv"
    run = run_snakemake(ROOT, "--directory", str(tmp_path), "--cores", "1", "--", target)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / target).stat().st_size > 0
    assert planned(ROOT, "--directory", str(tmp_path), "--", target) == {}


def test_the_config_of_another_folder_comes_first(tmp_path: Path) -> None:
    """And its models."""
    config = yaml.safe_load(BASE.read_text()) | {"quality": [], "quality_set": [], "pathvars": {}}
    (tmp_path / "mine").symlink_to(ROOT / config["models"]["shapes"]["source"]["local"])
    config["models"]["shapes"]["source"]["local"] = "mine"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = planned(ROOT, "--directory", str(tmp_path))
    assert jobs["measure_sweep"] == 3
    assert "generate_images" not in jobs


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What GitHub would have: a repository with a tag, and nothing next to it."""
    folder = copy_workflow(tmp_path_factory.mktemp("github") / "owner/sdbench")
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for command in ("init", "add --all", "commit --message=x", "tag v1"):
        subprocess.run([*git, *command.split()], check=True, capture_output=True)
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


@pytest.fixture
def stranger(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of somebody who has no clone: github.com is the folder of repositories."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.parents[1].as_uri()}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config/config.yaml", tmp_path / "config")
    return tmp_path


# What `snakedeploy deploy-workflow https://github.com/owner/sdbench . --tag v1` writes.
DEPLOYED = """
configfile: "config/config.yaml"


module sdbench:
    snakefile:
        github("owner/sdbench", path="workflow/Snakefile", tag="v1")
    config:
        config


use rule * from sdbench
"""


def test_it_can_be_deployed_from_github(stranger: Path) -> None:
    """With its scripts, and the tables and captions that they read."""
    (stranger / "Snakefile").write_text(DEPLOYED)
    target = "results/tables/published.csv"
    run = run_snakemake(stranger, "--cores", "1", target)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Lambda" in (stranger / target).read_text()
    assert planned(stranger, target) == {}
    jobs = planned(stranger)
    assert (jobs["measure_sweep"], jobs["write_page"], jobs["everything"]) == (4, 1, 1)


def test_it_can_be_used_from_a_repository_under_other_names(
    stranger: Path, repository: Path
) -> None:
    source = f'gitfile("{repository}", path="Snakefile", tag="v1")'
    module = f"module other:\n    snakefile: {source}\n    prefix: 'mine'\n"
    (stranger / "Snakefile").write_text(f"{module}use rule * from other as other_*\n")
    jobs = planned(stranger, "mine/results/figures/throughput.png")
    assert jobs["other_measure_sweep"] == 4


@pytest.mark.parametrize("source", ["git+file://{repository}/Snakefile@v1", "gh:owner/sdbench@v1"])
def test_it_can_be_run_from_a_repository(stranger: Path, repository: Path, source: str) -> None:
    jobs = planned(stranger, "--snakefile", source.format(repository=repository))
    assert jobs["measure_sweep"] == 4


def test_it_can_be_put_into_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake asks conda what it runs on."""
    path = [str(install_standin(tmp_path)), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    run = dry_run(ROOT, "--containerize")
    assert run.returncode == 0, run.stderr
    copied = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("COPY ")]
    assert copied == [str(file.relative_to(ROOT)) for file in ENVS]


def test_every_job_has_its_log_and_the_digest_of_its_code(study: Path) -> None:
    """But for the code of a model that is downloaded: its revision decides every byte."""
    with (study / "Snakefile").open("a") as snakefile:
        snakefile.write(
            "scripts = [r for r in workflow.rules if r.script]\n"
            'lacking = [r.name for r in scripts if "code" not in r.params.keys()]\n'
            'print(f"{len(scripts)} scripts, without: {lacking}")\n'
            'print(*(log for r in scripts for log in r.log), sep="\\n")\n'
        )
    run = run_snakemake(study, "--dry-run")
    assert run.returncode == 0, run.stderr
    scripts = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
    lacking = "['sdbench_fetch_model', 'sdbench_fetch_judge']"
    assert f"{len(scripts)} scripts, without: {lacking}" in run.stdout
    logs = re.findall(r"^\S+/logs/(\w+)\S*\.log$", run.stdout, re.M)
    assert sorted(logs) == scripts


RULE = """
rule probe:
    output:
        "x",
    log:
        "logs/probe.log",
    script:
        "probe.py"
"""


def test_a_failing_import_is_in_the_log(tmp_path: Path) -> None:
    """Also before the log was opened."""
    (tmp_path / "Snakefile").write_text(RULE)
    (tmp_path / "sdbench").symlink_to(ROOT / "scripts" / "sdbench")
    (tmp_path / "probe.py").write_text("import sdbench\nimport no_such_package\n")
    assert run_snakemake(tmp_path, "--cores", "1").returncode != 0
    log = (tmp_path / "logs" / "probe.log").read_text()
    assert "ModuleNotFoundError: No module named 'no_such_package'" in log


def test_a_single_file_of_a_server_is_refused_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"a single file was found.*clone it"):
        folder_of(infer_source_file("https://localhost/Snakefile"), Path())
