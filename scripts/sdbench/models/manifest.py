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
from sdbench.runtime.failures import KEY, failure_written
from sdbench.runtime.files import read_json, sha256

SHARDS = ".safetensors.index.json"
"""How the name of a file ends that says in which file each weight is."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
"""What an index may name for parts that are not loaded."""


def describe(folder: Path, source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the manifest of a model, by its folder and its entry `source` in the config.

    Returns:
        `name`; `source`; `weights`, which are `trained` or `seeded`; `parameters` of each network;
        `components`, what `describe_components` returns; `files`, the SHA-256 of each by its path
        in `folder`; and `digest`, which any change of these files changes.

    Raises:
        UserError: if the folder is not a model of a known family with its weights in safetensors,
            or a file of it is not whole.
    """
    paths = model_files(folder)
    for path in map(folder.joinpath, fnmatch.filter(paths, "*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}): download the model again") from None
    files = {path: sha256(folder / path) for path in paths}
    unmade = describe_unmade(describe_components(folder, paths), source, name)
    return unmade | {"files": files, "digest": digest_files(files)}


def describe_unmade(
    components: Mapping[str, Mapping[str, Any]], source: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return what `describe` would of a model that was neither built nor downloaded.

    It has the `components` that `describe_components` would return, and no files.
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


def describe_failed(source: Mapping[str, Any], name: str, reason: str) -> dict[str, Any]:
    """Return the same of a model that could not be made, or is none: `failed` says why."""
    return describe_unmade({}, source, name) | {KEY: reason}


def check_model(folder: Path, manifest: Path, pattern: str = "*") -> None:
    """Check that the files of a model that match `pattern` are those that its manifest describes.

    Raises:
        UserError: if one was damaged or changed since; it names the file. If the model could not be
            made, it says why.
    """
    described = read_json(manifest)
    if KEY in described:
        raise UserError(described[KEY])
    for file in fnmatch.filter(described["files"], pattern):
        path = folder / file
        if not path.is_file() or sha256(path) != described["files"][file]:
            remedy = f"delete {folder}"
            if "local" in described["source"]:
                remedy = f"download the model again, or delete {manifest} if the change is intended"
            raise UserError(
                f"{path}: damaged, or changed after {manifest} was written: {remedy}, and run again"
            )


def why_unusable(folder: Path | None, manifest: Path) -> str | None:
    """Return why a model cannot be used (`check_model`); None where it can, or was not made."""
    reasons: list[str] = []
    if folder is not None:
        with failure_written(reasons.append):
            check_model(folder, manifest)
    return reasons[0] if reasons else None


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
    for index in fnmatch.filter(chosen, f"*{SHARDS}"):
        _check_shards(folder / index, [PurePosixPath(file).name for file in chosen])
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

    A library next to the model would be run as code.

    Raises:
        UserError: if it names other code, or is the index of no family there is.
    """
    family, path = family_of(folder), folder / INDEX
    # The tokenizer of another family will do: a seeded model may not have the published one. None
    # of them runs other code.
    kinds = {f.components[name][1] for f in families().values() for name in f.tokenizers}
    loaded = {
        "scheduler": ("diffusers", "[A-Za-z0-9]+Scheduler"),
        **family.components,
        **dict.fromkeys(family.tokenizers, ("transformers", "|".join(sorted(kinds)))),
    }
    for part, named in json.loads(path.read_text(encoding="utf-8")).items():
        if part not in family.components and not isinstance(named, list):
            continue
        library, name = named if isinstance(named, list) and len(named) == 2 else (named, "")
        if part in loaded:
            known, classes = loaded[part]
            # transformers names a tokenizer with and without its ending.
            right = library == known and bool(re.fullmatch(f"({classes})(Fast)?", str(name)))
            allowed = f"`{classes}` of {known}"
        else:
            right = library in LIBRARIES
            allowed = "parts of diffusers and transformers"
        if not right:
            raise UserError(
                f"{path}: {plain(part)}: found {plain(named)}, code of another library; allowed "
                f"are {allowed}: use another model"
            )
    return family


def choose_files(paths: Collection[str], family: Family, where: str) -> list[str]:
    """Return those of a model's relative `paths` that a pipeline is loaded from, sorted.

    What else is there (a licence, a safety checker, weights in another precision or as a pickle)
    changes no measurement.

    Raises:
        UserError: if a file is missing, or a network's weights are not in safetensors; it calls the
            model `where`.
    """
    settings = ("scheduler", *family.tokenizers)
    wanted = [INDEX, "scheduler/scheduler_config.json"]
    wanted += [f"{tokenizer}/tokenizer_config.json" for tokenizer in family.tokenizers]
    wanted += [f"{network}/config.json" for network in family.networks]
    for path in wanted:
        if path not in paths:
            raise UserError(
                f"{where}: the file {path} is missing: use a complete copy of the model in the "
                "diffusers layout"
            )
    for path in paths:
        folder, _, file = path.partition("/")
        if folder in settings and "/" not in file and file.endswith((".json", ".txt", ".model")):
            wanted.append(path)
    for network in family.networks:
        wanted += choose_weights(paths, family.stem(network), where)
    return sorted(set(wanted))


def choose_weights(paths: Collection[str], stem: str, where: str) -> list[str]:
    """Return the files of a network's weights: one, or the index and the shards of a large one.

    Their names are `stem` and an ending; those of other variants of the weights end otherwise.

    Raises:
        UserError: if they are not among `paths` in safetensors.
    """
    if f"{stem}.safetensors" in paths:
        return [f"{stem}.safetensors"]
    if f"{stem}{SHARDS}" in paths:
        shards = fnmatch.filter(paths, f"{stem}-?????-of-?????.safetensors")
        return [f"{stem}{SHARDS}", *shards]
    network = stem.partition("/")[0]
    pickles = [p for p in fnmatch.filter(paths, f"{network}/*") if p.endswith((".bin", ".ckpt"))]
    found = "none"
    if pickles:
        found = f"only {min(pickles)}, a pickle, which may run any code when loaded"
    raise UserError(
        f"{where}: weights of the {network}: found {found}; allowed is {stem}.safetensors: use a "
        "copy of the model in safetensors"
    )


def describe_components(folder: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what `describe_component` says of each component that has weights, by its name.

    Of the model's `files` (as `model_files` returns them) only the headers of weights are read.

    Raises:
        UserError: if a file is not whole.
    """
    shapes: dict[str, list[list[int]]] = {}
    for file in fnmatch.filter(files, "*.safetensors"):
        own = shapes.setdefault(PurePosixPath(file).parent.name, [])
        for tensor in read_header(folder / file).values():
            # Older files carry buffers too (`position_ids`); those are whole numbers.
            if not tensor["dtype"].startswith(("I", "U", "BOOL")):
                own.append(tensor["shape"])
    denoiser = family_of(folder).denoiser
    return {name: describe_component(own, name == denoiser) for name, own in shapes.items()}


def describe_component(shapes: Collection[Sequence[int]], denoiser: bool) -> dict[str, Any]:
    """Describe a component by the shapes of its tensors of weights.

    Returns:
        `parameters`, how many numbers they are; `largest`, how many its largest tensor is;
        `matrices`, lists of rows, columns and how many there are of that shape; `pinned`, how many
        numbers they have room for in pinned memory, where each tensor takes a power of two; and
        `denoiser`, whether it is the one that each step evaluates, whose matrices are quantized
        where that is an option.
    """
    sizes = [math.prod(shape) for shape in shapes]
    matrices = Counter(tuple(shape) for shape in shapes if len(shape) == 2)
    return {
        "parameters": sum(sizes),
        "largest": max(sizes, default=0),
        "pinned": sum(1 << (size - 1).bit_length() for size in sizes if size),
        "matrices": [[*shape, count] for shape, count in sorted(matrices.items())],
        "denoiser": denoiser,
    }


def read_header(path: Path) -> dict[str, Any]:
    """Return dtype, shape and place of each tensor of a safetensors file, by its header.

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
            header.pop("__metadata__", None)
            end = max(tensor["data_offsets"][1] for tensor in header.values())
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: not a safetensors file: download it again") from None
    if 8 + length + end != size:
        raise UserError(
            f"{path}: found {size} bytes; allowed are {8 + length + end}: download it again"
        )
    return header
