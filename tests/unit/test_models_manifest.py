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
)
from sdbench.models.planning import check_sources
from sdbench.runtime.errors import UserError


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    """Return a file of tensors, given by name as (dtype, shape, bytes)."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    described: dict[str, object] = dict(header)
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
    components = describe(write(model, painter), {"local": "model"}, "mine")["components"]
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
def test_weights_are_seeded_or_trained(
    model: Path, source: dict[str, object], weights: str
) -> None:
    assert describe(model, source, "mine")["weights"] == weights


@pytest.mark.parametrize("path", sorted(FILES))
def test_the_digest_changes_with_every_file_that_counts(model: Path, path: str) -> None:
    before = describe(model, {"local": "model"}, "mine")["digest"]
    changed = bytearray(FILES[path])
    if path.endswith(".safetensors"):
        changed[-1] ^= 1
    else:
        changed += b" "
    (model / path).write_bytes(changed)
    assert describe(model, {"local": "model"}, "mine")["digest"] != before


def test_the_digest_does_not_change_with_the_rest(model: Path) -> None:
    before = describe(model, {"local": "model"}, "mine")["digest"]
    for path in OTHERS:
        (model / path).write_bytes(b"changed")
    assert describe(model, {"local": "model"}, "mine")["digest"] == before


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


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        model_files(tmp_path / "none")


def test_a_folder_without_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model_index\.json"):
        model_files(tmp_path)


@pytest.mark.parametrize("index", [b"[]", b"{", b"\xff"])
def test_a_broken_index(model: Path, index: bytes) -> None:
    (model / "model_index.json").write_bytes(index)
    with pytest.raises(UserError, match="not a JSON object"):
        model_files(model)


def test_another_pipeline(model: Path) -> None:
    (model / "model_index.json").write_text('{"_class_name": "StableVideoDiffusionPipeline"}')
    with pytest.raises(UserError, match="found `StableVideoDiffusionPipeline`; allowed are"):
        model_files(model)


def test_only_pickles() -> None:
    paths = [path for path in (*FILES, *OTHERS) if path != "text_encoder/model.safetensors"]
    with pytest.raises(UserError, match=r"acme/sd: .* only text_encoder/pytorch_model\.bin"):
        choose_files(paths, families()["StableDiffusionPipeline"], "acme/sd")


def test_no_weights() -> None:
    with pytest.raises(UserError, match="weights of the unet: found none"):
        choose_weights(["unet/config.json"], "unet/diffusion_pytorch_model", "acme/sd")


def test_shards() -> None:
    stem = "unet/diffusion_pytorch_model"
    shards = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = f"{stem}.safetensors.index.json"
    paths = [*shards, index, f"{stem}.fp16-00001-of-00002.safetensors"]
    assert choose_weights(paths, stem, "acme/sd") == [index, *shards]


def test_parameters_of_shards_are_added(model: Path) -> None:
    stem = model / "unet" / "diffusion_pytorch_model.safetensors"
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name in names:
        stem.with_name(name).write_bytes(stem.read_bytes())
    stem.unlink()
    index = {"weight_map": {f"weight{i}": name for i, name in enumerate(names)}}
    stem.with_name(f"{stem.name}.index.json").write_text(json.dumps(index))
    assert describe(model, {"local": "model"}, "mine")["parameters"]["unet"] == 10


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 8, struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 2) + b"[]"],
)
def test_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_header(path)


@pytest.mark.parametrize("change", [-1, 1])
def test_weights_that_are_not_whole(tmp_path: Path, change: int) -> None:
    path = tmp_path / "model.safetensors"
    whole = safetensors({"weight": ("F32", [4], 16)})
    path.write_bytes(whole[:change] if change < 0 else whole + bytes(change))
    with pytest.raises(
        UserError, match=f"found {len(whole) + change} bytes; allowed are {len(whole)}"
    ):
        read_header(path)


def test_sources_that_can_be_had(model: Path) -> None:
    architectures = Path(__file__).parents[2] / "resources" / "architectures"
    models = {
        "folder": {"source": {"local": "model"}},
        "absolute": {"source": {"local": str(model)}},
        "built": {"source": {"seeded": "tiny", "seed": 0}},
        "fetched": {"source": {"hub": "acme/sd", "revision": "0" * 40}},
    }
    check_sources(models, model.parent, architectures)


@pytest.mark.parametrize(
    ("source", "reason"),
    [({"local": "none"}, "no such folder"), ({"seeded": "none"}, "no such architecture")],
)
def test_sources_that_cannot_be_had(tmp_path: Path, source: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=rf"models\.mine\.source: .*{reason}"):
        check_sources({"mine": {"source": source}}, tmp_path, tmp_path)
