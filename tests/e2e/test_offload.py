"""Weights that wait in another memory: rows of every family on a GPU that has one (second_memory).

What it computes is the CPU's, so that pictures must be the same; what it holds is counted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdbench import platforms
from sdbench.cases import Case, Variant
from sdbench.models.architectures import load_architecture
from sdbench.models.manifest import describe_components, model_files
from sdbench.models.seeded import build_seeded
from sdbench.models.tokenizer import byte_vocabulary
from sdbench.models.weights import Components, device_bytes, weight_bytes
from sdbench.processes import run_apart
from sdbench.records import Record, read_indexed, record_path
from sdbench.sweep import run_sweep
from tests.conftest import ROOT
from tests.e2e import second_memory
from tests.sweeps import make_job

MEASURING = {
    "warmup_calls": 1,
    "min_samples": 3,
    "min_duration_s": 0.0,
    "max_duration_s": 10.0,
    "min_samples_capped": 3,
    "phase_samples": 1,
    "contention": "warn",
    "max_busy_cores": 0.25,
    "contention_wait_s": 0,
    "throughput_duration_s": 0.1,
    "case_time_limit_s": 600,
}
TWINS = {
    "tiny": "pndm",
    "tiny-sdxl": "euler",
    "tiny-sd3": "flow-euler",
    "tiny-flux-dev": "flow-euler",
    "tiny-pixart-sigma": "dpmsolver",
    "tiny-z-image": "flow-euler",
}
"""A model of each family -> its scheduler."""
OFFLOADS = ("model-offload", "group-offload")
QUANTIZED = ("int8-weights", "nf4-weights")
OPTIONS = ("none", *OFFLOADS, *QUANTIZED, *(f"{q}+{o}" for o in OFFLOADS for q in QUANTIZED))

Rows = dict[str, Record]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return second_memory.build(tmp_path_factory.mktemp("second-memory"))


def _sweep(send: Callable[[Any], None], library: Path, cases: list[Case], job: Any) -> None:
    second_memory.install(library)
    # Computing while weights are on their way takes streams, which it has not.
    platforms.Xpu.has_streams = False
    run_sweep(cases, job, {})
    send(None)


def measure(library: Path, folder: Path, model: Path, options: tuple[str, ...]) -> Rows:
    """Return the record of a model with each of `options`, in fp32."""
    generation = {
        "prompt": "a red circle",
        "steps": 2,
        "scheduler": TWINS[model.name],
        "guidance": 4.0,
        "height": 32,
        "width": 32,
        "seed": 0,
    }
    device = {
        "kind": second_memory.KIND,
        "index": 0,
        "threads": 1,
        "memory_budget_gb": 0,
        "gpu_model": "",
    }
    variants = [Variant(model.name, "gpu", "pytorch", "fp32", option) for option in options]
    cases = [Case(variant, 1, generation, device) for variant in variants]
    run_apart(_sweep, library, cases, make_job(folder, model, MEASURING))
    records = [record for _, record in read_indexed(folder / "index.json")]
    return {record["case"]["variant"]["options"]: record for record in records}


@pytest.fixture(scope="module", params=TWINS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = load_architecture(ROOT / f"resources/architectures/{request.param}.yaml")
    folder: Path = tmp_path_factory.mktemp("models") / request.param
    build_seeded(architecture, byte_vocabulary(), 0, folder)
    return folder


@pytest.fixture(scope="module")
def components(model: Path) -> Components:
    return describe_components(model, model_files(model))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def rows(model: Path, library: Path, folder: Path) -> Rows:
    # One family shows what quantized weights do when they are moved; they are the same layers.
    options = OPTIONS if model.name == "tiny" else ("none", *OFFLOADS)
    return measure(library, folder / model.name, model, options)


def picture(folder: Path, record: Record) -> Any:
    case = Case.from_dict(record["case"])
    path = record_path(folder / case.variant.model, case).with_name(record["picture"]["file"])
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_it_is_a_memory_of_its_own(library: Path) -> None:
    def work(send: Callable[[Any], None]) -> None:
        second_memory.install(library)
        there = torch.ones(1000, device=second_memory.KIND)
        with pytest.raises(RuntimeError, match="on the same device"):
            there + torch.ones(1000)
        send((there + there).cpu().sum().item())
        send(second_memory.counters.held())
        send(second_memory.counters.peak() > 4000)

    assert run_apart(work) == [2000.0, 4000, True]


def test_every_option_is_a_row_with_speed_memory_and_picture(rows: Rows, folder: Path) -> None:
    whole = picture(folder, rows["none"])
    for options, record in rows.items():
        assert record["status"] == "ok", record["reason"]
        switches = options.split("+")
        offload = next((switch for switch in switches if switch in OFFLOADS), None)
        assert record["environment"]["switches"]["offload"] == offload
        assert len(record["latency"]["samples_s"]) == 3
        quantized = next((switch for switch in switches if switch in QUANTIZED), None)
        # Where weights wait moves no pixel.
        alike = picture(folder, rows[quantized]) if quantized else whole
        assert (picture(folder, record) == alike).all()


def test_what_waits_elsewhere_is_not_on_the_gpu(rows: Rows, components: Components) -> None:
    """What is known from shapes alone is what the GPU was seen to hold."""
    weights = sum(weight_bytes(components, "fp32", ()).values())
    whole = rows["none"]["memory"]
    assert whole["peak_allocated_bytes"] > whole["reserved_after_run_bytes"] >= weights
    for offload in OFFLOADS:
        memory = rows[offload]["memory"]
        # A call leaves what little it began with, and not a layer.
        assert memory["reserved_after_run_bytes"] < weights / 50
        # Whatever is computed, all but the weights that it takes are away.
        saved = whole["peak_allocated_bytes"] - memory["peak_allocated_bytes"]
        assert saved >= 0.99 * (weights - device_bytes(components, "fp32", (offload,)))
    (each, layers) = (rows[offload]["memory"]["peak_allocated_bytes"] for offload in OFFLOADS)
    assert layers < each
    assert each >= device_bytes(components, "fp32", ("model-offload",))
