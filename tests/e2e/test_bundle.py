"""A machine without internet, as docs/setup.md has it: bundle, set up, measure, come home.

The tests' own PyTorch is the machine's. The network is taken away by a namespace where this may be
done, and otherwise by what pip is told.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sdbench.records.archive import unpack
from sdbench.records.record import read_indexed
from tests.conftest import ROOT, copy_workflow, run_snakemake

pytestmark = pytest.mark.slow

LIMIT_MB = 60
SHORT = {
    "matrix": [
        {
            "model": "shapes",
            "devices": ["cpu"],
            "backends": ["pytorch"],
            "precisions": ["fp32"],
            "options": ["none", "int8-weights"],
            "batch_sizes": [1],
        }
    ],
    "models": {"shapes": {"generation": {"steps": 2}}},
    "devices": {"cpu": {"kind": "cpu", "threads": 1}},
    "quality": [
        {
            "model": "shapes",
            "reference": {"device": "cpu"},
            "devices": ["cpu"],
            "backends": ["pytorch"],
            "precisions": ["fp32"],
            "options": ["int8-weights"],
            "trajectory_steps": 2,
            "runs": [1, 2],
            "panel_step": 2,
        }
    ],
    "quality_set": [],
    "measuring": {
        "launches": 1,
        "max_busy_cores": 1000,
        "warmup_calls": 1,
        "min_samples": 6,
        "min_duration_s": 0,
        "max_duration_s": 1,
        "throughput_duration_s": 0.1,
    },
}

OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "https_proxy": "http://127.0.0.1:9"}


def run(command: list[str], folder: Path, **variables: str) -> str:
    made = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-5000:]
    return made.stdout


def without_network() -> list[str]:
    isolated = ["unshare", "--net"]
    may = (
        shutil.which("unshare") and not subprocess.run([*isolated, "true"], check=False).returncode
    )
    return isolated if may else []


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle, after it measured."""
    clone = copy_workflow(tmp_path_factory.mktemp("clone"))
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all"],
    ):
        run(["git", *arguments], clone)
    # That of the tests may have no pip, which `make bundle` has in `.venv`.
    print(run([sys.executable, "setup/bundle.py"], clone))
    (archive,) = clone.glob("sdbench-*.tar.xz")
    assert archive.stat().st_size < LIMIT_MB * 1e6
    elsewhere = tmp_path_factory.mktemp("node")
    run(["tar", "xf", str(archive)], elsewhere)
    (unpacked,) = elsewhere.iterdir()
    (unpacked / "short.yaml").write_text(yaml.safe_dump(SHORT))
    make = [*without_network(), "make"]
    run([*make, "setup"], unpacked, PYTHON=sys.executable, **OFFLINE)
    run([*make, "records", "ARGS=--configfile short.yaml"], unpacked, **OFFLINE)
    return unpacked


def test_every_record_has_the_versions_that_measured(node: Path) -> None:
    (index,) = (node / "results/records").rglob("index.json")
    records = [record for _, record in read_indexed(index)]
    assert len(records) == 2
    ask = (
        "import diffusers, sys, torch, transformers; print(torch.__version__.partition('+')[0],"
        "diffusers.__version__, transformers.__version__, sys.version.split()[0])"
    )
    wanted = run([str(node / ".venv/bin/python"), "-c", ask], node).splitlines()[-1].split()
    for record in records:
        assert record["status"] == "ok"
        found = record["environment"]["libraries"]
        names = ("torch", "diffusers", "transformers")
        versions = [found[name].partition("+")[0] for name in names]
        assert [*versions, record["environment"]["python"]] == wanted


def test_the_records_become_tables_figures_and_page_at_home(node: Path, tmp_path: Path) -> None:
    home = copy_workflow(tmp_path / "home")
    shutil.rmtree(home / "resources/models")  # neither the model nor the device is needed
    folder = Path("results/from-node")
    unpack(node / "results/records.tar.gz", home / folder)
    config = home / folder / "config.json"
    told = json.loads(config.read_text()) | {"pathvars": {"results": folder.as_posix()}}
    config.write_text(json.dumps(told))
    made = run_snakemake(home, "--cores", "1", "--configfile", str(config), timeout=1800)
    assert made.returncode == 0, made.stdout[-5000:] + made.stderr[-5000:]
    assert (home / folder / "report.html").stat().st_size > 1e6
    assert len((home / folder / "tables/results.csv").read_text().splitlines()) == 3
    assert list((home / folder / "figures").glob("*.png"))
    again = run_snakemake(home, "-n", "--configfile", str(config))
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_what_measures_installs_and_runs_with_every_python(version: str, tmp_path: Path) -> None:
    python = f"python{version}"
    if not shutil.which(python) or subprocess.run([python, "-c", ""], check=False).returncode:
        pytest.skip(f"install {python} for this")
    run([python, "-m", "venv", str(tmp_path)], ROOT)
    own = str(tmp_path / "bin/python")
    lock = str(ROOT / "requirements-measure.lock")
    run([own, "-m", "pip", "install", "--no-deps", "--require-hashes", "-r", lock], ROOT)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    planned = ["snakemake", "-n", "pack_records", "--configfile", "config/presets/pytorch.yaml"]
    assert "measure_sweep" in run(planned, copy_workflow(tmp_path / "clone"), PATH=path)
