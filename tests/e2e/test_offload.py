"""Weights that wait in another memory: rows of every family on a GPU that has one (second_memory).

What it computes is the CPU's, so that images must be the same; what it holds is counted, and is
what was computed of it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdbench.backends import pytorch
from sdbench.cases.case import Case, Device, Variant
from sdbench.devices import platforms
from sdbench.measure.allocator import Allocator
from sdbench.measure.context import SweepContext
from sdbench.measure.predicted_memory import Outline, predict_peaks, trace_call
from sdbench.measure.sweep import run_sweep
from sdbench.models.architectures import load_architecture
from sdbench.models.reading import read_folder
from sdbench.models.tokenizer import byte_vocabulary
from sdbench.models.weights import Components, device_bytes, weight_bytes
from sdbench.records.record import Record, record_path
from sdbench.runtime.processes import run_in_subprocess
from tests.e2e import second_memory
from tests.e2e.conftest import ARCHITECTURES, build_twin
from tests.sweeps import GENERATION, SHORT, indexed, launch_of, make_job

TWINS = ("tiny", "tiny-sdxl", "tiny-sd3", "tiny-flux-dev", "tiny-pixart-sigma", "tiny-z-image")
"""A model of each family."""
OFFLOADS = ("model-offload", "group-offload")
BESIDE = {
    "vae-tiling": ("group-offload",),
    "int8-weights": OFFLOADS,
    "nf4-weights": ("model-offload",),
}
"""An option -> the offloads that it is measured with."""

Rows = dict[str, Record]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return second_memory.build(tmp_path_factory.mktemp("second-memory"))


def _sweep(
    send: Callable[[Any], None], library: Path, cases: list[Case], job: SweepContext
) -> None:
    second_memory.install(library)
    run_sweep(cases, job, {})
    send(None)


def measure(
    library: Path, folder: Path, model: Path, options: list[str], precision: str = "fp32"
) -> Rows:
    """Return the record of a model with each of `options`."""
    own = load_architecture(ARCHITECTURES / f"{model.name}.yaml").generation or {}
    small = {**own, "guidance": 4.0, "steps": 2, "height": 32, "width": 32}
    device = Device(second_memory.KIND, threads=1)
    variants = [Variant(model.name, "gpu", "pytorch", precision, option) for option in options]
    cases = [Case(variant, 1, GENERATION | small, device) for variant in variants]
    job = make_job(folder, model, SHORT)
    run_in_subprocess(_sweep, library, cases, job)
    return {record["case"]["variant"]["options"]: record for record in indexed(job)}


@pytest.fixture(scope="module", params=TWINS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_twin(request.param, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def components(model: Path) -> Components:
    return read_folder(model).components


@pytest.fixture(scope="module")
def rows(model: Path, library: Path) -> Rows:
    options = ["none", "vae-tiling", *OFFLOADS]
    if model.name == "tiny":  # one family shows what others do to layers that all of them have
        options += ["int8-weights", "nf4-weights", "attention-vanilla", "attention-sliced"]
        options += [f"{other}+{offload}" for other in BESIDE for offload in BESIDE[other]]
    return measure(library, model.with_name("records"), model, options)


def image(model: Path, record: Record) -> Any:
    path = record_path(model.with_name("records"), Case.from_dict(record["case"]))
    return np.asarray(Image.open(path.with_name(record["image"]["file"]))).astype(int)


def test_it_is_a_memory_of_its_own(library: Path) -> None:
    def work(send: Callable[[Any], None]) -> None:
        second_memory.install(library)
        here = torch.ones(1, 2, 8, 8)
        there = here.to(second_memory.KIND)
        mixed: list[Callable[[], Any]] = [lambda: there + here]
        for layer in (torch.nn.Linear(8, 8), torch.nn.Conv2d(2, 2, 3), torch.nn.LayerNorm(8)):
            mixed.append(partial(layer, there))
        for call in mixed:
            with pytest.raises(RuntimeError, match="on the same device"):
                call()
        send((there + there).cpu().sum().item())
        send((second_memory.counters.held(), second_memory.counters.peak() > 512))

    assert run_in_subprocess(work) == [256.0, (512, True)]


def test_every_option_is_a_row_with_speed_memory_and_image(rows: Rows, model: Path) -> None:
    for options, record in rows.items():
        assert record["status"] == "ok", record["reason"]
        *others, offload = ["none", *options.split("+")]
        if offload not in OFFLOADS:
            assert record["environment"]["switches"]["offload"] is None
            continue
        assert record["environment"]["switches"]["offload"] == offload
        assert len(launch_of(record)["latency"]["samples_s"]) == 1
        # Where weights wait moves no pixel, nor anything that is computed.
        alike = rows[others[-1]]
        assert (image(model, record) == image(model, alike)).all()
        parts, same = launch_of(record)["phases"][0], launch_of(alike)["phases"][0]
        assert parts["denoiser_evaluations"] == same["denoiser_evaluations"]
        assert parts["vae_decoder_s"] > 0


def test_a_record_says_which_gpu_it_is_of_and_what_that_cannot_count(rows: Rows) -> None:
    record = rows["none"]
    environment, launch = record["environment"], launch_of(record)
    assert environment["device_name"] == "second memory"
    assert (environment["gpu"]["uuid"], environment["gpu"]["driver"]) == ("0", "0")
    counted = {name for name, value in record["memory"].items() if value is not None}
    assert counted == {"peak_allocated_bytes", "peak_reserved_bytes", "reserved_after_run_bytes"}
    assert launch["throughput"]["energy"] is None
    assert record["contention"]["gpu_processes"] == []
    assert launch["device_state"] == {"before": {}, "during": [{}], "after": {}}


def test_what_waits_elsewhere_is_not_on_the_gpu(rows: Rows, components: Components) -> None:
    """What is known from shapes alone is what the GPU was seen to hold."""
    for options, record in rows.items():
        switches = tuple(options.split("+"))
        memory, weights = record["memory"], sum(weight_bytes(components, "fp32", switches).values())
        peak, needed = memory["peak_allocated_bytes"], device_bytes(components, "fp32", switches)
        if switches[-1] not in OFFLOADS:
            assert peak > memory["reserved_after_run_bytes"] >= weights == needed
            continue
        # A call leaves what little it began with, and not a layer.
        assert memory["reserved_after_run_bytes"] < weights / 50
        # Whatever is computed, all but the weights that it takes are away: with `group-offload`
        # two layers at most, of which one is the largest.
        assert peak >= (needed if switches[-1] == "model-offload" else needed / 2)
        alike = rows["+".join(switches[:-1]) or "none"]["memory"]
        assert alike["peak_allocated_bytes"] - peak >= 0.99 * (weights - needed)


def test_the_computed_peak_is_that_of_a_device_that_counts_every_byte(
    rows: Rows, model: Path
) -> None:
    """Which has neither cuDNN nor blocks. Its attention is not fused; options one at a time."""
    architecture = load_architecture(ARCHITECTURES / f"{model.name}.yaml")
    outlined = Outline.of(architecture, byte_vocabulary())
    for record in (record for options, record in rows.items() if "+" not in options):
        case = Case.from_dict(record["case"])
        trace = trace_call(outlined, case.variant, case.generation, 1, cudnn=False)
        memory = Allocator(rounded=1)
        found = predict_peaks(trace, "fp32", case.variant.switches, memory).allocated
        assert found == pytest.approx(record["memory"]["peak_allocated_bytes"], rel=0.05), (
            case.title
        )


def test_a_vae_that_is_upcast_for_each_image_is_not_moved_layer_by_layer_or_compiled_to_graphs(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs would be recorded again in every call, inside the samples."""
    monkeypatch.setattr(platforms.Xpu, "graph_calls", 2)
    monkeypatch.setattr(pytorch, "_find_compiler", lambda _: "a compiler")
    model = build_twin("tiny-sdxl", tmp_path)
    rows = measure(library, tmp_path / "records", model, [*OFFLOADS, "compile"], "fp16")
    assert rows["model-offload"]["status"] == "ok", rows["model-offload"]["reason"]
    for options, reason in (
        ("group-offload", "fp16 weights of the VAE are cast to fp32"),
        ("compile", "record its CUDA graph again"),
    ):
        assert rows[options]["status"] == "unsupported"
        assert reason in rows[options]["reason"]
