"""What a device of the config is on a machine."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sdbench.cases import kinds
from sdbench.cases.case import Device
from sdbench.cases.kinds import KINDS
from sdbench.devices import machine
from sdbench.devices.machine import (
    budget_bytes,
    describe_machine,
    identify_machine,
    is_gpu_model,
    machine_bytes,
    missing_device,
)

GPUS = {
    "Tesla T4": ([""], []),
    "NVIDIA GeForce RTX 3090 Ti": ([""], ["rtx3090"]),
    "NVIDIA GeForce RTX 4070 Laptop GPU": ([""], []),
    "Intel(R) Data Center GPU Max 1550": (["max1550"], []),
    "NVIDIA A10": ([], ["a100"]),
    "NVIDIA A100-SXM4-40GB": (["a100", "A100"], ["a10", "a100_80gb", "a100_1g.5gb"]),
    "NVIDIA A100 80GB PCIe": (["a100_80gb", "nvidia_a100_80gb_pcie"], []),
    "NVIDIA A100-PCIE-40GB MIG 3g.20gb": (["a100_3g.20gb"], []),
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb": (["a100_1g.5gb"], ["a100"]),
    "NVIDIA H100 80GB HBM3 MIG 3g.40gb": (["nvidia_h100_80gb_hbm3_3g.40gb"], []),
    "NVIDIA DGX A100": (["dgx_a100"], []),
    "NVIDIA L40S": ([], ["l40"]),
    "NVIDIA GeForce RTX 3090": (["rtx3090", "geforce_rtx_3090", "3090"], ["a100"]),
    "NVIDIA GeForce RTX 2080 Ti": (["2080ti"], []),
    "NVIDIA GeForce RTX 2080 SUPER": ([], ["rtx2080"]),
    "NVIDIA GeForce RTX 4090 D": (["rtx4090d", "rtx_4090_d"], ["rtx4090", "nvidia_rtx_4090"]),
    "NVIDIA GeForce RTX 4070 Ti SUPER": (["4070tisuper"], ["rtx4070ti"]),
    "Tesla V100-SXM2-16GB": (["v100"], []),
    "Tesla V100S-PCIE-32GB": ([], ["v100"]),
}
"""What a GPU calls itself, what clusters call it, and what it is not."""


@pytest.mark.parametrize("found", GPUS)
def test_a_cluster_writes_a_model_in_its_own_words(found: str) -> None:
    names, others = GPUS[found]
    assert all(is_gpu_model(name, found) for name in names)
    assert not any(is_gpu_model(name, found) for name in others)


@pytest.mark.parametrize(
    ("features", "name"),
    [
        ("avx avx2 f16c fma", "AMD EPYC, AVX2"),
        ("avx avx2 avx512_bf16 avx512_vnni avx512f fma", "AMD EPYC, AVX-512 BF16 VNNI"),
        ("avx avx2 avx512f avx512_fp16 amx_tile amx_bf16", "AMD EPYC, AVX-512 BF16 FP16 AMX"),
        ("asimd asimdhp bf16 i8mm sve", "AMD EPYC, SVE BF16 FP16 I8MM"),
        ("sse4_2", "AMD EPYC"),
    ],
)
def test_unlike_processors_of_one_name_have_unlike_names_here(
    features: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = f"processor : 0\nmodel name : AMD EPYC\nflags : fpu {features}\n"
    monkeypatch.setattr(machine, "read", lambda _: info)
    found = describe_machine(Device("cpu"))
    assert (found["device_name"], found["cpu"]["name"]) == (name, "AMD EPYC")


def list_gpus(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    """Have `nvidia-smi -L` say this."""
    done = subprocess.CompletedProcess([], 0, stdout=listed)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)


def test_another_gpu_of_the_same_model_is_the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device("cuda", index=0)
    seen = []
    for uuid in ("GPU-1111", "GPU-2222"):
        list_gpus(monkeypatch, f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {uuid})\n")
        seen.append(identify_machine(device))
    assert seen[0] == seen[1]
    assert seen[0]["gpus"] == ["NVIDIA A100-SXM4-40GB"]


def test_the_memory_of_gpus_is_what_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    list_gpus(monkeypatch, "24564\n8188\n")
    assert KINDS["cuda"].gpu_bytes() == [24564 * 2**20, 8188 * 2**20]
    # One that shares the machine's memory may take any part of it.
    list_gpus(monkeypatch, "24564\n[N/A]\n")
    assert KINDS["cuda"].gpu_bytes() is None
    list_gpus(monkeypatch, "NVIDIA-SMI has failed because it couldn't communicate\n")
    assert KINDS["cuda"].gpu_bytes() is None
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert KINDS["cuda"].gpu_bytes() is None
    assert KINDS["xpu"].gpu_bytes() is None


def test_half_of_the_machine_or_of_what_a_cluster_grants_is_the_budget() -> None:
    device = Device("cpu")
    assert budget_bytes(device) == machine_bytes() // 2
    assert budget_bytes(device, 4 * 10**9) == 2 * 10**9
    assert budget_bytes(device, 2 * machine_bytes()) == machine_bytes() // 2
    assert budget_bytes(replace(device, memory_budget_gb=3), 4 * 10**9) == 3 * 10**9
    assert budget_bytes(Device("cuda")) is None


def test_a_record_says_where_a_cluster_put_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "node3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = describe_machine(Device("cpu"))
    assert (found["slurm_job"], found["slurm_node"]) == ("17", "node3")
    assert found["cuda_visible_devices"] == "1"
    monkeypatch.delenv("SLURM_JOB_ID")
    assert describe_machine(Device("cpu"))["slurm_job"] is None
    # A GPU has its name when it is in use.
    assert found["device_name"]
    assert describe_machine(Device("cuda"))["device_name"] is None


def test_two_gpus_are_two_devices_and_a_third_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    list_gpus(monkeypatch, "".join(f"GPU {i}: NVIDIA L4 (UUID: GPU-{i})\n" for i in range(2)))
    assert missing_device(Device("cuda", index=0)) is None
    assert missing_device(Device("cuda", index=1)) is None
    said = missing_device(Device("cuda", index=2))
    assert said is not None and said.startswith("found 2, but this machine has 2 GPU(s)")


def test_gpus_of_other_makers_are_those_that_linux_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, ids in {128: ("0x1002", "0x740f"), 129: ("0x8086", "0x0bd5"), 130: ()}.items():
        folder = tmp_path / f"renderD{number}" / "device"
        folder.mkdir(parents=True)
        for name, text in zip(("vendor", "device"), ids, strict=False):
            (folder / name).write_text(f"{text}\n")
    assert kinds.drm_gpus(kinds.AMD, tmp_path) == ["PCI 0x1002:0x740f"]
    assert kinds.drm_gpus(kinds.INTEL, tmp_path) == ["PCI 0x8086:0x0bd5"]
    # Where the system does not tell, PyTorch is asked later.
    monkeypatch.setattr(kinds.drm_gpus, "__defaults__", (tmp_path / "renderD130",))
    assert missing_device(Device("xpu", index=3)) is None


def test_a_mac_has_one_gpu_and_nothing_else_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_device(Device("mps", index=0)) is not None
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert missing_device(Device("mps", index=0)) is None
    assert missing_device(Device("mps", index=1)) is not None


def test_a_mac_is_known_by_its_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its GPU has no name of its own before it is in use, and belongs to the chip."""
    told = subprocess.CompletedProcess([], 0, stdout="Apple M2 Max\n")
    monkeypatch.setattr(machine, "read", lambda _: "")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: told)
    found = identify_machine(Device("mps"))
    assert (found["cpu"], found["gpus"]) == ("Apple M2 Max", ["Apple"])
