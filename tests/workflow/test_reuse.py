"""The workflow used from elsewhere: another folder, another Snakefile, a second config; and its
logs."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import BASE, ROOT, planned, run_snakemake
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
    config = yaml.safe_load(BASE.read_text()) | {"quality": [], "pathvars": {}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = planned(ROOT, "--directory", str(tmp_path))
    assert jobs["measure_sweep"] == 3
    assert "generate_images" not in jobs


def test_every_job_has_the_digest_of_its_code_among_its_parameters(study: Path) -> None:
    """But for a model that is downloaded: its revision decides every byte."""
    with (study / "Snakefile").open("a") as snakefile:
        snakefile.write(
            "scripts = [r for r in workflow.rules if r.script]\n"
            'lacking = [r.name for r in scripts if "code" not in r.params.keys()]\n'
            'print(f"{len(scripts)} scripts, without: {lacking}")\n'
        )
    run = run_snakemake(study, "--dry-run")
    assert run.returncode == 0, run.stderr
    count = len(list((ROOT / "scripts").glob("*.py")))
    assert f"{count} scripts, without: ['sdbench_fetch_model']" in run.stdout


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
