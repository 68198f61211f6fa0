"""One finished run of the default workflow, which several tests look at."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import copy_workflow, run_snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the default workflow has run. Whoever changes it works on a `copy_run`.

    Each pass of its measurements is as short as the table allows an interval from.
    """
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config["measuring"] |= {
        "min_samples": 6,
        "min_duration_s": 0,
        "max_duration_s": 5,
        "throughput_duration_s": 0.1,
    }
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run = run_snakemake(folder, "--cores", "1", timeout=1500)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return folder


def copy_run(finished: Path, target: Path) -> Path:
    """Copy a finished run with the dates of its files, from which Snakemake knows what is stale."""
    return Path(shutil.copytree(finished, target, symlinks=True))
