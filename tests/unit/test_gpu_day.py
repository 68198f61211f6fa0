"""The slices of a day with a GPU: their configs, how long they take, and what is made again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.gpu_day import run as gpu_day
from sdbench.config.check import check_config
from sdbench.models.duration import Reckoning
from sdbench.models.planning import Plan, make_plan
from sdbench.records.image_archive import save_images
from sdbench.records.record import record_path, write_index, write_record
from sdbench.runtime.files import write_json
from sdbench.runtime.processes import DEADLINE, OutOfTime, run_in_subprocess
from tests.conftest import ROOT
from tests.unit.records_factory import make_case, make_record

SLICES = sorted((ROOT / "benchmarks/gpu_day").glob("[0-9]*.yaml"))
GPU = "NVIDIA H200"


def planned(config: dict[str, Any], schema: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
    """Return the plan of a config for a machine with one GPU, and the complete config."""
    checked = check_config(config, schema, [], {"gpu": {"kind": "cuda"}, "cpu": {"kind": "cpu"}})
    for device in checked["devices"].values():
        device["gpu_model"] = GPU if device["kind"] == "cuda" else ""
    return make_plan(checked, [], ROOT, Path("none"), elsewhere=True), checked


def load(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    assert config["pathvars"]["results"] == f"results/gpu-day/{path.stem}"
    return config


@pytest.mark.parametrize("path", SLICES, ids=lambda path: path.stem)
def test_a_slice_fits_its_minutes(path: Path, schema: dict[str, Any]) -> None:
    """By the reckoning from datasheets, next to its programs. Of FLUX.1, whose weights take half a
    minute to load, two calls make the first launch of each case."""
    plan, config = planned(load(path), schema)
    calls = 1
    if path.stem == "4b-flux":
        calls, config["measuring"]["launches"] = 2, 1
    reckoned = Reckoning(plan, config, ROOT)
    programs = len(gpu_day.PROGRAMS.get(path.stem, ()))
    measuring_s = 60 * gpu_day.MINUTES - gpu_day.PACK_S - programs * gpu_day.PROGRAM_S
    assert 0 < sum(map(reckoned.case_s, plan.cases)) < calls * measuring_s
    assert all(case.device.kind in ("cuda", "cpu") for case in plan.cases)


@pytest.mark.parametrize("path", SLICES, ids=lambda path: path.stem)
def test_a_rehearsal_is_on_the_cpu_and_small(path: Path, schema: dict[str, Any]) -> None:
    whole, rehearsed = load(path), gpu_day.rehearsal(load(path))
    plan, config = planned(rehearsed, schema)
    assert {case.device.kind for case in plan.cases} == {"cpu"}
    assert all(model["source"]["seeded"].startswith("tiny") for model in config["models"].values()
               if "seeded" in model["source"])  # fmt: skip
    assert rehearsed["pathvars"]["results"] == f"results/gpu-day/rehearsal/{path.stem}"
    options = {option for entry in whole["matrix"] for option in entry.get("options", ["none"])}
    found = {case.variant.options for case in plan.cases} | {
        absent.variant.options for absent in plan.absent
    }
    assert found == options


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_json(tmp_path / "peak_throughput/gpu.json", {"peaks": [{"status": "ok"}]})
    (tmp_path / "quality/shapes").mkdir(parents=True)
    save_images(tmp_path / "quality/shapes/none.npz", "ok", "", **images())
    index(tmp_path, "sd-v1")
    return tmp_path


def images() -> dict[str, Any]:
    nothing = np.empty((0, 8, 8, 3), np.uint8)
    return {"runs": nothing, "trajectory": nothing} | dict.fromkeys(
        ("runs_steps", "trajectory_steps"), np.empty(0, np.int64)
    )


def index(results: Path, model: str, search: str | None = None, **changes: Any) -> Path:
    folder = results / f"records/{model}/gpu/pytorch"
    cases = [make_case(size) for size in (1, 2)]
    write_record(folder, cases[0], make_record(cases[0]))
    write_record(folder, cases[1], make_record(cases[1], **changes))
    write_index(folder, cases, [{"reason": search}])
    return folder / "index.json"


def test_what_is_finished_is_not_made_again(results: Path) -> None:
    assert list(gpu_day.unfinished(results)) == []


NOTHING: dict[str, Any] = {"launches": None, "memory": None, "image": None}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda results: index(results, "m", complete=False),
        lambda results: index(results, "m", status="error", reason=OutOfTime.REASON, **NOTHING),
        lambda results: index(results, "m", search="the search ended early"),
    ],
    ids=["fewer launches", "no launch", "no search"],
)
def test_a_job_that_was_ended_goes_on(spoil: Callable[[Path], Path], results: Path) -> None:
    spoilt = spoil(results)
    assert list(gpu_day.unfinished(results)) == [spoilt]


def test_a_damaged_record_images_and_peaks_that_failed_are_made_again(results: Path) -> None:
    folder = index(results, "m").parent
    record_path(folder, make_case(1)).write_text("{")
    peaks, failed = results / "peak_throughput/gpu.json", results / "quality/failed.npz"
    write_json(peaks, {"peaks": [{"status": "ok"}, {"status": "error"}]})
    save_images(failed, "error", OutOfTime.REASON, **images())
    assert set(gpu_day.unfinished(results)) == {folder / "index.json", peaks, failed}


def test_nothing_is_measured_once_the_time_of_a_run_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(send: Callable[[Any], None]) -> None:
        send(1)
        time.sleep(60)

    for limit_s in (None, 30):
        monkeypatch.setenv(DEADLINE, str(time.monotonic() + 1))
        with pytest.raises(OutOfTime) as caught:
            run_in_subprocess(work, limit_s=limit_s)
        assert caught.value.args[1] == [1]
        with pytest.raises(OutOfTime):
            run_in_subprocess(work)
    monkeypatch.setenv(DEADLINE, str(time.monotonic() + 60))
    assert run_in_subprocess(lambda send: send(2)) == [2]
