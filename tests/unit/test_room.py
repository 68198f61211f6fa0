"""Which models are neither built nor downloaded, since no device has room for their weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbench.cases.case import Device, Variant
from sdbench.cases.kinds import KINDS
from sdbench.models import room
from sdbench.models.architectures import load_architecture
from sdbench.models.computed import ERROR, read_computed
from sdbench.models.room import computed_peaks, device_room_bytes, least_components, without_room
from sdbench.models.weights import weight_bytes

ARCHITECTURES = Path(__file__).parents[2] / "resources" / "architectures"
COMPUTED = ARCHITECTURES.parent / "computed/memory.json"
FLUX = ARCHITECTURES / "flux.1-dev.yaml"
PARAMETERS = sum(network.parameters for network in load_architecture(FLUX).networks.values())
SEEDED = {"seeded": "flux.1-dev", "seed": 0}
PUBLISHED = load_architecture(FLUX).published or {}
HUB = {key: PUBLISHED[key] for key in ("hub", "revision")}
GB = 10**9


def cpu(budget_gb: float) -> dict[str, Any]:
    return {"kind": "cpu", "index": 0, "memory_budget_gb": budget_gb}


GPU = {"kind": "cuda", "index": 0, "memory_budget_gb": 0}


def unmade(
    *variants: tuple[str, str, str],
    source: dict[str, Any] = SEEDED,
    elsewhere: bool = False,
    manifests: Path = ARCHITECTURES,  # there are none in it
    size: int = 1024,
    raced: Sequence[Variant] = (),
    **devices: dict[str, Any],
) -> bool:
    """Tell whether FLUX.1 [dev] is not made for variants (device, precision, options)."""
    generation = {"width": size, "height": size, "guidance": 3.5}
    model = {"source": source, "generation": generation}
    config = {"models": {"flux": model}, "devices": devices}
    asked = [Variant("flux", device, "pytorch", *how) for device, *how in variants]
    peaks = computed_peaks(config, asked, ARCHITECTURES, COMPUTED)
    found = without_room(config, asked, peaks, raced, ARCHITECTURES, manifests, elsewhere)
    assert found in (set(), {"flux"})
    return bool(found)


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests ask for more than the machine may have that they run on."""
    monkeypatch.setattr(room, "machine_bytes", lambda: 64 * GB)


@pytest.mark.parametrize("source", [SEEDED, HUB])
def test_the_weights_decide(source: dict[str, Any]) -> None:
    weights_gb = 4 * PARAMETERS / GB
    assert unmade(("cpu", "fp32", "none"), source=source, cpu=cpu(weights_gb - 0.01))
    assert not unmade(("cpu", "fp32", "none"), source=source, cpu=cpu(weights_gb + 0.01))
    assert not unmade(("cpu", "bf16", "none"), source=source, cpu=cpu(weights_gb - 0.01))


@pytest.mark.parametrize(
    ("manifest", "stays"),
    [('{"files": {"a": "b"}}', False), ('{"files": {}}', True), ("[]", True), ("{", True)],
)
def test_what_was_made_elsewhere_stays(manifest: str, stays: bool, tmp_path: Path) -> None:
    """Results may come from a larger machine: their records must not be measured again."""
    (tmp_path / "flux.json").write_text(manifest)
    asked = ("cpu", "fp32", "none")
    assert unmade(asked, cpu=cpu(8), manifests=tmp_path) == stays


def test_one_device_with_room_is_enough() -> None:
    asked = ("small", "bf16", "none"), ("large", "bf16", "none")
    assert not unmade(*asked, small=cpu(8), large=cpu(40))
    assert unmade(asked[0], small=cpu(8), large=cpu(40))


OTHER_REVISION = {"revision": "0" * 40}


@pytest.mark.parametrize(
    "source",
    [{"local": "models/mine"}, {"hub": "someone/a-model"} | OTHER_REVISION, HUB | OTHER_REVISION],
)
def test_of_a_model_without_a_description_nothing_is_known(source: dict[str, Any]) -> None:
    assert not unmade(("cpu", "fp32", "none"), source=source, cpu=cpu(0.001))


@pytest.mark.parametrize("options", ["int8-weights", "nf4-weights"])
def test_quantized_weights_take_no_more_than_they_must(options: str) -> None:
    """Only what is certain is refused here."""
    architecture = load_architecture(FLUX)
    denoiser = architecture.networks["transformer"].parameters
    others = 2 * (PARAMETERS - denoiser)
    per_weight = {"int8-weights": 1.0, "nf4-weights": 0.5}[options]
    least = weight_bytes(least_components(architecture), "bf16", (options,))
    taken = sum(least.values()) - others
    assert denoiser * per_weight * 0.9999 < taken < denoiser * per_weight * 1.04
    assert not unmade(("cpu", "bf16", options), cpu=cpu((taken + others) / GB + 0.01))
    assert unmade(("cpu", "bf16", options), cpu=cpu((taken + others) / GB - 0.01))


def test_a_gpu_has_the_memory_of_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    def has(*gigabytes: int) -> None:
        gpus = [g * GB for g in gigabytes] or None
        monkeypatch.setitem(KINDS, "cuda", replace(KINDS["cuda"], gpu_bytes=lambda: gpus))

    has(8)
    assert unmade(("gpu", "bf16", "none"), gpu=GPU)
    assert unmade(("gpu", "bf16", "model-offload"), gpu=GPU)  # its transformer alone is 24 GB
    assert not unmade(("gpu", "bf16", "group-offload"), gpu=GPU)
    has(8, 48)
    assert not unmade(("gpu", "bf16", "none"), gpu=GPU)
    has()
    assert not unmade(("gpu", "bf16", "none"), gpu=GPU)
    # With offload all of it waits in the machine's memory.
    monkeypatch.setattr(room, "machine_bytes", lambda: 16 * GB)
    assert unmade(("gpu", "bf16", "group-offload"), gpu=GPU)


def test_what_another_machine_has_is_not_known() -> None:
    assert device_room_bytes(Device("cuda"), elsewhere=True) is None
    assert device_room_bytes(Device("cpu"), elsewhere=True) is None
    assert device_room_bytes(Device("cpu", memory_budget_gb=8), elsewhere=True) == 8 * GB
    asked = ("gpu", "bf16", "group-offload")
    assert not unmade(asked, elsewhere=True, gpu=GPU)
    assert unmade(("cpu", "bf16", "none"), elsewhere=True, cpu=cpu(8))


def test_a_computed_peak_that_is_certain_decides_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        r for r in read_computed(COMPUTED, [FLUX]) if (r["precision"], r["batch"]) == ("bf16", 1)
    ]
    peaks = {row["options"]: row["predicted_allocated_bytes"] for row in rows}

    def is_unmade(options: str, total: float, **more: Any) -> bool:
        kind = replace(KINDS["cuda"], gpu_bytes=lambda: [int(total)])
        monkeypatch.setitem(KINDS, "cuda", kind)
        return unmade(("gpu", "bf16", options), gpu=GPU, **more)

    sure = peaks["none"] * (1 - ERROR)
    assert sure - 1 > 2 * PARAMETERS, "more than the weights"
    assert is_unmade("none", sure - 1)
    assert not is_unmade("none", sure + 1)
    # What is computed is a whole call, of this size.
    assert not is_unmade("none", sure - 1, size=512)
    raced = [Variant("flux", "gpu", "pytorch", "bf16", "none")]
    assert not is_unmade("none", sure - 1, raced=raced)
    # No GPU has been seen to offload layer by layer.
    assert not is_unmade("group-offload", peaks["group-offload"] / 2)
