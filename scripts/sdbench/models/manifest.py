"""Say what a model's folder holds: its files, their hashes, and its parameters. Needs no torch."""

import fnmatch
import hashlib
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sdbench.models.families import INDEX, Family, families, family_of
from sdbench.runtime.errors import UserError, plain
from sdbench.runtime.files import read_json, sha256

SCHEDULER, TOKENIZER = "scheduler_config.json", "tokenizer_config.json"
"""A file that the folder of a scheduler, and that of a tokenizer, has."""
SHARDS = ".safetensors.index.json"
"""How the name of a file ends that says in which file each weight is."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
"""What an index may name for parts that are not loaded."""


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
        UserError: if the folder is not a model of a known family with its weights in safetensors,
            or a file of it is not whole.
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
            for network in family_of(folder).networks
        },
        "components": describe_components(folder, files),
        "files": files,
        "digest": digest_files(files),
    }


def describe_unmade(
    components: Mapping[str, Mapping[str, Any]], source: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return the manifest of a model that was neither built nor downloaded: it has no files.

    Args:
        components: as `describe_components` returns them.
        source: the entry `source` of the model in the config.
        name: name of the model.
    """
    known = {
        "name": name,
        "source": dict(source),
        "weights": "seeded" if "seeded" in source else "trained",
        "parameters": {part: component["parameters"] for part, component in components.items()},
        "components": dict(components),
        "files": {},
    }
    text = json.dumps(known, sort_keys=True)
    return known | {"digest": hashlib.sha256(text.encode()).hexdigest()}


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): download the model again") from None


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
                f"download the model again, or delete {manifest} if the change is intended"
                if "local" in described["source"]
                else f"delete {folder}"
            )
            raise UserError(
                f"{path}: damaged, or changed after {manifest} was written: {remedy}, and run again"
            )


def digest_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over relative paths and hashes, as `sha256sum` would list them."""
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_files(folder: Path) -> list[str]:
    """Return the files that a pipeline is loaded from, as sorted paths in `folder`.

    Raises:
        UserError: if the folder is not a model of a known family with its weights in safetensors.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: correct `local`, or put a model there")
    family = check_index(folder)
    parts = ("scheduler", *family.components)
    files = [file for part in parts for file in (folder / part).glob("*")]
    paths = [INDEX, *(file.relative_to(folder).as_posix() for file in files)]
    chosen = choose_files(paths, family, str(folder))
    for path in chosen:
        if path.endswith(SHARDS):
            _check_shards(folder / path, [PurePosixPath(file).name for file in chosen])
    return chosen


def _check_shards(path: Path, names: Collection[str]) -> None:
    """Check that an index of shards names files next to it, in safetensors, and no others."""
    try:
        named = {*json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: no map from weights to files: download the model again") from None
    for name in named:
        if name not in names or not str(name).endswith(".safetensors"):
            raise UserError(
                f"{path}: weight_map: found {plain(name)!r}; allowed are the files in safetensors "
                "next to it: use another copy of the model"
            )


def check_index(folder: Path) -> Family:
    """Return the family of a model whose index names no code but diffusers' and transformers'.

    Raises:
        UserError: if it names other code, or is the index of no family there is.
    """
    family, path = family_of(folder), folder / INDEX
    for part, named in json.loads(path.read_text(encoding="utf-8")).items():
        if part in family.components or isinstance(named, list):
            _check_component(path, part, named, family)
    return family


def _check_component(path: Path, part: str, named: Any, family: Family) -> None:
    """Check what an index names for a part: a library next to the model would be run as code."""
    library, name = named if isinstance(named, list) and len(named) == 2 else (named, "")
    loaded = {
        "scheduler": ("diffusers", "[A-Za-z0-9]+Scheduler"),
        **family.components,
        # That of another family will do: a seeded model may not have the published one.
        **dict.fromkeys(family.tokenizers, ("transformers", _tokenizer_classes())),
    }
    if part in loaded:
        known, classes = loaded[part]
        # transformers names a tokenizer with and without its ending.
        right = library == known and bool(re.fullmatch(f"({classes})(Fast)?", str(name)))
        allowed = f"`{classes}` of {known}"
    else:
        right = library is None or (isinstance(library, str) and library in LIBRARIES)
        allowed = "parts of diffusers and transformers"
    if not right:
        raise UserError(
            f"{path}: {plain(part)}: found {plain(named)}, code of another library; allowed are "
            f"{allowed}: use another model"
        )


def _tokenizer_classes() -> str:
    """Return a pattern of the classes of tokenizers that there are, none of which runs others."""
    return "|".join(
        sorted(
            {
                known.components[name][1]
                for known in families().values()
                for name in known.tokenizers
            }
        )
    )


def choose_files(paths: Collection[str], family: Family, where: str) -> list[str]:
    """Return those of a folder's or repository's files that a pipeline is loaded from, sorted.

    What else is there (a licence, a safety checker, weights in another precision or as a pickle)
    changes no measurement.

    Args:
        paths: all files, relative.
        family: of the model.
        where: what to call the folder or repository in an error.

    Raises:
        UserError: if a file is missing, or a network's weights are not in safetensors.
    """
    settings = {"scheduler": SCHEDULER, **dict.fromkeys(family.tokenizers, TOKENIZER)}
    wanted = [INDEX, *(f"{part}/{file}" for part, file in settings.items())]
    wanted += [f"{network}/config.json" for network in family.networks]
    for path in wanted:
        if path not in paths:
            raise UserError(
                f"{where}: the file {path} is missing: use a complete copy of the model in the "
                "diffusers layout"
            )
    wanted += [
        path
        for path in paths
        if PurePosixPath(path).parent.name in settings
        and path.count("/") == 1
        and path.endswith((".json", ".txt", ".model"))
    ]
    for network in family.networks:
        wanted += choose_weights(paths, family.stem(network), where)
    return sorted(set(wanted))


def choose_weights(paths: Collection[str], stem: str, where: str) -> list[str]:
    """Return the files of a network's weights: one, or the index and the shards of a large one.

    Args:
        paths: all files of the model, relative.
        stem: of the network's files of weights; other variants of them end otherwise.
        where: what to call the model in an error.

    Raises:
        UserError: if they are not there in safetensors.
    """
    if f"{stem}.safetensors" in paths:
        return [f"{stem}.safetensors"]
    if f"{stem}{SHARDS}" in paths:
        shards = fnmatch.filter(paths, f"{stem}-?????-of-?????.safetensors")
        return [f"{stem}{SHARDS}", *shards]
    network = PurePosixPath(stem).parent.name
    pickles = fnmatch.filter(paths, f"{network}/*.bin") + fnmatch.filter(paths, f"{network}/*.ckpt")
    found = (
        f"only {min(pickles)}, a pickle, which may run any code when loaded" if pickles else "none"
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
        there are of that shape; `pinned`, how many numbers they have room for in pinned memory,
        where each tensor takes a power of two; and `denoiser`, whether it is the one that each step
        evaluates, whose matrices are quantized where that is an option.

    Raises:
        UserError: if a file is not whole.
    """
    shapes: dict[str, list[list[int]]] = {}
    for file in files:
        if file.endswith(".safetensors"):
            own = shapes.setdefault(PurePosixPath(file).parent.name, [])
            own += [tensor["shape"] for tensor in numbers_in(folder / file)]
    return {
        name: describe_component(own, is_denoiser(folder / name / "config.json"))
        for name, own in shapes.items()
    }


def describe_component(shapes: Collection[Sequence[int]], denoiser: bool) -> dict[str, Any]:
    """Return what `describe_components` does of one component, by the shapes of its tensors."""
    matrices = Counter(tuple(shape) for shape in shapes if len(shape) == 2)
    return {
        "parameters": sum(map(math.prod, shapes)),
        "largest": max(map(math.prod, shapes), default=0),
        "pinned": sum(_power_of_2(math.prod(shape)) for shape in shapes),
        "matrices": [[*shape, count] for shape, count in sorted(matrices.items())],
        "denoiser": denoiser,
    }


def _power_of_2(number: int) -> int:
    """Return the smallest power of two that is not below a number."""
    return 1 << (number - 1).bit_length() if number else 0


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
            raise UserError(f"{path}: not a safetensors file: download it again") from None
    if 8 + length + end != size:
        raise UserError(
            f"{path}: found {size} bytes; allowed are {8 + length + end}: download it again"
        )
    return header
