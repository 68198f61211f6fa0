"""Say what a model's folder holds: its files, their hashes, and its parameters. Needs no torch."""

import fnmatch
import hashlib
import json
import math
import re
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sdbench.errors import UserError, plain
from sdbench.files import read_json, sha256

PIPELINE = "StableDiffusionPipeline"
INDEX = "model_index.json"
WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
"""Stem of the file of weights that each network is loaded from; other variants end otherwise."""
NETWORKS = tuple(WEIGHTS)
SHARDS = ".safetensors.index.json"
"""How the name of a file ends that says in which file each weight is."""
SETTINGS = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
"""Folders without weights that a pipeline is loaded from as well, and a file that each has."""


COMPONENTS = {
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer(Fast)?"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "scheduler": ("diffusers", "[A-Za-z0-9]+Scheduler"),
}
"""What an index may name for each part that is loaded: a library, and a pattern of its classes."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
"""What it may name for other parts, which are not loaded."""


def describe(folder: Path, source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the manifest of a model.

    Args:
        folder: the model in the diffusers layout.
        source: the entry `source` of the model in the config.
        name: name of the model.

    Returns:
        `name`; `source`; `weights`, which are `trained` or `seeded`; `parameters` of each network;
        `files`, the SHA-256 of each by its path in `folder`; and `digest`, which any change of
        these files changes.

    Raises:
        UserError: if the folder is not a Stable Diffusion with its weights in safetensors, or a
            file of it is not whole.
    """
    for path in model_files(folder):
        if path.endswith(".json"):
            _check_json(folder / path)
    files = {path: sha256(folder / path) for path in model_files(folder)}
    return {
        "name": name,
        "source": dict(source),
        "weights": "seeded" if "seeded" in source else "trained",
        "parameters": {
            network: count_parameters(folder, fnmatch.filter(files, f"{network}/*"))
            for network in NETWORKS
        },
        "files": files,
        "digest": digest_files(files),
    }


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): get the model again") from None


def check_model(folder: Path, manifest: Path, pattern: str = "*") -> None:
    """Check that the files of a model are those that its manifest describes.

    Args:
        folder: the model.
        manifest: what `describe` returned of it, as JSON.
        pattern: of the files to check, as `fnmatch` has it.

    Raises:
        UserError: if one was damaged or changed since; it names the file.
    """
    described = read_json(manifest)
    for file in fnmatch.filter(described["files"], pattern):
        path = folder / file
        if not path.is_file() or sha256(path) != described["files"][file]:
            remedy = (
                f"get the model again, or delete {manifest} if the change is meant"
                if "local" in described["source"]
                else f"delete {folder}"
            )
            raise UserError(f"{path}: damaged or changed since {manifest}: {remedy}, and run again")


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
    chosen = choose_files([INDEX, *(f.relative_to(folder).as_posix() for f in files)], str(folder))
    for path in chosen:
        if path.endswith(SHARDS):
            _check_shards(folder / path, [PurePosixPath(file).name for file in chosen])
    return chosen


def _check_shards(path: Path, names: Collection[str]) -> None:
    """Check that an index of shards names files beside it, in safetensors, and no others."""
    try:
        named = {*json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: no map of weights to files: get the model again") from None
    for name in named:
        if name not in names or not str(name).endswith(".safetensors"):
            raise UserError(
                f"{path}: weight_map: found {plain(name)!r}; allowed are the files in safetensors "
                "beside it: use another copy of the model"
            )


def check_index(path: Path) -> None:
    """Check that `path` is the index of a Stable Diffusion in the diffusers layout.

    Raises:
        UserError: if it is not, or names code that is neither diffusers' nor transformers'.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        kind = index.get("_class_name")
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: it holds no {INDEX}, which a model in the diffusers layout has: name "
            "a folder that `save_pretrained` wrote"
        ) from None
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a JSON object: get the model again") from None
    if kind != PIPELINE:
        raise UserError(
            f"{path}: _class_name: found `{plain(kind)}`; allowed is `{PIPELINE}`: name another "
            "model"
        )
    for part, named in index.items():
        if part in COMPONENTS or isinstance(named, list):
            _check_component(path, part, named)


def _check_component(path: Path, part: str, named: Any) -> None:
    """Check what an index names for a part: a library beside the model would be run as code."""
    library, name = named if isinstance(named, list) and len(named) == 2 else (named, "")
    known, classes = COMPONENTS.get(part, (None, ".*"))
    if part in COMPONENTS:
        right = library == known and isinstance(name, str) and re.fullmatch(classes, name)
    else:
        right = library is None or (isinstance(library, str) and library in LIBRARIES)
    if not right:
        allowed = (
            f"`{classes}` of {known}"
            if part in COMPONENTS
            else "parts of diffusers and transformers"
        )
        raise UserError(
            f"{path}: {plain(part)}: found {plain(named)}, code that is not theirs; allowed are "
            f"{allowed}: name another model"
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
    if f"{stem}{SHARDS}" in paths:
        shards = fnmatch.filter(paths, f"{stem}-?????-of-?????.safetensors")
        return [f"{stem}{SHARDS}", *shards]
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
        for key, tensor in read_header(folder / file).items()
        # Older files carry buffers too (`position_ids`); those are whole numbers.
        if key != "__metadata__" and not tensor["dtype"].startswith(("I", "U", "BOOL"))
    )


def count_weights(folder: Path) -> int:
    """Return how many numbers all weights of a model are; only headers are read.

    Raises:
        UserError: if the folder is not a Stable Diffusion with its weights in safetensors.
    """
    return count_parameters(folder, model_files(folder))


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
