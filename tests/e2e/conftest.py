"""One finished run of the default workflow, which several tests look at."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import copy_workflow, run_snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the default workflow has run. Whoever changes it works on a `copy_run`."""
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    run = run_snakemake(folder, "--cores", "1", timeout=1500)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return folder


def copy_run(finished: Path, target: Path) -> Path:
    """Copy a finished run with the dates of its files, from which Snakemake knows what is stale."""
    return Path(shutil.copytree(finished, target, symlinks=True))
