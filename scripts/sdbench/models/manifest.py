"""Say what a model's folder holds: its files, their hashes, and its parameters. Needs no torch."""

import fnmatch
import hashlib
import json
import math
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sdbench.errors import UserError
from sdbench.files import sha256

PIPELINE = "StableDiffusionPipeline"
INDEX = "model_index.json"
WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
"""Stem of the file of weights that each network is loaded from; other variants end otherwise."""
NETWORKS = tuple(WEIGHTS)
SETTINGS = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
"""Folders without weights that a pipeline is loaded from as well, and a file that each has."""


def describe(folder: Path, source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the manifest of a model.

    Args:
        folder: the model in the diffusers layout.
        source: the entry `source` of the model in the config.
        name: name of the model.

    Returns:
        `name`; `source`; `weights`, which are `trained` or `seeded`; `parameters` of each network;
        `components`, what `describe_components` returns; `files`, the SHA-256 of each by its path
        in `folder`; and `digest`, which any change of these files changes.

    Raises:
        UserError: if the folder is not a Stable Diffusion with its weights in safetensors.
    """
    files = {path: sha256(folder / path) for path in model_files(folder)}
    return {
        "name": name,
        "source": dict(source),
        "weights": "seeded" if "seeded" in source else "trained",
        "parameters": {
            network: count_parameters(folder, fnmatch.filter(files, f"{network}/*"))
            for network in NETWORKS
        },
        "components": describe_components(folder, files),
        "files": files,
        "digest": digest_files(files),
    }


def digest_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over relative paths and hashes, as `sha256sum` would list them."""
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_files(folder: Path) -> list[str]:
    """Return the files that a pipeline is loaded from, as sorted paths in `folder`.

    Raises:
        UserError: if the folder is not a Stable Diffusion with its weights in safetensors.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder: correct `local`, or put a model there")
    check_index(folder / INDEX)
    files = [file for part in (*SETTINGS, *NETWORKS) for file in (folder / part).glob("*")]
    return choose_files([INDEX, *(f.relative_to(folder).as_posix() for f in files)], str(folder))


def check_index(path: Path) -> None:
    """Check that `path` is the index of a Stable Diffusion in the diffusers layout.

    Raises:
        UserError: if it is not.
    """
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("_class_name")
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: it holds no {INDEX}, which a model in the diffusers layout has: name "
            "a folder that `save_pretrained` wrote"
        ) from None
    except (ValueError, AttributeError):
        raise UserError(f"{path}: not a JSON object: get the model again") from None
    if kind != PIPELINE:
        raise UserError(
            f"{path}: _class_name: found `{kind}`; allowed is `{PIPELINE}`: name another model"
        )


def choose_files(paths: Collection[str], where: str) -> list[str]:
    """Return those of a folder's or repository's files that a pipeline is loaded from, sorted.

    What else is there (a licence, a safety checker, weights in another precision or as a pickle)
    changes no measurement.

    Args:
        paths: all files, relative.
        where: what to call the folder or repository in an error.

    Raises:
        UserError: if a file is missing, or a network's weights are not in safetensors.
    """
    wanted = [INDEX, *(f"{part}/{file}" for part, file in SETTINGS.items())]
    wanted += [f"{network}/config.json" for network in NETWORKS]
    for path in wanted:
        if path not in paths:
            raise UserError(
                f"{where}: the file {path} is missing: use a complete copy of the model in the "
                "diffusers layout"
            )
    wanted += [
        path
        for path in paths
        if PurePosixPath(path).parent.name in SETTINGS
        and path.count("/") == 1
        and path.endswith((".json", ".txt"))
    ]
    for network in NETWORKS:
        wanted += choose_weights(paths, network, where)
    return sorted(set(wanted))


def choose_weights(paths: Collection[str], network: str, where: str) -> list[str]:
    """Return the files of a network's weights: one, or the index and the shards of a large one.

    Args:
        paths: all files of the model, relative.
        network: name of the network.
        where: what to call the model in an error.

    Raises:
        UserError: if they are not there in safetensors.
    """
    stem = f"{network}/{WEIGHTS[network]}"
    if f"{stem}.safetensors" in paths:
        return [f"{stem}.safetensors"]
    if f"{stem}.safetensors.index.json" in paths:
        shards = fnmatch.filter(paths, f"{stem}-?????-of-?????.safetensors")
        return [f"{stem}.safetensors.index.json", *shards]
    pickles = fnmatch.filter(paths, f"{network}/*.bin") + fnmatch.filter(paths, f"{network}/*.ckpt")
    found = (
        f"only {min(pickles)}, a pickle, which may run any code when read" if pickles else "none"
    )
    raise UserError(
        f"{where}: weights of the {network}: found {found}; allowed is {stem}.safetensors: use a "
        "copy of the model in safetensors"
    )


def count_parameters(folder: Path, files: Iterable[str]) -> int:
    """Return how many numbers the weights in `files` are, by the headers of those in safetensors.

    Args:
        folder: the model.
        files: files of one network, relative to `folder`.

    Raises:
        UserError: if a file is not whole.
    """
    return sum(
        math.prod(tensor["shape"])
        for file in files
        if file.endswith(".safetensors")
        for tensor in numbers_in(folder / file)
    )


def describe_components(folder: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the shapes of the weights of each component of a model; only headers are read.

    Args:
        folder: the model.
        files: its files, relative to `folder`, as `model_files` returns them.

    Returns:
        By name of each component that has weights: `parameters`, how many numbers they are;
        `largest`, how many its largest tensor is; `matrices`, lists of rows, columns and how many
        there are of that shape; and `denoiser`, whether it is the one that each step evaluates,
        whose matrices are quantized where that is an option.

    Raises:
        UserError: if a file is not whole.
    """
    shapes: dict[str, list[list[int]]] = {}
    for file in files:
        if file.endswith(".safetensors"):
            own = shapes.setdefault(PurePosixPath(file).parent.name, [])
            own += [tensor["shape"] for tensor in numbers_in(folder / file)]
    return {
        name: {
            "parameters": sum(map(math.prod, own)),
            "largest": max(map(math.prod, own), default=0),
            "matrices": [
                [*shape, count]
                for shape, count in sorted(Counter(tuple(s) for s in own if len(s) == 2).items())
            ],
            "denoiser": is_denoiser(folder / name / "config.json"),
        }
        for name, own in shapes.items()
    }


def is_denoiser(config: Path) -> bool:
    """Tell whether a network is the denoiser: of diffusers' classes, and no autoencoder.

    Text encoders are classes of transformers, whose configurations name them otherwise.
    """
    name = str(json.loads(config.read_text(encoding="utf-8")).get("_class_name", "Autoencoder"))
    return not name.startswith("Autoencoder")


def numbers_in(path: Path) -> list[dict[str, Any]]:
    """Return what the header of a safetensors file says of each tensor of weights in it."""
    return [
        tensor
        for key, tensor in read_header(path).items()
        # Older files carry buffers too (`position_ids`); those are whole numbers.
        if key != "__metadata__" and not tensor["dtype"].startswith(("I", "U", "BOOL"))
    ]


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: dtype, shape and place of each tensor.

    Source: https://github.com/huggingface/safetensors#format.

    Raises:
        UserError: if the file is not safetensors, or ends before its last tensor.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError
            header: dict[str, Any] = json.loads(file.read(length))
            end = max(t["data_offsets"][1] for k, t in header.items() if k != "__metadata__")
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: not a safetensors file: get it again") from None
    if 8 + length + end != size:
        raise UserError(f"{path}: {size} bytes long and not {8 + length + end}: get it again")
    return header
