"""Models as they lie on people's disks: what is read of them, and what is refused in one line."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.models.families import families
from sdbench.models.planning import check_sources
from sdbench.models.reading import choose_weights, read_folder, read_header
from sdbench.runtime.errors import UserError
from tests.conftest import ROOT
from tests.fuzz.refusal import assert_one_line
from tests.security.hostile import change, copy_shapes
from tests.unit.test_models_manifest import safetensors, write

Edit = Callable[[Path], object]
INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
UNET = "unet/diffusion_pytorch_model"
TEXT = "text_encoder/model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return copy_shapes(tmp_path / "model")


def changed(file: str, **values: Any) -> Edit:
    return lambda folder: change(folder / file, **values)


def written(file: str, content: bytes) -> Edit:
    return lambda folder: write(folder, {file: content})


def renamed(file: str, name: str) -> Edit:
    return lambda folder: (folder / file).rename((folder / file).with_name(name))


def both(*edits: Edit) -> Edit:
    return lambda folder: [edit(folder) for edit in edits]


def linked(folder: Path) -> None:
    """As in a hub's cache whose blobs were deleted."""
    (folder / f"{UNET}.safetensors").unlink()
    (folder / f"{UNET}.safetensors").symlink_to("../../blobs/0123")


def of_header(file: str, edit: Callable[[str], str]) -> Edit:
    """Change the text of a header, whose length must stay."""

    def change_header(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = edit(content[8 : 8 + length].decode())
        (folder / file).write_bytes(content[:8] + header.encode() + content[8 + length :])

    return change_header


def sharded(stem: str, infix: str = "", index: str = ".safetensors.index.json") -> Edit:
    """Put the file of a network's weights into the place of one shard."""

    def shard(folder: Path) -> None:
        whole, name = folder / f"{stem}.safetensors", f"{stem}{infix}-00001-of-00001.safetensors"
        weights = dict.fromkeys(read_header(whole), Path(name).name)
        whole.rename(folder / name)
        (folder / f"{stem}{index}").write_text(json.dumps({"metadata": {}, "weight_map": weights}))

    return shard


def _as_lora(name: str) -> str:
    return '"' + "x.lora_A.weight".ljust(len(name) - 2, "x") + '"'


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


READ: dict[str, tuple[Edit, str, list[str]]] = {
    "a variant": (renamed(f"{UNET}.safetensors", f"{Path(UNET).name}.fp16.safetensors"), "fp16", [
        f"{UNET}.fp16.safetensors",
    ]),
    "a variant beside the plain one": (written(f"{UNET}.fp16.safetensors", b"x"), "", [
        f"{UNET}.safetensors",
    ]),
    "shards": (sharded(UNET), "", [
        f"{UNET}-00001-of-00001.safetensors", f"{UNET}.safetensors.index.json",
    ]),
    "shards that no index names": (
        both(sharded(UNET), written(f"{UNET}-00001-of-00009.safetensors", b"x")),
        "",
        [f"{UNET}-00001-of-00001.safetensors"],
    ),
    "shards of a variant": (sharded(UNET, ".bf16", ".safetensors.index.bf16.json"), "bf16", [
        f"{UNET}.bf16-00001-of-00001.safetensors", f"{UNET}.safetensors.index.bf16.json",
    ]),
    "a file beside shards, of diffusers": (
        both(sharded(UNET), written(f"{UNET}.safetensors", safetensors({}))), "", [
            f"{UNET}-00001-of-00001.safetensors", f"{UNET}.safetensors.index.json",
        ]),
    "shards left beside a file, of transformers": (
        written(f"{TEXT}.safetensors.index.json", b'{"weight_map": {"a": "gone"}}'), "", [
            f"{TEXT}.safetensors",
        ]),
    "what macOS and Windows leave": (
        lambda folder: write(folder, {
            f"{part}/{name}": b"\0"
            for part in ("tokenizer", "unet", "scheduler", "text_encoder", "vae")
            for name in ("._tokenizer.json", "._config.json", ".DS_Store", "desktop.ini",
                         "Thumbs.db", "._diffusion_pytorch_model.safetensors", "LICENSE")
        }), "", [f"{UNET}.safetensors", "tokenizer/tokenizer.json"],
    ),
    "networks of adapters and checkers": (
        both(
            changed(
                INDEX,
                image_encoder=["transformers", "CLIPVisionModelWithProjection"],
                safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
            ),
            written("image_encoder/model.safetensors", b"x"),
            written("pytorch_lora_weights.safetensors", b"x"),
        ), "", [f"{UNET}.safetensors"],
    ),
    "a tokenizer in the older format": (
        both(
            renamed("tokenizer/tokenizer.json", "vocab.json"),
            written("tokenizer/merges.txt", b"a b\r\n"),
        ), "", ["tokenizer/merges.txt", "tokenizer/vocab.json"],
    ),
    "a folder with a space and a dot": (
        lambda folder: folder.rename(folder.with_name("my model v1.5")), "", [],
    ),
}  # fmt: skip
"""What a folder is like, the variant that its UNet has, and files that are read."""


@pytest.mark.parametrize("name", READ)
def test_a_model_is_read_as_it_will_be_loaded(name: str, model: Path) -> None:
    edit, variant, files = READ[name]
    before = read_folder(model)
    edit(model)
    (model,) = model.parent.iterdir()
    found = check_sources({"mine": {"source": {"local": str(model)}}}, ROOT, ROOT)["mine"]
    assert found.variants == ({"unet": variant} if variant else {})
    assert set(files) <= set(found.files)
    of_unet = [file for file in found.files if file.startswith("unet/")]
    assert len(of_unet) == 2 + sum("index" in file for file in of_unet), "and nothing else"
    assert found.components == before.components
    assert not any(Path(file).name.startswith(".") for file in found.files)


def test_what_weights_are_stored_in_is_found(model: Path) -> None:
    assert read_folder(model).stored["text_encoder"] == ["fp32"]
    halved = {"a": ("F16", [2, 3], 12), "b": ("F32", [1], 4), "position_ids": ("I64", [1], 8)}
    write(model, {f"{TEXT}.safetensors": safetensors(halved)})
    found = read_folder(model)
    assert found.stored["text_encoder"] == ["fp16", "fp32"]
    assert found.components["text_encoder"]["parameters"] == 7


def test_of_a_scheduler_what_belongs_to_the_model_is_kept(model: Path) -> None:
    before = read_folder(model).schedule
    changed(SCHEDULER, **SDE)(model)
    assert read_folder(model).schedule == before
    assert before["prediction_type"] == "v_prediction"


SDE = {
    "_class_name": "DPMSolverMultistepScheduler",
    "algorithm_type": "sde-dpmsolver++",
    "use_karras_sigmas": True,
    "solver_order": 3,
    "lambda_min_clipped": -float("inf"),
}
TINY_VAE = ["diffusers", "AutoencoderTiny"]
LORA = '"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"'

REFUSED: dict[str, tuple[Edit, str]] = {
    "an inpainting UNet": (
        changed("unet/config.json", in_channels=9),
        "unet/config.json: in_channels: found 9; allowed is 4, by its vae: StableDiffusionPipeline",
    ),
    "a UNet that learned its variance": (changed("unet/config.json", out_channels=8), "found 8"),
    "a UNet that reads an image": (
        changed("unet/config.json", encoder_hid_dim_type="image_proj"),
        'encoder_hid_dim_type: found "image_proj"; allowed is null: StableDiffusionPipeline',
    ),
    "a UNet of classes": (changed("unet/config.json", class_embed_type="timestep"), "class_embed"),
    "another model's text encoder": (
        changed("text_encoder/config.json", hidden_size=1024),
        "cross_attention_dim: found 64; allowed is 1024, by its text_encoder",
    ),
    "a tiny autoencoder": (
        changed(INDEX, vae=TINY_VAE),
        "vae: found ['diffusers', 'AutoencoderTiny'], another network; allowed is `AutoencoderKL`",
    ),
    "a tiny autoencoder in the folder of another": (
        changed("vae/config.json", _class_name=TINY_VAE[1]),
        '_class_name: found "AutoencoderTiny"; allowed is "AutoencoderKL", as in model_index.json',
    ),
    "no text encoder": (
        changed(INDEX, text_encoder=[None, None]),
        "text_encoder: found [None, None], no network; allowed is `CLIPTextModel`",
    ),
    "quantized by another library": (
        changed("unet/config.json", quantization_config={"quant_method": "bitsandbytes"}),
        "quantization_config: found",
    ),
    "weights in 8 bits": (
        of_header(f"{UNET}.safetensors", lambda text: text.replace('"F32"', '"U8" ', 1)),
        "in U8, quantized by another program",
    ),
    "an adapter in the weights": (
        of_header(f"{UNET}.safetensors", lambda text: text.replace(LORA, _as_lora(LORA))),
        "part of an adapter",
    ),
    "an adapter beside the weights": (
        written("text_encoder/adapter_config.json", b"{}"), "adapter_config.json: found an adapter",
    ),
    "weights under another name": (
        changed("text_encoder/config.json", transformers_weights="x.safetensors"),
        "transformers_weights",
    ),
    "a tokenizer of another length": (
        changed("tokenizer/tokenizer_config.json", model_max_length=77),
        "model_max_length: found 77; allowed is 16, max_position_embeddings of the text_encoder",
    ),
    "a tokenizer without its length": (
        written("tokenizer/tokenizer_config.json", b"{}"), "model_max_length: found null",
    ),
    "half a vocabulary": (
        renamed("tokenizer/tokenizer.json", "vocab.json"), "tokenizer: found no vocabulary",
    ),
    "a scheduler of flows": (
        written(SCHEDULER, b'{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}'),
        "found FlowMatchEulerDiscreteScheduler, with a noise schedule of another kind",
    ),
    "a scheduler of flows that DPM-Solver saved": (
        changed(SCHEDULER, **SDE, prediction_type="flow_prediction"), "noise schedule of another",
    ),
    "a scheduler of EDM": (changed(SCHEDULER, sigma_data=0.5), "noise schedule of another kind"),
    "two variants": (
        both(
            renamed(f"{UNET}.safetensors", f"{Path(UNET).name}.fp16.safetensors"),
            written(f"{UNET}.non_ema.safetensors", b"x"),
        ),
        f"found {UNET}.fp16.safetensors and {UNET}.non_ema.safetensors; allowed is",
    ),
    "a shard that is missing": (
        both(sharded(UNET), renamed(f"{UNET}-00001-of-00001.safetensors", "x")),
        "weight_map: found 'diffusion_pytorch_model-00001-of-00001.safetensors'; allowed are",
    ),
    "an index without metadata": (
        both(
            sharded(UNET),
            written(f"{UNET}.safetensors.index.json", b'{"weight_map": {}}'),
        ),
        "no map from weights to files, or no `metadata` next to it",
    ),
    "weights of llama.cpp": (
        renamed(f"{UNET}.safetensors", "flux-q4.gguf"),
        f"weights of the unet: found only unet/flux-q4.gguf; allowed is {UNET}.safetensors",
    ),
    "graphs of Optimum": (changed(INDEX, unet=["diffusers", "OnnxRuntimeModel"]), "OnnxRuntime"),
    "a link to nothing": (linked, f"{UNET}.safetensors: a link to ../../blobs/0123, where no file"),
    "a pointer": (
        written(f"{UNET}.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "a pointer of Git LFS and not the file itself: run `git lfs pull`",
    ),
    "a mark of Windows before JSON": (
        written("unet/config.json", b"\xef\xbb\xbf{}"), "unet/config.json: not JSON",
    ),
    "a checkpoint in a single file": (
        lambda folder: (folder / INDEX).rename(folder / "v1-5.safetensors"),
        "v1-5.safetensors is a checkpoint in a single file: convert it by `from_single_file`",
    ),
    "the folder above": (
        lambda folder: (folder / INDEX).rename(_made(folder / "snapshots/0123") / INDEX),
        "snapshots/0123: use that folder",
    ),
}  # fmt: skip
"""What is wrong with a folder, and what the line says."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_measured_is_refused_in_one_line(name: str, model: Path) -> None:
    edit, said = REFUSED[name]
    edit(model)
    with pytest.raises(UserError) as refused:
        check_sources({"mine": {"source": {"local": str(model)}}}, ROOT, ROOT)
    assert_one_line(str(refused.value), "models.mine.source: ", str(model), said)


def test_a_file_in_the_place_of_a_folder(model: Path) -> None:
    with pytest.raises(UserError, match="found a file; allowed is a folder: convert it by"):
        read_folder(model / f"{UNET}.safetensors")


@pytest.mark.parametrize(
    "path", [SCHEDULER, "tokenizer/tokenizer_config.json", "unet/config.json", "vae/config.json"]
)
def test_a_missing_file_is_named(model: Path, path: str) -> None:
    (model / path).unlink()
    with pytest.raises(UserError, match=f"the file {path} is missing"):
        read_folder(model)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, r"no model_index\.json"),
        *((index, "not a JSON object") for index in (b"[]", b"{", b"\xff")),
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
        read_folder(model)
    with pytest.raises(UserError, match="no such folder"):
        read_folder(model / "none")


def test_weights_that_are_pickles_or_missing_are_refused() -> None:
    family = families()["StableDiffusionPipeline"]
    with pytest.raises(UserError, match=r"acme/sd: .* only unet/x\.bin, a pickle"):
        choose_weights(["unet/x.bin", "vae/config.json"], family, "unet", "acme/sd")
    with pytest.raises(UserError, match="weights of the unet: found none"):
        choose_weights(["unet/config.json"], family, "unet", "acme/sd")


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
    [
        ({"local": "none"}, "no such folder"),
        ({"local": "x" * 300}, "too long"),
        ({"seeded": "none"}, "no such architecture"),
    ],
)
def test_sources_that_cannot_be_had(tmp_path: Path, source: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=rf"models\.mine\.source: .*{reason}"):
        check_sources({"mine": {"source": source}}, tmp_path, tmp_path)
