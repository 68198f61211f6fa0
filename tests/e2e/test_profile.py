"""A profile names the kernels of a call, and what they take adds up; and the benchmark of the meter
runs: what it finds is for a quiet machine."""

import csv
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch._C._autograd import DeviceType

from profile_case import kernel_rows, profile_case
from sdbench.cases.case import Device
from sdbench.runtime.errors import UserError
from tests.conftest import ROOT
from tests.sweeps import GENERATION, make_case

CASE = make_case(2, generation=GENERATION | {"steps": 2, "scheduler": "ddim"})


def test_a_profile_has_a_table_and_a_trace(model: Path, tmp_path: Path) -> None:
    table, trace = tmp_path / "batch-2.csv", tmp_path / "batch-2.trace.json.gz"
    profile_case(CASE.as_dict(), model, table, trace)
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["kernel", "calls", "self_s", "share"]
    seconds = [float(row["self_s"]) for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    calls = {row["kernel"]: int(row["calls"]) for row in rows}
    # One call with two steps: the convolutions of two UNet evaluations and one decoding.
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    for kernel in ("aten::mkldnn_convolution", "aten::native_group_norm"):
        traced = [event for event in events if event.get("name") == kernel]
        assert len(traced) == calls[kernel] > 20
    assert {path.name for path in tmp_path.iterdir()} == {table.name, trace.name}


def test_on_a_gpu_kernels_count_and_not_the_operators_that_launch_them() -> None:
    events = [
        SimpleNamespace(
            key=key,
            count=2,
            device_type=kind,
            is_user_annotation=key == "a region",
            self_cpu_time_total=500.0,
            self_device_time_total=us,
        )
        for key, kind, us in (
            ("aten::mm", DeviceType.CPU, 4.0),
            ("sgemm", DeviceType.CUDA, 1.0),
            ("conv", DeviceType.CUDA, 3.0),
            ("a region", DeviceType.CUDA, 4.0),
        )
    ]
    assert kernel_rows(events, on_gpu=True) == [
        {"kernel": "conv", "calls": 2, "self_s": 3e-6, "share": 0.75},
        {"kernel": "sgemm", "calls": 2, "self_s": 1e-6, "share": 0.25},
    ]


def test_a_case_that_this_machine_lacks_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    absent = replace(CASE, device=Device("cuda", index=99))
    with pytest.raises(UserError, match=r"batch-1\.csv: unsupported here: .* CUDA device 99"):
        profile_case(absent.as_dict(), model, tmp_path / "batch-1.csv", tmp_path / "trace.json.gz")
    assert not list(tmp_path.iterdir())


def test_the_meter_is_set_against_a_bare_loop_and_torchs_own() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/fidelity.py", "--rounds", "6", "--threads", "1"],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    ratios = re.findall(r"^ours / (bare|torch): ([0-9.]+), 95 % interval", run.stdout, re.M)
    assert [name for name, _ in ratios] == ["bare", "torch"], run.stderr
    # Six rounds on a machine that others use: one call must not count as two.
    assert all(0.5 < float(ratio) < 2 for _, ratio in ratios), run.stdout
