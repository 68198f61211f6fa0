"""Seeded models: built, described, loaded and generated with."""

import dataclasses
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from transformers import CLIPTokenizer

from build_model import build_model
from describe_model import describe_model
from sdbench.models.architectures import Network, load_architecture
from sdbench.models.seeded import (
    build_scheduler,
    build_seeded,
    build_tokenizer,
    outline,
)
from sdbench.models.tokenizer import byte_vocabulary, clip_vocabulary
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json

RESOURCES = Path(__file__).parents[2] / "resources"
VOCABULARY = RESOURCES / "tokenizers" / "bpe_simple_vocab_16e6.txt.gz"
TINY = RESOURCES / "architectures" / "tiny.yaml"
SD_V1 = RESOURCES / "architectures" / "sd-v1.yaml"


def describe(folder: Path) -> Any:
    manifest = folder.with_suffix(".json")
    describe_model(folder, {"seeded": "tiny", "seed": 0}, "tiny", manifest)
    return read_json(manifest)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_model(TINY, VOCABULARY, 0, folder)
    return folder


def test_the_manifest_counts_what_the_description_says_and_the_weights_follow_the_seed(
    tiny: Path, tmp_path: Path
) -> None:
    manifest = describe(tiny)
    networks = load_architecture(TINY).networks
    assert manifest["parameters"] == {name: n.parameters for name, n in networks.items()}
    assert manifest["weights"] == "seeded"
    for seed, same in ((0, True), (1, False)):
        build_model(TINY, VOCABULARY, seed, tmp_path / str(seed))
        assert (describe(tmp_path / str(seed))["digest"] == manifest["digest"]) is same


def test_every_weight_is_generated(tiny: Path) -> None:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny, safety_checker=None)
    for name in ("text_encoder", "unet", "vae"):
        for key, weight in getattr(pipeline, name).named_parameters():
            assert weight.dtype == torch.float32
            assert weight.isfinite().all(), f"{name}.{key}"
            assert weight.abs().max() <= 1
            if weight.ndim > 1:
                assert weight.unique().numel() > 0.9 * weight.numel(), f"{name}.{key}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"networks\.vae\.parameters: the configuration makes 81,215 parameters, not 7"),
        ({"layers": 7}, r"tiny\.yaml: vae: .*'layers'"),
    ],
)
def test_a_wrong_network_is_refused(changes: dict[str, int], message: str) -> None:
    architecture = load_architecture(TINY)
    networks = {"vae": Network(7, changes or architecture.networks["vae"].config)}
    with pytest.raises(UserError, match=message):
        outline(dataclasses.replace(architecture, networks=networks), "vae")


def test_genuine_tokenizer(tmp_path: Path) -> None:
    built = build_tokenizer(load_architecture(SD_V1), "tokenizer", clip_vocabulary(VOCABULARY))
    built.save_pretrained(tmp_path)
    for tokenizer in (built, CLIPTokenizer.from_pretrained(tmp_path)):
        read = tokenizer("A photo of an astronaut riding a horse on Mars").input_ids
        expected = [320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496]
        assert read == [49406, *expected, 49407]
        padded = tokenizer("mars", padding="max_length", truncation=True).input_ids
        assert padded == [49406, 7496, *[49407] * 75]
    # One that does not fit is refused.
    with pytest.raises(UserError, match=r"vocab_size: found 49408; the tokenizer `clip` has 514"):
        build_seeded(load_architecture(SD_V1), byte_vocabulary(), 0, tmp_path)


def test_published_scheduler() -> None:
    scheduler = build_scheduler(load_architecture(SD_V1))
    assert isinstance(scheduler, diffusers.PNDMScheduler)
    assert scheduler.config.skip_prk_steps
    assert scheduler.config.steps_offset == 1
    assert not scheduler.config.set_alpha_to_one
    assert float(scheduler.betas[0]) == pytest.approx(0.00085)
    assert float(scheduler.betas[-1]) == pytest.approx(0.012)
    for wrong in ({}, {"class": "NoScheduler"}, {"class": "PNDMScheduler", "beta": 1}):
        architecture = dataclasses.replace(load_architecture(TINY), scheduler=wrong)
        with pytest.raises(UserError, match=r"tiny\.yaml: scheduler: "):
            build_scheduler(architecture)


def test_nothing_is_left_of_a_build_that_fails(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TINY.read_text().replace("203204", "203205"))
    with pytest.raises(UserError, match=r"wrong\.yaml: networks\.unet\.parameters"):
        build_model(wrong, VOCABULARY, 0, tmp_path / "models" / "wrong")
    assert not any((tmp_path / "models").iterdir())
