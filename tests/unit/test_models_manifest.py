"""What a model's folder holds, and what is refused as a model."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbench.models.families import families
from sdbench.models.manifest import (
    choose_files,
    choose_weights,
    describe,
    digest_files,
    model_files,
    read_header,
)  # fmt: skip
from sdbench.models.planning import check_sources
from sdbench.runtime.errors import UserError
from tests.conftest import ROOT


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
    """Whatever the components are called, and however many files one has."""
    painter = {
        "unet/config.json": b'{"_class_name": "SomeTransformer2DModel"}',
        "unet/diffusion_pytorch_model.safetensors.index.json": b'{"weight_map": {}}',
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": safetensors(
            {"a.weight": ("F16", [4, 8], 64), "a.bias": ("F16", [4], 8)}
        ),
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors": safetensors(
            {"b.weight": ("F16", [4, 8], 64), "c.weight": ("F16", [2, 3, 3, 3], 108)}
        ),
        "vae/config.json": b'{"_class_name": "AutoencoderKL"}',
    }
    (model / "unet/diffusion_pytorch_model.safetensors").unlink()
    manifest = describe(write(model, painter), {"local": "model"}, "mine")
    components = manifest["components"]
    assert manifest["parameters"]["unet"] == 122
    assert components["unet"] == {
        "parameters": 122,
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


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.endswith(".json") and path != "model_index.json"]
)
def test_a_missing_file_is_named(model: Path, path: str) -> None:
    (model / path).unlink()
    with pytest.raises(UserError, match=f"the file {path} is missing"):
        model_files(model)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, r"no model_index\.json"),
        (b"[]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (
            b'{"_class_name": "StableVideoDiffusionPipeline"}',
            "found `StableVideoDiffusionPipeline`; allowed are",
        ),
    ],
)
def test_an_unknown_pipeline_is_refused(model: Path, index: bytes | None, said: str) -> None:
    (model / "model_index.json").unlink()
    if index is not None:
        (model / "model_index.json").write_bytes(index)
    with pytest.raises(UserError, match=said):
        model_files(model)
    with pytest.raises(UserError, match="no such folder"):
        model_files(model / "none")


def test_weights_that_are_pickles_or_missing_are_refused() -> None:
    paths = [path for path in (*FILES, *OTHERS) if path != "text_encoder/model.safetensors"]
    with pytest.raises(UserError, match=r"acme/sd: .* only text_encoder/pytorch_model\.bin"):
        choose_files(paths, families()["StableDiffusionPipeline"], "acme/sd")
    with pytest.raises(UserError, match="weights of the unet: found none"):
        choose_weights(["unet/config.json"], "unet/diffusion_pytorch_model", "acme/sd")


def test_shards() -> None:
    stem = "unet/diffusion_pytorch_model"
    shards = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = f"{stem}.safetensors.index.json"
    paths = [*shards, index, f"{stem}.fp16-00001-of-00002.safetensors"]
    assert choose_weights(paths, stem, "acme/sd") == [index, *shards]


WHOLE = safetensors({"weight": ("F32", [4], 16)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((text, "not a safetensors file") for text in (b"", b"short", b"\xff" * 8)),
        *((struct.pack("<Q", 2) + text, "not a safetensors file") for text in (b"{}", b"[]")),
        (WHOLE[:-1], f"found {len(WHOLE) - 1} bytes; allowed are {len(WHOLE)}"),
        (WHOLE + b"0", f"found {len(WHOLE) + 1} bytes; allowed are {len(WHOLE)}"),
    ],
)
def test_weights_that_are_not_whole_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_header(tmp_path / "model.safetensors")


def test_sources_that_can_be_had(model: Path) -> None:
    models = {
        "folder": {"source": {"local": "model"}},
        "absolute": {"source": {"local": str(model)}},
        "built": {"source": {"seeded": "tiny", "seed": 0}},
        "fetched": {"source": {"hub": "acme/sd", "revision": "0" * 40}},
    }
    check_sources(models, model.parent, ROOT / "resources/architectures")


@pytest.mark.parametrize(
    ("source", "reason"),
    [({"local": "none"}, "no such folder"), ({"seeded": "none"}, "no such architecture")],
)
def test_sources_that_cannot_be_had(tmp_path: Path, source: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=rf"models\.mine\.source: .*{reason}"):
        check_sources({"mine": {"source": source}}, tmp_path, tmp_path)
