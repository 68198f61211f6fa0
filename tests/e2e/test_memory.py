"""Memory: what its counters see, the budget of a device, and what is refused before loading."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbench import backends
from sdbench.backends.engine import Engine, Images
from sdbench.devices import nvml, platforms
from sdbench.measure import memory
from sdbench.measure.context import SweepContext
from sdbench.measure.memory import TooSmallError, check_weights_fit
from sdbench.measure.status import is_out_of_memory
from sdbench.models.weights import weight_bytes
from sdbench.runtime.processes import run_in_subprocess
from tests.sweeps import GENERATION, make_case, resident_now, run, statuses


def test_the_resident_peak_sees_a_known_allocation() -> None:
    """Also one that no counter of torch's sees, and one that is freed before the call ends."""
    known = 200 * 2**20
    loaded = resident_now()

    def call() -> None:
        np.ones(known // 8).sum()

    found = memory.measure_memory(call, torch.device("cpu"), loaded)
    assert found["resident_above_load_bytes"] == pytest.approx(known, rel=0.05)
    after = memory.measure_memory(lambda: None, torch.device("cpu"), loaded)
    assert after["resident_above_load_bytes"] < 0.2 * known  # type: ignore[operator]


def test_each_counter_of_a_gpu_sees_a_known_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's allocator as far as it is asked, with 300 bytes of weights."""
    now = {"allocated": 300, "reserved": 512}
    peak = {"allocated": 9000, "reserved": 9000}  # of what was done before
    for name, double in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _: peak.update(now),
        "synchronize": lambda _: None,
        "max_memory_allocated": lambda _: peak["allocated"],
        "max_memory_reserved": lambda _: peak["reserved"],
        "memory_reserved": lambda _: now["reserved"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, double)
    monkeypatch.setattr(platforms.Cuda, "uuid", lambda self, _: "GPU-abc")
    monkeypatch.setattr(nvml, "process_bytes", lambda uuid: 5000 + now["reserved"])

    def call() -> None:
        """Take 1000 bytes in a pool and give it back: the post's counter does not see the peak."""
        taken = {"allocated": 1300, "reserved": 1536}
        peak.update({name: max(peak[name], size) for name, size in taken.items()})

    found = memory.measure_memory(call, torch.device("cuda"), loaded_bytes=1)
    assert found == {
        "loaded_bytes": None,
        "resident_peak_bytes": None,
        "resident_above_load_bytes": None,
        "peak_allocated_bytes": 1300,
        "peak_reserved_bytes": 1536,
        "reserved_after_run_bytes": 512,
        "nvml_process_bytes": 5512,
    }


def _peak_of_steps(send: Callable[[Any], None], model: Path, steps: int) -> None:
    engine = backends.load(make_case(), model, None)
    latents = engine.latents(GENERATION, 16)
    engine.generate(GENERATION, latents, steps=1)
    loaded = resident_now()

    def call() -> None:
        engine.generate(GENERATION, latents, steps=steps)

    found = memory.measure_memory(call, engine.device, loaded)
    send(found["resident_peak_bytes"])


def test_memory_does_not_depend_on_the_number_of_steps(model: Path) -> None:
    """What the search for the largest batch relies on: it generates one step."""
    one, many = (run_in_subprocess(_peak_of_steps, model, steps)[0] for steps in (1, 15))
    assert many == pytest.approx(one, rel=0.02)


def test_the_limit_is_lifted_again() -> None:
    with memory.memory_limit(resident_now() + 200 * 2**20):
        with pytest.raises(RuntimeError) as caught:
            torch.empty(500 * 2**20)
        assert is_out_of_memory(caught.value)
    assert torch.empty(100 * 2**20).numel() == 100 * 2**20


def test_memory_that_ended_behind_another_error_is_out_of_memory() -> None:
    """As while a CUDA graph is recorded: ending the recording fails too, and hides the cause."""
    with pytest.raises(RuntimeError) as caught:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        finally:
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture"
            )
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("operation failed during capture"))


def test_a_peak_above_the_budget_is_out_of_memory_though_it_ran(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on the process is looser than the budget; the budget itself is kept exactly.

    What the tiny model takes varies from one process to the next, so each call
    allocates ballast too.
    """
    generate = Engine.generate

    def generate_with_ballast(*arguments: Any, **settings: Any) -> Images:
        np.ones(2_500_000_000, dtype=np.uint8)
        return generate(*arguments, **settings)

    monkeypatch.setattr(Engine, "generate", generate_with_ballast)
    # In a fork, as the case: that has not touched the libraries that this process has in memory.
    (resident,) = run_in_subprocess(lambda send: send(resident_now()))
    (held,) = run(job, make_case(memory_budget_gb=(resident + 2e9) / 1e9))
    assert held["status"] == "oom"
    assert "above the budget" in held["reason"]


def has_memory(monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
    """Have the device be one with memory of its own."""
    monkeypatch.setattr(platforms.Cpu, "memory_info", lambda *_: (free, total))


def load_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "load", lambda *_: pytest.fail("it was loaded"))


def test_a_budget_below_the_weights_is_found_before_loading(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    records = run(job, *(make_case(n, memory_budget_gb=0.001) for n in (1, 2)))
    assert statuses(records) == ["unsupported"] * 2
    assert records[0]["reason"].endswith("GB, but the memory budget is 0.001 GB")


def test_a_device_too_small_for_the_weights_is_found_before_loading(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    has_memory(monkeypatch, free=900_000, total=1_000_000)
    weights = sum(weight_bytes(job.components, "fp32", ()).values())
    assert weights > 1_000_000
    for record in run(job, make_case(1), make_case(2)):
        assert record["status"] == "unsupported"
        numbers = f"the weights take {weights / 1e9:.4g} GB, but the GPU has 0.001 GB"
        assert record["reason"] == numbers
        assert record["environment"]["device_name"]


def test_with_offload_the_largest_network_must_fit(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = weight_bytes(job.components, "fp32", ()).values()
    for options, needed in (("none", sum(networks)), ("model-offload", max(networks))):
        case = make_case(options=options)
        has_memory(monkeypatch, needed, needed)
        check_weights_fit(case, job.components)
        has_memory(monkeypatch, needed - 1, needed - 1)
        with pytest.raises(TooSmallError, match=r"the weights take .*, but the GPU has"):
            check_weights_fit(case, job.components)


def test_a_computed_peak_that_cannot_fit_is_unsupported(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    has_memory(monkeypatch, 10**8, 10**8)
    (record,) = run(replace(job, peaks={"fp32 none": 110_000_000}), make_case(1))
    assert record["status"] == "unsupported"
    told = "one image takes 0.11 GB (computed, 5% less at best), but the GPU has 0.1 GB"
    assert record["reason"] == told
    # Within the error that is known, or where none is, it is tried.
    check_weights_fit(make_case(), job.components, peaks={"fp32 none": 104_000_000})
    offloaded = {"fp32 group-offload": 10**9}
    check_weights_fit(make_case(options="group-offload"), job.components, peaks=offloaded)


def test_weights_that_cannot_wait_in_the_machines_memory_are_unsupported(job: SweepContext) -> None:
    with pytest.raises(TooSmallError, match=r"of host memory, but only 1e-05"):
        check_weights_fit(make_case(options="group-offload"), job.components, granted_bytes=10_000)
    check_weights_fit(make_case(options="none"), job.components, granted_bytes=10_000_000)


def test_memory_that_another_process_holds_is_an_error_and_tried_again(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_nothing(monkeypatch)
    has_memory(monkeypatch, free=900_000, total=10**12)
    monkeypatch.setattr(platforms.Cpu, "others", lambda *_: [{"pid": 7, "bytes": 10**12}])
    (record,) = run(job, make_case(1))
    assert record["status"] == "error"
    assert record["reason"].endswith(
        "only 0.0009 GB of the GPU's 1000 GB are free: process 7 holds the rest"
    )
    assert record["contention"]["contended"]
    monkeypatch.undo()
    assert statuses(run(job, make_case(1))) == ["ok"]
