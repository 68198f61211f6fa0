"""What is said of a model, and that any change of it is noticed."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbench.models.manifest import describe, digest_files


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    """Return a file of tensors, given by name as (dtype, shape, bytes)."""
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        described[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(described).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "scheduler/scheduler_config.json": b"{}",
    "text_encoder/config.json": b"{}",
    "text_encoder/model.safetensors": safetensors(
        {"weight": ("F32", [2, 3], 24), "position_ids": ("I64", [1, 77], 616)}
    ),
    "tokenizer/merges.txt": b"a b",
    "tokenizer/tokenizer_config.json": b"{}",
    "tokenizer/vocab.json": b"{}",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": safetensors({"weight": ("F16", [5], 10)}),
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": safetensors({"weight": ("F32", [], 4)}),
}
OTHERS = (
    "README.md",
    "safety_checker/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/old/vocab.json",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
)


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model", FILES | dict.fromkeys(OTHERS, b"other"))


def test_a_manifest_says_what_a_pipeline_is_loaded_from(model: Path) -> None:
    manifest = describe(model, {"local": "model"}, "mine")
    assert list(manifest["files"]) == sorted(FILES)
    assert manifest["parameters"] == {"text_encoder": 6, "unet": 5, "vae": 1}
    assert (manifest["name"], manifest["weights"]) == ("mine", "trained")
    assert manifest["source"] == {"local": "model"}
    assert manifest["digest"] == digest_files(manifest["files"])


def test_a_manifest_says_the_shapes_of_each_component(model: Path) -> None:
    """However many files one has."""
    stem = "unet/diffusion_pytorch_model"
    one, two = (f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2))
    index = {"metadata": {}, "weight_map": {file: Path(file).name for file in (one, two)}}
    painter = {
        f"{stem}.safetensors.index.json": json.dumps(index).encode(),
        one: safetensors({"a.weight": ("F16", [4, 8], 64), "a.bias": ("F16", [4], 8)}),
        two: safetensors({"b.weight": ("F16", [4, 8], 64), "c.weight": ("F16", [2, 3, 3, 3], 108)}),
    }
    (model / "unet/diffusion_pytorch_model.safetensors").unlink()
    manifest = describe(write(model, painter), {"local": "model"}, "mine")
    components = manifest["components"]
    assert manifest["parameters"]["unet"] == 122
    assert components["unet"] == {
        "parameters": 122,
        "kept_in_fp32": 0,
        "largest": 54,
        "pinned": 32 + 4 + 32 + 64,
        "matrices": [[4, 8, 2]],
        "denoiser": True,
    }
    assert [components[name]["denoiser"] for name in ("text_encoder", "vae")] == [False, False]
    assert components["text_encoder"]["parameters"] == 6, "whole numbers are no weights"
    assert components["vae"]["largest"] == 1


@pytest.mark.parametrize(
    ("source", "weights"),
    [({"seeded": "tiny", "seed": 0}, "seeded"), ({"hub": "a/b", "revision": "0" * 40}, "trained")],
)
def test_weights_seeded_or_trained(model: Path, source: dict[str, object], weights: str) -> None:
    assert describe(model, source, "mine")["weights"] == weights


def test_the_digest_changes_with_every_file_that_counts_and_no_other(model: Path) -> None:
    def digest() -> str:
        return str(describe(model, {"local": "model"}, "mine")["digest"])

    seen = {digest()}
    for path in OTHERS:
        (model / path).write_bytes(b"changed")
        assert digest() in seen
    for number, path in enumerate(FILES, start=2):
        end = -1 if path.endswith(".safetensors") else None  # whose size must stay
        (model / path).write_bytes(FILES[path][:end] + b" ")
        seen.add(digest())
        assert len(seen) == number, path


@given(st.dictionaries(st.text(min_size=1), st.sampled_from(["aa", "bb"])))
def test_a_digest_does_not_depend_on_order(files: dict[str, str]) -> None:
    assert digest_files(files) == digest_files(dict(reversed(files.items())))
