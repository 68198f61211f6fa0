"""How long a run will take, before it begins."""

import pytest

from sdbench.devices.datasheets import find_datasheet, read_datasheets
from sdbench.models.architectures import load_architecture
from sdbench.models.duration import operations
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
        ("a100", "NVIDIA A100 PCIe 40GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", None),
        ("Quadro RTX 8000", None),
        ("", None),
    ],
)
def test_the_datasheet_of_a_gpu(told: str, row: str | None) -> None:
    found = find_datasheet(told, SHEETS)
    assert (found and found.name) == row


# Counted by torch on its meta device, guidance included: FLOP of a step, and of all else.
@pytest.mark.parametrize(
    ("name", "side", "counted"),
    [("sd-v1", 512, (1.606e12, 2.5e12))],
)
def test_operations_are_near_those_counted(
    name: str, side: int, counted: tuple[float, float]
) -> None:
    architecture = load_architecture(ROOT / f"resources/architectures/{name}.yaml")
    found = operations(architecture, {"height": side, "width": side, "guidance": 7.5})
    for rough, exact in zip(found, counted, strict=True):
        assert 1 / 1.5 < rough / exact < 1.5
