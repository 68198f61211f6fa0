"""What the faults are injected into: the tiny model, a job of its cases, a clone, a small disk."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench.measure import launch as measurement
from sdbench.measure.context import SweepContext
from tests.conftest import copy_workflow
from tests.sweeps import GENERATION, SHORT, make_job


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing disturbs a launch, whatever else this machine does."""
    monkeypatch.setattr(measurement, "disturbances", lambda *_: [])


@pytest.fixture
def job(model: Path, tmp_path: Path) -> SweepContext:
    return make_job(tmp_path / "records", model, SHORT)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("clone"))


BLOCK = {
    "model": "tiny",
    "devices": ["cpu"],
    "backends": ["pytorch"],
    "precisions": ["fp32"],
    "batch_sizes": [1, 2],
}


def write_config(clone: Path, results: Path | str, **changes: Any) -> str:
    """Write a config of two cases of the tiny model, or as `changes` has it; return its name."""
    config = {
        "models": {"tiny": {"source": {"seeded": "tiny"}, "generation": GENERATION}},
        "devices": {"cpu": {"kind": "cpu", "threads": 1}},
        "matrix": [BLOCK],
        "quality": [],
        "quality_set": [],
        "measuring": vars(SHORT),
        "pathvars": {"results": str(results)},
    }
    name = f"{Path(results).name}.yaml"
    (clone / name).write_text(yaml.safe_dump(config | changes))
    return name


SmallDisk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mounts disks of some kilobytes, in memory."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        what = f"size={kilobytes}k,mode=777"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", what, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk until only `leave` bytes are free; return the file to remove again."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - leave))
    return filler
