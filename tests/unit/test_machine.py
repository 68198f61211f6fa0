"""What a device of the config is on a machine."""

import pytest

from sdbench import machine
from sdbench.machine import describe_machine, identify_machine, is_gpu_model


@pytest.mark.parametrize(
    ("promised", "found"),
    [
        ("", "Tesla T4"),
        ("a100", "NVIDIA A100-SXM4-40GB"),
        ("A100", "NVIDIA A100-SXM4-40GB"),
        ("a100_80gb", "NVIDIA A100 80GB PCIe"),
        ("nvidia_a100_80gb_pcie", "NVIDIA A100 80GB PCIe"),
        ("a100_3g.20gb", "NVIDIA A100-PCIE-40GB MIG 3g.20gb"),
        ("rtx3090", "NVIDIA GeForce RTX 3090"),
        ("geforce_rtx_3090", "NVIDIA GeForce RTX 3090"),
        ("3090", "NVIDIA GeForce RTX 3090"),
        ("2080ti", "NVIDIA GeForce RTX 2080 Ti"),
        ("v100", "Tesla V100-SXM2-16GB"),
    ],
)
def test_a_cluster_writes_a_model_in_its_own_words(promised: str, found: str) -> None:
    assert is_gpu_model(promised, found)


@pytest.mark.parametrize(
    ("promised", "found"),
    [
        ("a100", "NVIDIA GeForce RTX 3090"),
        ("a10", "NVIDIA A100-SXM4-40GB"),
        ("a100", "NVIDIA A10"),
        ("a100_80gb", "NVIDIA A100-SXM4-40GB"),
        ("rtx3090", "NVIDIA GeForce RTX 3090 Ti"),
        ("rtx2080", "NVIDIA GeForce RTX 2080 SUPER"),
        ("l40", "NVIDIA L40S"),
        ("v100", "Tesla V100S-PCIE-32GB"),
    ],
)
def test_another_model_is_not_the_promised_one(promised: str, found: str) -> None:
    assert not is_gpu_model(promised, found)


def test_another_gpu_of_the_same_model_is_the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    device = {"kind": "cuda", "index": 0}
    seen = []
    for uuid in ("GPU-1111", "GPU-2222"):
        names = [f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {uuid})"]
        monkeypatch.setattr(machine, "gpu_names", lambda names=names: names)
        seen.append(identify_machine(device))
    assert seen[0] == seen[1]
    assert seen[0]["gpus"] == ["NVIDIA A100-SXM4-40GB"]


def test_a_record_says_where_a_cluster_put_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURMD_NODENAME", "node3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = describe_machine()
    assert (found["slurm_job"], found["slurm_node"]) == ("17", "node3")
    assert found["cuda_visible_devices"] == "1"
    monkeypatch.delenv("SLURM_JOB_ID")
    assert describe_machine()["slurm_job"] is None
