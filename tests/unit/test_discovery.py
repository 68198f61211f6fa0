"""`devices: auto`: what the drivers' tools say of a machine, as entries of the config."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbench.cases.kinds import AMD, INTEL
from sdbench.config.check import check_config, load_schema
from sdbench.devices import discovery
from sdbench.devices.discovery import TorchBuild, find_devices, found_devices, short_name
from sdbench.runtime.errors import UserError
from tests.conftest import ROOT

CUDA = TorchBuild("2.13.0+cu130", "13.0", None, None)
CPU_ONLY = TorchBuild("2.13.0+cpu", None, None, None)
HEADER = "| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: {}  |"
RTX = "GPU 0: NVIDIA GeForce RTX 3080 (UUID: GPU-11)"
A100 = "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22)"
A100_TOO = "GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-33)"
SLICES = [
    "  MIG 1g.5gb      Device  0: (UUID: MIG-44)",
    "  MIG 2g.10gb     Device  1: (UUID: MIG-55)",
]

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with these GPUs: the lines of `nvidia-smi -L`, and numbers of AMD's and Intel's."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", discovery.ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)

    def make(nvidia: list[str] = [], drm: dict[str, list[str]] = {}, cuda: str = "13.0") -> None:  # noqa: B006
        monkeypatch.setattr(
            discovery, "ask_nvidia", lambda *question: nvidia if question else [HEADER.format(cuda)]
        )
        monkeypatch.setattr(discovery, "drm_gpus", lambda maker: drm.get(maker, []))

    make()
    return make


def found(build: TorchBuild | None, pci: Path = Path("/nonexistent")) -> tuple[list[str], str]:
    devices = find_devices(build, pci)
    return [*devices.devices], "; ".join(devices.notes)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA GeForce RTX 3080", "rtx-3080"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100-sxm4-40gb-mig-1g.5gb"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada-generation"),
        ("Apple M2 GPU", "apple-m2-gpu"),
    ],
)
def test_a_device_is_named_after_its_model(name: str, short: str) -> None:
    assert short_name(name) == short


def test_a_machine_without_a_gpu_has_a_cpu(machine: Machine) -> None:
    assert found(CPU_ONLY) == (["cpu"], "")


def test_every_model_of_gpu_is_there_and_the_cpu(machine: Machine) -> None:
    machine([RTX, A100, A100_TOO])
    devices = find_devices(CUDA)
    assert devices.devices == {
        "rtx-3080": {"kind": "cuda", "index": 0},
        "a100-sxm4-40gb": {"kind": "cuda", "index": 1},
        "cpu": {"kind": "cpu"},
    }
    (note,) = devices.notes
    assert note.startswith("2 GPUs are of the model a100-sxm4-40gb: the first is measured")


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["a100-sxm4-40gb", "cpu"]),
        ("GPU-11", ["rtx-3080", "cpu"]),
        ("", ["cpu"]),
        ("1,7,0", ["a100-sxm4-40gb", "cpu"]),
    ],
)
def test_what_cuda_may_not_see_is_not_there(
    visible: str, names: list[str], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine([RTX, A100])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found(CUDA)[0] == names


def test_of_a_gpu_in_slices_cuda_sees_the_first(machine: Machine) -> None:
    machine([A100.replace("1:", "0:"), *SLICES])
    assert found(CUDA)[0] == ["a100-sxm4-40gb-mig-1g.5gb", "cpu"]


@pytest.mark.parametrize(
    ("build", "cuda", "said"),
    [
        (CPU_ONLY, "13.0", "2.13.0+cpu was built without CUDA: set up again with"),
        (
            CUDA,
            "12.4",
            "its driver supports CUDA 12 and PyTorch 2.13.0+cu130 was built for CUDA 13",
        ),
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_line_with_the_remedy(
    build: TorchBuild, cuda: str, said: str, machine: Machine
) -> None:
    machine([RTX], cuda=cuda)
    names, note = found(build)
    assert names == ["cpu"]
    assert note.startswith("NVIDIA GeForce RTX 3080 is not measured, because ")
    assert said in note


def test_a_gpu_whose_driver_does_not_answer_is_a_line(machine: Machine, tmp_path: Path) -> None:
    card = tmp_path / "0000:01:00.0"
    card.mkdir()
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030000\n")
    assert "its driver does not answer" in found(CUDA, tmp_path)[1]


@pytest.mark.parametrize(
    ("build", "names", "said"),
    [
        (TorchBuild("2.13.0+rocm6.4", None, "6.4", None), ["gpu", "cpu"], ""),
        (CPU_ONLY, ["cpu"], "was built without ROCm"),
        (CUDA, ["cpu"], ""),  # a processor's own graphics next to an NVIDIA card
    ],
)
def test_a_gpu_of_amd(build: TorchBuild, names: list[str], said: str, machine: Machine) -> None:
    machine(drm={AMD: ["PCI 0x1002:0x744c"]})
    assert found(build)[0] == names
    assert said in found(build)[1]


@pytest.mark.parametrize(
    ("build", "names", "said"),
    [
        (TorchBuild("2.13.0+xpu", None, None, "20250301"), ["gpu", "cpu"], ""),
        (CPU_ONLY, ["cpu"], "was built without XPU"),
    ],
)
def test_a_gpu_of_intel(build: TorchBuild, names: list[str], said: str, machine: Machine) -> None:
    machine(drm={INTEL: ["PCI 0x8086:0x56a0"]})
    assert found(build)[0] == names
    assert said in found(build)[1]


def test_jobs_are_told_what_was_found(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(discovery.ENVIRONMENT, json.dumps({"devices": {}, "notes": []}))
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert found_devices(CUDA).devices == {}
    monkeypatch.delenv(discovery.ENVIRONMENT)
    machine([RTX, A100])
    first = found_devices(CUDA)
    machine([])
    assert found_devices(CUDA).devices == first.devices


def test_what_pytorch_was_built_for_is_read_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('it was imported')")
    (package / "version.py").write_text(
        "from typing import Optional\n__version__ = '2.13.0+cu130'\ndebug = False\n"
        "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\nxpu: Optional[str] = None\n"
    )
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    assert discovery.torch_build() == CUDA


MATRIX = {"model": "m", "backends": ["pytorch"], "precisions": ["fp32"], "batch_sizes": [1]}
CONFIG = {
    "models": {
        "m": {
            "source": {"seeded": "tiny"},
            "generation": {"prompt": "a", "steps": 1, "scheduler": "ddim", "guidance": 1.0}
            | {"height": 64, "width": 64},
        }
    },
}
FOUND = {"rtx-3080": {"kind": "cuda"}, "cpu": {"kind": "cpu"}}


def checked(devices: object) -> list[str]:
    schema = load_schema(ROOT / "config/schema.yaml")
    config = CONFIG | {"matrix": [MATRIX | {"devices": devices}]}
    return list(check_config(config, schema, [], FOUND)["matrix"][0]["devices"])


def test_all_devices_or_the_gpus_can_be_meant_without_names() -> None:
    assert checked("all") == ["rtx-3080", "cpu"]
    assert checked("gpus") == ["rtx-3080"]
    assert checked(["cpu"]) == ["cpu"]


def test_a_name_that_was_not_found_is_refused_with_those_that_were() -> None:
    with pytest.raises(
        UserError, match=r"'a100' is no device of this machine; found are .*`rtx-3080`"
    ):
        checked(["a100"])
