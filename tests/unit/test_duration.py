"""How long a run will take, before it begins."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench.config.check import check_config, load_schema
from sdbench.devices.datasheets import find_datasheet, read_datasheets
from sdbench.models.architectures import load_architecture
from sdbench.models.duration import Reckoning, operations, summary
from sdbench.models.planning import make_plan
from tests.conftest import ROOT

SHEETS = read_datasheets(ROOT / "resources/datasheets/gpus.csv")


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ("NVIDIA GeForce RTX 3080", "NVIDIA GeForce RTX 3080 10GB"),
        ("NVIDIA GeForce RTX 3080 Ti", "NVIDIA GeForce RTX 3080 Ti"),
        ("NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 4090 D"),
        ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM4 40GB"),
        ("NVIDIA A100 80GB PCIe", "NVIDIA A100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80GB"),
        ("Tesla V100-SXM2-16GB", "NVIDIA V100 SXM2 16GB"),
        ("Tesla T4", "NVIDIA T4"),
        ("NVIDIA H200", "NVIDIA H200 SXM 141GB"),
        ("a100", "NVIDIA A100 SXM4 40GB"),
        ("NVIDIA A100 80GB SXM", "NVIDIA A100 SXM4 80GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", None),
        ("Quadro RTX 8000", "NVIDIA Quadro RTX 8000"),
        ("NVIDIA H100 PCIe MIG 1g.10gb", None),
        ("", None),
    ],
)
def test_the_datasheet_of_a_gpu(told: str, row: str | None) -> None:
    found = find_datasheet(told, SHEETS)
    assert (found and found.name) == row


# Counted by torch on its meta device, guidance included: FLOP of a step, and of all else.
def test_operations_are_near_those_counted() -> None:
    architecture = load_architecture(ROOT / "resources/architectures/sd-v1.yaml")
    found = operations(architecture, {"height": 512, "width": 512, "guidance": 7.5})
    for rough, exact in zip(found, (1.606e12, 2.5e12), strict=True):
        assert 1 / 1.5 < rough / exact < 1.5


def reckoning(preset: str, devices: dict[str, Any]) -> Reckoning:
    file = ROOT / "config/presets" / f"{preset}.yaml"
    own = yaml.safe_load(file.read_text()) | {"devices": devices}
    config = check_config(own, load_schema(ROOT / "config/schema.yaml"), [file])
    plan = make_plan(config, [file], ROOT, Path("nowhere"), elsewhere=True)
    return Reckoning(plan, config, ROOT)


def seconds(found: Reckoning) -> float:
    """Return the seconds of all that is measured and generated on the GPU."""
    sweep = {"model": "sd-v1-4", "device": "gpu", "backend": "pytorch"}
    total: float = sum(found.job_s("measure_sweep", sweep).values())
    for reference, others in found.plan.quality:
        for variant in (reference, *others):
            total += sum(found.job_s("generate_images", vars(variant)).values())
    return total


def test_the_benchmark_of_2022_takes_less_than_ninety_minutes_of_an_a100() -> None:
    """With whole calls it would take ten hours."""
    devices = {"gpu": {"kind": "cuda", "gpu_model": "a100"}, "cpu": {"kind": "cpu"}}
    found = reckoning("lambda-2022", devices)
    assert 1800 < seconds(found) < 90 * 60
    vars(found)["config"]["measuring"]["project_above_s"] = 0
    assert seconds(found) > 5 * 3600


def test_a_precision_that_a_processor_would_emulate_takes_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = reckoning("full-size-cpu", {"cpu": {"kind": "cpu"}})
    cases = {case.variant.precision: case for case in found.plan.cases}
    for emulated in (False, True):
        monkeypatch.setattr("sdbench.models.duration.is_emulated", lambda _, e=emulated: e)
        assert (found.case_s(cases["bf16"]) == 0) is emulated
        assert found.case_s(cases["fp32"]) > 10


def test_the_first_line_names_what_takes_most() -> None:
    sweep, plot = "sd-v1 on cpu with pytorch", "plot speed"
    jobs = [(sweep, {"a": 100.0, "": 100.0}), (sweep, {"b": 100.0}), (plot, {"": 2.0})]
    assert summary([*jobs, ("export onnx", {"": 100.0})]) == (
        "about 7 min, reckoned from datasheets: sd-v1 on cpu with pytorch about 5 min, "
        "export onnx about 2 min"
    )
