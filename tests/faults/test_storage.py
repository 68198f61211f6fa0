"""A disk that is full or read-only while something is written to it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from build_model import build_model
from sdbench.export.networks import export_network
from sdbench.export.parity import export_each
from sdbench.measure.context import SweepContext
from sdbench.records.image_archive import read_images, save_images
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import StorageError
from sdbench.runtime.job import logged
from sdbench.tables.files import read_table, write_table
from sdbench.tables.schemas import EXPORTS
from tests.conftest import ROOT, run_snakemake
from tests.faults.conftest import SmallDisk, fill, write_config
from tests.reliability import Tally
from tests.sweeps import make_case, run, statuses

FULL = "No space left on device: free disk space and run again; finished results are kept"


def test_a_full_disk_ends_a_sweep_with_one_line_and_it_goes_on_later(
    job: SweepContext, small_disk: SmallDisk, tally: Tally
) -> None:
    """The less is free, the earlier it is full: while a record, an image or the index is made."""
    disk = small_disk(400)
    cases = [make_case(1), make_case(1, "attention-vanilla")]
    job = replace(job, folder=disk / "records")
    for free in (0, 8, 16):
        with tally.fault("disk full: a record, an image"):
            filler = fill(disk, free * 1024)
            with pytest.raises(StorageError, match=FULL) as caught:
                run(job, *cases)
            assert "\n" not in str(caught.value)
            assert not list(job.folder.rglob("*.part"))
            kept = {p: p.stat().st_mtime_ns for p in job.folder.rglob("batch-*.json")}
            filler.unlink()
    assert statuses(run(job, *cases)) == ["ok", "ok"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_full_disk_leaves_no_half_table_and_no_half_archive(
    small_disk: SmallDisk, tally: Tally
) -> None:
    disk = small_disk(128)
    filler = fill(disk, 8 * 1024)
    row = {"model": "m" * 9000, "graphs": "onnx", "network": "unet", "status": "ok"}
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    steps = np.arange(1, 3)
    series = {"runs": images, "runs_steps": steps, "trajectory": images}

    def table() -> None:
        write_table(pd.DataFrame([row]), disk / "exports.csv", EXPORTS)

    def archive() -> None:
        save_images(disk / "none.npz", "ok", "", **series, trajectory_steps=steps)

    for what, write in (("a table", table), ("an archive of images", archive)):
        with tally.fault(f"disk full: {what}"):
            with pytest.raises(StorageError, match=FULL):
                write()
            assert not [path for path in disk.iterdir() if path.suffix in (".csv", ".npz", ".part")]
    filler.unlink()
    table()
    assert len(read_table(disk / "exports.csv", EXPORTS)) == 1
    (disk / "exports.csv").unlink()
    filler = fill(disk, 100 * 1024)
    archive()
    assert (read_images(disk / "none.npz")["runs"] == images).all()


def test_a_full_disk_leaves_no_half_model(
    small_disk: SmallDisk, tmp_path: Path, tally: Tally, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = small_disk(1000)  # the weights take 1,300
    architecture = ROOT / "resources/architectures/tiny.yaml"
    with tally.fault("disk full: a model"):
        with pytest.raises(SystemExit), logged(str(tmp_path / "log")):
            build_model(architecture, Path("unused"), 0, disk / "tiny")
        said = capfd.readouterr().err
        assert said.splitlines()[-1].startswith("error: ") and FULL in said
        assert "Traceback" not in said
        assert not list(disk.iterdir())


def test_a_full_disk_leaves_no_half_export(
    model: Path, small_disk: SmallDisk, tally: Tally
) -> None:
    disk = small_disk(300)
    with tally.fault("disk full: an ONNX file"):
        with pytest.raises(UserError, match="No space left on device") as caught:
            export_each(disk / "tiny.json", disk / "tiny", export_network, model, 23, 1e-4)
        assert "\n" not in str(caught.value)
        assert not list(disk.iterdir())


def test_a_folder_that_cannot_be_written_is_one_line(
    clone: Path, small_disk: SmallDisk, tally: Tally
) -> None:
    """Read-only for everyone, root included."""
    disk = small_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    name = write_config(clone, disk / "readonly")
    with tally.fault("read-only results"):
        target = str(disk / "readonly/tables/cases.csv")
        run = run_snakemake(clone, "--cores", "1", "--configfile", name, "--", target, timeout=300)
        assert run.returncode != 0
        said = run.stdout + run.stderr
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert f"{disk}/readonly: Read-only file system: make it writable" in line
        assert "Traceback" not in said


def test_another_users_folder_is_one_line(tmp_path: Path, tally: Tally) -> None:
    """Not root, who may write everywhere."""
    if os.getuid() != 0:
        pytest.skip("becoming another user takes root")
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 0, 0)
    with tally.fault("another user's results"):
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            try:
                save_images(tmp_path / "none.npz", "ok", "")
            except StorageError as error:
                os._exit(0 if "Permission denied: make it writable" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
