"""What each kind of device is asked, against doubles of PyTorch's functions for it.

No such device is needed. A whole case is measured as on Apple's: the tensors are on the CPU, and
all that is asked of the device is asked of the double. On Intel's: test_offload.py.
"""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdbench.cases.kinds import KINDS
from sdbench.devices import nvml
from sdbench.devices.device import refuse_emulation, torch_device
from sdbench.devices.platforms import PLATFORMS, Cuda, Mps, Xpu, is_lost
from sdbench.measure.context import SweepContext
from sdbench.measure.memory import COUNTERS
from sdbench.runtime.errors import UnsupportedError
from tests.sweeps import launch_of, make_case, run

GPU = torch.device("cuda", 1)
CPU = torch.device("cpu")


def double(monkeypatch: pytest.MonkeyPatch, module: Any, **functions: Any) -> None:
    for name, value in functions.items():
        monkeypatch.setattr(module, name, lambda *_, value=value: value)


def test_every_kind_has_its_platform() -> None:
    assert PLATFORMS.keys() == KINDS.keys()
    assert all(platform.kind == kind for kind, platform in PLATFORMS.items())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU of NVIDIA; its properties can be changed."""
    properties = SimpleNamespace(
        name="NVIDIA A100-SXM4-40GB", major=8, minor=0, total_memory=42, uuid="1234-5678"
    )
    double(monkeypatch, torch.cuda, get_device_properties=properties)
    return properties


def test_a_record_has_the_uuid_of_the_gpu_or_of_its_slice(
    cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(nvml, "_handle", lambda uuid: asked.append(uuid))
    facts = Cuda().facts(GPU)
    assert facts["uuid"] == "GPU-1234-5678"
    assert set(asked) == {"GPU-1234-5678"}
    assert (facts["memory_bytes"], facts["compute_capability"]) == (42, "8.0")
    cuda.name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert Cuda().uuid(GPU) == "MIG-1234-5678"


def test_where_nvml_is_not_there_its_counters_are_empty_and_that_is_said(
    cuda: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on this machine, and on AMD's GPUs: else they would be empty without a reason."""
    assert nvml.process_bytes("GPU-none") is None
    assert nvml.foreign_processes("GPU-none") == []
    assert nvml.total_energy_j("GPU-none") is None
    assert set(nvml.gpu_state("GPU-none").values()) == {None}
    facts = nvml.describe_gpu("GPU-none")
    assert facts.pop("uuid") == "GPU-none"
    assert re.search("NVML|Not Found", facts.pop("nvml"))
    assert set(facts.values()) == {None}
    said = Cuda().facts(GPU)["nvml"]
    assert said and said in capsys.readouterr().out


def test_a_gpu_for_one_process_holds_no_race(
    cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for exclusive, wanted in ((True, "Exclusive_Process"), (False, "None")):
        monkeypatch.setattr(nvml, "is_exclusive", lambda _, answer=exclusive: answer)
        assert wanted in str(Cuda().why_not_shared(GPU))
    assert PLATFORMS["cpu"].why_not_shared(CPU) is None


def test_a_gpu_of_amd_has_rocm_in_its_record(
    cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.1.0")
    cuda.name, cuda.gcnArchName = "AMD Instinct MI250X", "gfx90a"
    facts = Cuda().facts(GPU)
    assert (facts["rocm"], facts["architecture"]) == ("7.1.0", "gfx90a")
    assert facts["driver"] is None
    assert "cuda" not in facts
    assert Cuda().why_not("bf16", GPU) is None
    assert "AMD" in str(Cuda().why_not("tf32", GPU))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_an_old_gpu_lacks_what_came_later(precision: str, cuda: SimpleNamespace) -> None:
    refuse_emulation(precision, GPU)
    cuda.name, cuda.major, cuda.minor = "Tesla T4", 7, 5
    refuse_emulation("fp16", GPU)
    with pytest.raises(UnsupportedError, match=rf"Tesla T4 has no .* {precision}: .* 7\.5"):
        refuse_emulation(precision, GPU)


def test_metal_has_bf16_from_macos_14_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for newer, wanted in ((True, None), (False, "bf16 on Metal needs macOS 14")):
        monkeypatch.setattr(
            torch.backends.mps, "is_macos_or_newer", lambda *version, n=newer: n or version < (14,)
        )
        found = Mps().why_not("bf16", torch.device("mps"))
        assert found is None if wanted is None else str(found).startswith(wanted)
        assert Mps().why_not("fp16", torch.device("mps")) is None


def test_intels_gpus_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not tell its free memory counts as free."""

    def refuse(_: torch.device) -> None:
        raise RuntimeError("The device doesn't support querying the available free memory.")

    xpu = torch.device("xpu", 0)
    properties = SimpleNamespace(
        name="Intel Arc", has_fp16=True, has_bfloat16_conversions=False, total_memory=8
    )
    double(monkeypatch, torch.xpu, get_device_properties=properties)
    monkeypatch.setattr(torch.xpu, "mem_get_info", refuse)
    assert Xpu().why_not("fp16", xpu) is None
    assert Xpu().why_not("bf16", xpu) == "Intel Arc has no instructions for bf16"
    assert Xpu().memory_info(xpu) == (8, 8)


TOO_OLD = """The NVIDIA driver on your system is too old (found version 11040).
Please update your GPU driver"""


def test_a_driver_that_is_too_old_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists its GPUs all the same: only setting it up tells."""

    def init() -> None:
        raise RuntimeError(TOO_OLD)

    double(monkeypatch, torch.cuda, is_available=False, device_count=1)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(UnsupportedError) as caught:
        torch_device(make_case(kind="cuda"))
    assert " ".join(TOO_OLD.split()) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_a_kind_that_pytorch_was_not_built_for_is_unsupported(kind: str) -> None:
    if PLATFORMS[kind].why_missing(99) != PLATFORMS[kind].why_missing(0):
        pytest.skip("this machine has such a device")
    with pytest.raises(UnsupportedError, match=f"{kind.upper()} device 0.* cannot use it here: "):
        torch_device(make_case(kind=kind))


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)"), True),
        (RuntimeError("Non-zero status code. CUDA failure 719: unspecified launch failure"), True),
        (RuntimeError("GPU is lost"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA failure 2: out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_lost_device_is_told_from_other_errors(error: Exception, lost: bool) -> None:
    """Memory that does not suffice leaves the device usable."""
    assert is_lost(error) is lost


def test_a_case_is_measured_on_apples_gpu(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    double(monkeypatch, torch.backends.mps, get_name="Apple M2 Max", get_core_count=38)
    double(
        monkeypatch,
        torch.mps,
        is_available=True,
        device_count=1,
        synchronize=None,
        empty_cache=None,
        recommended_max_memory=22_000_000_000,
        driver_allocated_memory=500,
    )
    # To PyTorch its devices are the CPU, which is asked as they are.
    platform = Mps()
    monkeypatch.setattr(platform, "device", lambda _: CPU, raising=False)
    for kind in ("mps", "cpu"):
        monkeypatch.setitem(PLATFORMS, kind, platform)
    record, _, last = run(job, *(make_case(n, kind="mps") for n in (1, 2)), largest=3)
    assert (last["case"]["batch_size"], last["status"]) == (3, "ok")
    assert record["memory"] == dict.fromkeys(COUNTERS) | {"reserved_after_run_bytes": 500}
    assert record["environment"]["device_name"] == "Apple M2 Max"
    assert record["environment"]["gpu"] == {"memory_bytes": 22_000_000_000, "cores": 38}
    assert launch_of(record)["throughput"]["energy"] is None
