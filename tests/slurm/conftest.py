"""A cluster for the session, and the workflow on it."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench.config.check import Config
from tests.conftest import ROOT, copy_workflow
from tests.faults.conftest import BLOCK
from tests.slurm.cluster import PACKAGES, Cluster, missing_commands, running_cluster
from tests.sweeps import GENERATION


def said_in_readme(word: str) -> Any:
    """Return what the YAML block of the README that has this word says."""
    blocks = re.findall("```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (block,) = [block for block in blocks if word in block]
    return yaml.safe_load(block)


SITE = {
    **said_in_readme("slurm_partition"),
    # There is no NFS here to wait for.
    "latency-wait": 5,
    "configfile": ["mine.yaml"],
}
OPTIONS = ["none", "attention-vanilla", "attention-sliced", "channels-last"]
TINY: Config = {
    "models": {
        "tiny": {
            "source": {"seeded": "tiny"},
            "generation": GENERATION | {"prompt": "a", "steps": 2, "scheduler": "ddim"},
        }
    },
    "devices": {"cpu": {"kind": "cpu", "threads": 1, "memory_budget_gb": 2}},
    # The cases of one variant are measured, and written, together.
    "matrix": [BLOCK | {"options": OPTIONS, "batch_sizes": [1]}],
    "quality": [],
    "quality_set": [],
    # Some seconds a case: long enough for something to go wrong in the middle.
    "measuring": {
        "launches": 1,
        "max_busy_cores": 1000,
        "min_samples": 3,
        "min_duration_s": 3.0,
        "phase_samples": 1,
        "throughput_duration_s": 0.1,
    },
}
START = ("snakemake", "--profile", "profiles/slurm", "--profile", "mysite.yaml")
"""As the README says."""

INDEX = "results/records/tiny/cpu/pytorch/index.json"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = missing_commands()
    if missing:
        pytest.skip(
            f"SLURM is not installed ({', '.join(missing)} missing): `apt-get install "
            f"--no-install-recommends {PACKAGES}`, as .ci/run does, and run `pytest tests/slurm`"
        )
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


class Workflow:
    """A clone of the workflow that is run on a cluster."""

    def __init__(self, folder: Path, cluster: Cluster, config: Config, **site: Any) -> None:
        self.folder = copy_workflow(folder)
        self.cluster = cluster
        self.started: list[subprocess.Popen[bytes]] = []
        self.log = folder / "snakemake.log"
        self.write(config)
        (folder / "mysite.yaml").write_text(yaml.safe_dump(SITE | site))

    def write(self, config: Config) -> None:
        """Make this the config of the next run."""
        (self.folder / "mine.yaml").write_text(yaml.safe_dump(config))

    def start(self, command: Sequence[str] = START) -> subprocess.Popen[bytes]:
        """Start a command where a user would; what it writes goes to `log`."""
        with self.log.open("wb") as log:
            started = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.cluster.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(started)
        return started

    def end(self) -> None:
        """End what a failed test leaves behind; after one that passed there is nothing."""
        for started in self.started:
            if started.poll() is None:
                started.kill()
                started.wait(timeout=10)
        if self.cluster.jobs():
            self.cluster.cancel_all()

    def finish(self, started: subprocess.Popen[bytes], timeout: float = 300) -> int:
        """Wait for what was started and return its exit status; kill it and fail if that takes too
        long."""
        try:
            return started.wait(timeout)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(timeout=10)
            pytest.fail(f"it did not end within {timeout:g} s\n{self.said()}")

    def said(self) -> str:
        """Return the end of what was written so far."""
        return self.log.read_text()[-4000:]

    def records(self) -> dict[str, bytes]:
        """Return the content of each record of the tiny model, by its name."""
        records = (self.folder / INDEX).parent
        paths = records.rglob("batch-*.json")
        return {path.relative_to(records).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def tiny(cluster: Cluster, model: Path, tmp_path: Path) -> Iterator[Workflow]:
    """The workflow with the tiny model in place and four cases to measure, tables left out."""
    workflow = Workflow(tmp_path, cluster, TINY, until=["measure_sweep"])
    shutil.copytree(model.parent, tmp_path / "results/models")
    yield workflow
    workflow.end()
