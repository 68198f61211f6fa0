"""What tests share that is slow to make: the tiny model and its exported networks.

Whoever changes one of them works on a copy.
"""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from quantize_onnx import quantize_onnx
from sdbench.devices import machine, platforms
from sdbench.export.networks import export_network
from sdbench.export.parity import export_each
from sdbench.measure import launch as measurement
from sdbench.measure import sweep
from sdbench.measure.context import SweepContext
from sdbench.models.architectures import Network, load_architecture
from sdbench.models.seeded import build_seeded, count_parameters
from sdbench.models.tokenizer import byte_vocabulary
from tests.conftest import ROOT, made_once
from tests.forked import serve
from tests.sweeps import MEASURING, make_job

ARCHITECTURES = ROOT / "resources" / "architectures"


def build_least(folder: Path, **of_unet: Any) -> Path:
    """Build the tiny model with as few layers as there can be: every kernel costs a compiler's
    second. `of_unet` is what else its UNet's configuration has."""
    tiny = load_architecture(ARCHITECTURES / "tiny.yaml")
    unet = {
        **tiny.networks["unet"].config,
        "block_out_channels": [16],
        "down_block_types": ["CrossAttnDownBlock2D"],
        "mid_block_type": None,
        "up_block_types": ["UpBlock2D"],
        **of_unet,
    }
    vae = {
        **tiny.networks["vae"].config,
        "block_out_channels": [8],
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
    }
    networks = {
        **tiny.networks,
        "unet": Network(count_parameters(UNet2DConditionModel(**unet)), unet),
        "vae": Network(count_parameters(AutoencoderKL(**vae)), vae),
    }
    build_seeded(replace(tiny, networks=networks), byte_vocabulary(), 0, folder)
    return folder


@pytest.fixture(scope="session")
def least(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `build_least` builds."""
    return build_least(tmp_path_factory.mktemp("models") / "least")


FRESH: list[Connection] = []
"""Where the process is asked that began before any test."""


def pytest_collection_finish() -> None:
    """Begin it, a fork: all that tests import is imported."""
    ours, theirs = multiprocessing.Pipe()
    if os.fork() == 0:
        ours.close()
        serve(theirs)
        os._exit(0)
    FRESH.append(ours)


def run_freshly(work: Callable[..., object], *args: Any) -> None:
    """Call `work(*args)` in a process in which no test has run.

    The exporter refuses switches that a test may have set in PyTorch, and threads that OpenVINO has
    started do not survive a fork.
    """
    FRESH[0].send((work, args))
    assert FRESH[0].recv() == 0


def export_to(graphs: Path, model: Path) -> None:
    """Export a model to a folder; the record lies next to it."""
    export_each(Path(f"{graphs}.json"), graphs, export_network, model, 23, 1e-4)


@pytest.fixture(scope="session")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's networks as ONNX graphs; their record lies next to the folder."""

    def export(folder: Path) -> None:
        run_freshly(export_to, folder / "tiny", model)

    return made_once(tmp_path_factory, "onnx", export) / "tiny"


@pytest.fixture(scope="session")
def quantized(model: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights in 8 bits, for ONNX Runtime. A model's name may have a dot."""

    def quantize(folder: Path) -> None:
        graphs = folder / "tiny-1.5"
        graphs.symlink_to(exported)
        shutil.copy(f"{exported}.json", f"{graphs}.json")
        run_freshly(quantize_onnx, model, graphs, folder / "tiny", folder / "tiny.json", 23)

    return made_once(tmp_path_factory, "onnx-int8", quantize) / "tiny"


@pytest.fixture
def job(model: Path, tmp_path: Path) -> SweepContext:
    """A job that measures the tiny model as shortly as can be."""
    return make_job(tmp_path, model, MEASURING)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing disturbs a launch, whatever else this machine does; and nobody looks how steady it is
    by more than a little work, nor for half a second whether it is busy."""
    monkeypatch.setattr(measurement, "disturbances", lambda *_: [])
    monkeypatch.setattr(sweep, "SIDE", 8)
    monkeypatch.setattr(machine.busy_cores, "__defaults__", (0.0, machine.STAT))


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many of PyTorch's threads as before, after what sets their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor computes in every precision: emulated, if need be."""
    monkeypatch.setattr(platforms, "computes_natively", lambda _: True)


@pytest.fixture
def eager_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are compiled by a backend that translates nothing, which takes seconds."""
    compiled = torch.compile

    def in_seconds(network: Any, mode: str, **settings: Any) -> Any:
        return compiled(network, backend="eager", **settings)

    monkeypatch.setattr(torch, "compile", in_seconds)


@pytest.fixture
def rtx_3090(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, as far as its name."""
    found = {"is_available": True, "device_count": 1, "get_device_name": "NVIDIA GeForce RTX 3090"}
    for name, value in found.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)


def run_here(work: Callable[..., None], *args: Any) -> list[Any]:
    """Replaces `run_in_subprocess`: threads that OpenVINO has started do not survive a fork."""
    sent: list[Any] = []
    work(sent.append, *args)
    return sent


def build_twin(name: str, folder: Path, **changes: Any) -> Path:
    """Build a model of resources/architectures, with changes to it, in a folder of its name."""
    architecture = replace(load_architecture(ARCHITECTURES / f"{name}.yaml"), **changes)
    build_seeded(architecture, byte_vocabulary(), 0, folder / name)
    return folder / name
