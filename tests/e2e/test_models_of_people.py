"""Models as they lie on people's disks, loaded: their image, whatever the backend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sdbench import backends
from sdbench.backends.engine import Engine, Images, describe_engine
from sdbench.models.manifest import describe
from sdbench.models.operations import count_flop
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json
from tests.e2e.conftest import build_least, build_twin, export_to, run_freshly
from tests.security.hostile import SHAPES, change, copy_shapes
from tests.sweeps import GENERATION, make_case

UNET, TEXT = "unet/diffusion_pytorch_model", "text_encoder/model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return copy_shapes(tmp_path / "model")


def load(
    folder: Path, backend: str = "pytorch", graphs: Path | None = None, scheduler: str = "ddim"
) -> Engine:
    case = make_case(backend=backend, generation=GENERATION | {"scheduler": scheduler})
    return backends.load(case, folder, graphs)


def images(engine: Engine, count: int = 1, **own: Any) -> Images:
    return engine.generate(GENERATION | own, engine.latents(GENERATION, count))


def rewrite(folder: Path, stem: str, change: Callable[[Any], Any], name: str = "") -> None:
    """Write a network's weights again, changed, under their own name or another."""
    weights = change(load_file(folder / f"{stem}.safetensors"))
    save_file(weights, folder / f"{name or stem}.safetensors", {"format": "pt"})


def test_what_was_distilled_and_saved_in_two_formats_is_the_same_image_once_exported(
    tmp_path: Path,
) -> None:
    """The UNet reads the guidance as a number, as of latent consistency models."""
    model = build_least(tmp_path / "lcm", time_cond_proj_dim=32)
    rewrite(model, TEXT, lambda weights: {k: v.half() for k, v in weights.items()})
    change(model / "text_encoder/config.json", dtype="float16")
    run_freshly(export_to, tmp_path / "onnx", model)
    record = read_json(tmp_path / "onnx.json")
    assert all(network["max_rel_error"] < 1e-5 for network in record.values())
    engines = load(model), load(model, "onnxruntime", tmp_path / "onnx")
    expected, found = (images(engine, 2) for engine in engines)
    assert np.abs(found - expected).max() < 1e-4
    less = [images(engine, 2, guidance=2.0) for engine in engines]
    assert np.abs(less[0] - expected).max() > 1e-3 and np.abs(less[1] - less[0]).max() < 1e-4
    (latents, *_), named = engines[0].denoiser_inputs(GENERATION, 1)
    assert len(latents) == 1 and named["timestep_cond"].shape == (1, 32), "one evaluation a step"
    one, other = (count_flop(model, GENERATION | {"guidance": g}) for g in (1.0, 4.0))
    assert one == other


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmsolver"])
def test_a_sampler_that_another_program_had_set_is_not_taken(scheduler: str, model: Path) -> None:
    """The config's own is, which is deterministic; what belongs to the model is kept, and told."""
    change(
        model / "scheduler/scheduler_config.json",
        _class_name="DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver++",
        use_karras_sigmas=True,
        solver_order=3,
    )
    engine = load(model, scheduler=scheduler)
    two = images(engine, 2)
    assert np.abs(images(engine)[0] - two[0]).max() < 1e-4
    assert np.array_equal(two, images(load(SHAPES, scheduler=scheduler), 2))
    schedule = describe_engine(engine, make_case())["switches"]["schedule"]
    kept = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    assert schedule.items() >= kept.items()
    assert "algorithm_type" not in schedule


def test_the_weights_are_those_that_the_manifest_names(model: Path) -> None:
    """Of a file beside shards, and where a variant is all there is."""
    expected = images(load(model))
    for stem, shard in ((UNET, f"{UNET}-00001-of-00001"), (TEXT, f"{TEXT}-00001-of-00001")):
        weights = load_file(model / f"{stem}.safetensors")
        places = dict.fromkeys(weights, f"{Path(shard).name}.safetensors")
        index = json.dumps({"metadata": {}, "weight_map": places})
        (model / f"{stem}.safetensors.index.json").write_text(index)
        rewrite(model, stem, lambda weights: {k: v / 2 for k, v in weights.items()}, shard)
    unet = load_file(model / f"{UNET}.safetensors")
    assert {f"{UNET}-00001-of-00001.safetensors", f"{TEXT}.safetensors"} < set(
        describe(model, {"local": "x"}, "mine")["files"]
    )
    found = load(model).pipeline
    halved = found.unet.state_dict()
    assert all(torch.equal(halved[key], value / 2) for key, value in unet.items())
    text = found.text_encoder.state_dict()
    whole = load_file(model / f"{TEXT}.safetensors")
    assert all(torch.equal(text[key], whole[key]) for key in whole)
    (model / f"{UNET}.safetensors.index.json").unlink()
    rewrite(model, UNET, lambda weights: {k: v.half() for k, v in weights.items()}, f"{UNET}.fp16")
    (model / f"{UNET}.safetensors").unlink()
    assert describe(model, {"local": "x"}, "mine")["found"]["variants"] == {"unet": "fp16"}
    assert 0 < np.abs(images(load(model)) - expected).max() < 0.01


@pytest.mark.parametrize("stem", [UNET, TEXT])
def test_weights_that_are_missing_are_not_made_up(stem: str, model: Path) -> None:
    """The libraries would fill them with random numbers, and go on."""
    rewrite(model, stem, lambda weights: dict(list(weights.items())[:-1]))
    with pytest.raises(UserError, match=r"the weights lack 1 tensors that the configuration asks"):
        load(model)


def test_what_the_index_and_the_vae_of_a_model_say_counts(tmp_path: Path) -> None:
    """Of Stable Diffusion XL, whose pipeline reads both."""
    model = build_twin("tiny-sdxl", tmp_path)
    zeros = images(load(model))
    flop = count_flop(model, GENERATION)["text_encoder_flop"]
    change(model / "model_index.json", force_zeros_for_empty_prompt=False)
    assert np.abs(images(load(model)) - zeros).max() > 1e-3
    assert count_flop(model, GENERATION)["text_encoder_flop"] == 2 * flop
    of_each: dict[str, Any] = {"shift_factor": 0.5}  # which this pipeline does not read
    of_each |= {"latents_mean": [0.1, -0.2, 0.3, 0.4], "latents_std": [0.9, 1.1, 2.0, 0.5]}
    change(model / "vae/config.json", scaling_factor=0.7, **of_each)
    engine, reached = load(model), list[torch.Tensor]()
    image = engine.generate(GENERATION, engine.latents(GENERATION, 1), on_step_end=reached.append)
    assert np.abs(engine.decode(GENERATION, reached[-1]) - image).max() < 1e-5
