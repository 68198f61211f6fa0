"""A day with a GPU, rehearsed on the CPU: what docs/gpu-day.md says of a slice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdbench.records.archive import unpack
from sdbench.records.record import read_indexed
from tests.conftest import copy_workflow

pytestmark = pytest.mark.slow
LIMIT_MB = 16


def rehearse(clone: Path, name: str, minutes: str = "60") -> str:
    asked = [name, "--rehearse", "--minutes", minutes, "--out", "home"]
    made = subprocess.run(
        [sys.executable, "benchmarks/gpu_day/run.py", *asked],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-5000:] + made.stderr[-5000:]
    return made.stdout


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("1-smoke", "answers differ"),
        ("2-sd-v1", ""),
        ("3-fidelity", "hold each other's value"),
        ("4a-sdxl", ""),
        ("4b-flux", ""),
        ("5-predictions", ""),
        ("6-quality", ""),
    ],
)
def test_a_slice_leaves_an_archive_that_opens_at_home(
    name: str, program: str, tmp_path: Path
) -> None:
    clone = copy_workflow(tmp_path / "clone")
    said = rehearse(clone, name.partition("-")[0])
    assert "A REHEARSAL on the CPU" in said
    assert program in said
    archive = clone / f"home/{name}.tar.gz"
    assert archive.stat().st_size < LIMIT_MB * 1e6
    config = json.loads(unpack(archive, tmp_path / "home").read_text())
    assert config["records_only"]
    statuses = {
        record["status"]
        for index in (tmp_path / "home/records").rglob("index.json")
        for _, record in read_indexed(index)
    }
    assert statuses and statuses <= {"ok", "unsupported"}


def test_a_slice_that_was_ended_goes_on(tmp_path: Path) -> None:
    """With no minute left, nothing is measured, and there is an archive that says so."""
    clone = copy_workflow(tmp_path / "clone")
    program = clone / "benchmarks/gpu_day/run.py"
    whole = program.read_text()
    program.write_text(whole.replace("PACK_S = 60.0", "PACK_S = 9e9"))
    assert "the time of the run was over" in rehearse(clone, "2")
    program.write_text(whole)
    said = rehearse(clone, "2")
    assert "the time of the run was over" not in said
    assert "10 cases, 0 reused" in said
