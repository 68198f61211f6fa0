"""What tests share that is slow to make: the tiny model, its exported networks, a finished run.

Whoever changes one of them works on a copy.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from filelock import FileLock

from export_onnx import export_onnx
from sdbench import processes
from sdbench.context import Sweep
from sdbench.models.architectures import Network, load_architecture
from sdbench.models.seeded import build_seeded, count_parameters
from sdbench.models.tokenizer import byte_vocabulary
from tests.conftest import ROOT, copy_workflow, run_snakemake
from tests.sweeps import MEASURING, make_job


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in the diffusers layout."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    architecture = load_architecture(ROOT / "resources/architectures/tiny.yaml")
    build_seeded(architecture, byte_vocabulary(), 0, folder)
    return folder


@pytest.fixture(scope="session")
def least(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with as few layers as there can be: every kernel costs a compiler's second."""
    tiny = load_architecture(ROOT / "resources/architectures/tiny.yaml")
    unet = {
        **tiny.networks["unet"].config,
        "block_out_channels": [16],
        "down_block_types": ["CrossAttnDownBlock2D"],
        "mid_block_type": None,
        "up_block_types": ["UpBlock2D"],
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
    folder = tmp_path_factory.mktemp("models") / "least"
    build_seeded(replace(tiny, networks=networks), byte_vocabulary(), 0, folder)
    return folder


@pytest.fixture(scope="session")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's networks as ONNX graphs; their record lies beside the folder.

    One worker exports them, and the others wait for it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "onnx" / "tiny"
    folder.parent.mkdir(exist_ok=True)
    record = folder.with_suffix(".json")
    with FileLock(folder.with_suffix(".lock")), pytest.MonkeyPatch.context() as patch:
        # The exporter refuses the switches that a test before this one may have set in PyTorch.
        patch.setattr(processes, "START", "spawn")
        if not record.exists():
            export_onnx(model, folder, record, opset=23, tolerance=1e-4)
    return folder


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Sweep:
    """A job that measures the tiny model as shortly as can be."""
    return make_job(tmp_path, model, MEASURING)


@pytest.fixture
def threads() -> Iterator[None]:
    """For what sets the number of PyTorch's threads: as many as before, after it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


STEPS = 8
RUNS = [1, 2, 3, 5, 10, 20, 30]
"""What the finished run draws with."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the default workflow has run. Whoever changes it works on a `copy_run`.

    Each pass of its measurements is as short as the table allows an interval from; pictures take
    fewer steps than the default's 20, and up to 100 in its series. Without `compile`, which takes
    minutes: test_options.py compiles less.
    """
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    for block in config["matrix"]:
        if "compile" in block.get("options", []):
            block["options"].remove("compile")
    # Two would wait for each other whenever another test takes a core.
    config["devices"]["cpu"]["threads"] = 1
    config["measuring"] |= {
        "min_samples": 6,
        "min_duration_s": 0,
        "max_duration_s": 5,
        "throughput_duration_s": 0.1,
    }
    config["models"]["shapes"]["generation"]["steps"] = STEPS
    config["quality"][0] |= {"trajectory_steps": 30, "runs": RUNS, "panel_step": 20}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run = run_snakemake(folder, "--cores", "1", timeout=2400)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return folder


def copy_run(finished: Path, target: Path) -> Path:
    """Copy a finished run with the dates of its files, from which Snakemake knows what is stale."""
    return Path(shutil.copytree(finished, target, symlinks=True))
