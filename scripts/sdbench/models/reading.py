"""Read what a model's folder holds, as its networks will be loaded, and refuse what cannot be
measured, in one line. Light: of weights only the headers are read, and no torch is needed."""

import fnmatch
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.models.families import FLOW, INDEX, SCHEDULE, Configs, Family, families, family_of
from sdbench.runtime.errors import UserError, plain

SHARDS = ".safetensors.index"
"""What the name of a file has in it that says in which file each weight is."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
"""What an index may name for parts that are not loaded."""
OLD_NAMES = {"Transformer2DModel": "PixArtTransformer2DModel"}
"""What diffusers called classes before, and calls them now."""
SCHEDULER = "scheduler/scheduler_config.json"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
"""Files of a tokenizer's folder that its tokens are read from: all of one entry."""
FORMATS = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}
"""What weights may be stored in, as safetensors calls it and as this project does."""
KEPT_IN_FP32 = {"T5EncoderModel": ".wo."}
"""What is in the names of weights that transformers keeps in fp32 where others become fp16, which
they would overflow (`_keep_in_fp32_modules` of modeling_t5.py): a fifth of T5-XXL."""
CHECKPOINTS = (".safetensors", ".ckpt", ".gguf")
"""How checkpoints of whole models in a single file are called."""
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Contents:
    """What a model's folder holds.

    `index`: what model_index.json says. `files`: the paths in `folder` of all that its pipeline is
    loaded from, sorted. `variants`: of the networks whose weights have one in their name, such as
    `fp16`. `stored`: the formats of each network's numbers. `schedule`: what of the scheduler's
    configuration belongs to the model (`SCHEDULE`). `components`: what `describe_component` says.
    """

    folder: Path
    family: Family
    index: Mapping[str, Any]
    files: Sequence[str]
    variants: Mapping[str, str]
    stored: Mapping[str, Sequence[str]]
    schedule: Mapping[str, Any]
    components: Mapping[str, Mapping[str, Any]]


class Chosen(NamedTuple):
    """The files that a pipeline is loaded from, sorted, and the variant of networks that have one
    in the name of their weights."""

    files: list[str]
    variants: dict[str, str]


def read_folder(folder: Path) -> Contents:
    """Return what a model's folder holds.

    Raises:
        UserError: if it is not a whole model of a known family with its weights in safetensors, or
            one that its pipeline cannot generate images with from text alone.
    """
    family = check_index(folder)
    parts = ("scheduler", *family.components)
    found = [file for part in parts for file in (folder / part).glob("*") if not file.is_dir()]
    paths = [INDEX, *(file.relative_to(folder).as_posix() for file in found)]

    def read(path: str) -> bytes:
        return _there(folder / path).read_bytes()

    chosen = choose_files(paths, family, str(folder), read)
    for path in chosen.files:
        _there(folder / path)
    scheduler = check_settings(folder, family)
    components, stored = {}, {}
    for network in family.networks:
        files = fnmatch.filter(chosen.files, f"{network}/*.safetensors")
        tensors = [pair for file in files for pair in read_header(folder / file).items()]
        stored[network] = _check_formats(folder / network, tensors)
        # Older files carry buffers too (`position_ids`); those are whole numbers.
        shapes = {name: t["shape"] for name, t in tensors if t["dtype"] in FORMATS}
        components[network] = describe_component(shapes, family, network)
    return Contents(
        folder=folder,
        family=family,
        index=read_object(folder / INDEX),
        files=chosen.files,
        variants=chosen.variants,
        stored=stored,
        schedule={key: scheduler[key] for key in SCHEDULE if key in scheduler},
        components=components,
    )


def check_index(folder: Path) -> Family:
    """Return the family of a model whose index names no code but diffusers' and transformers'.

    A library next to the model would be run as code.

    Raises:
        UserError: if it names other code, or lacks a part, or is the index of no family there is.
    """
    _check_layout(folder)
    family, path = family_of(folder), folder / INDEX
    # The tokenizer of another family will do: a seeded model may not have the published one. None
    # of them runs other code.
    kinds = {f.components[name][1] for f in families().values() for name in f.tokenizers}
    loaded = {
        "scheduler": ("diffusers", "[A-Za-z0-9]+Scheduler"),
        **family.components,
        **dict.fromkeys(family.tokenizers, ("transformers", "|".join(sorted(kinds)))),
    }
    for part, named in read_object(path).items():
        if part not in family.components and not isinstance(named, list):
            continue
        library, name = named if isinstance(named, list) and len(named) == 2 else (named, "")
        allowed, right = "parts of diffusers and transformers", library in LIBRARIES
        if part in loaded:
            known, classes = loaded[part]
            # transformers names a tokenizer with and without its ending.
            named_now = OLD_NAMES.get(str(name), str(name))
            right = library == known and bool(re.fullmatch(f"({classes})(Fast)?", named_now))
            allowed = f"`{classes}` of {known}"
        if not right:
            what = "another network" if library in LIBRARIES else "code of another library"
            what = "no network" if library is None else what
            raise UserError(
                f"{path}: {plain(part)}: found {plain(named)}, {what}; allowed is {allowed}: use "
                "another model"
            )
    return family


def _check_layout(folder: Path) -> None:
    """Say what else it is, where it is no folder in the diffusers layout."""
    convert = (
        "convert it by `from_single_file` and `save_pretrained` of its pipeline in diffusers, and "
        "use the folder that this writes"
    )
    if folder.is_file():
        raise UserError(f"{folder}: found a file; allowed is a folder: {convert}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: correct `local`, or put a model there")
    if (folder / INDEX).is_file():
        return
    # As in the cache of a hub's client: models--owner--name/snapshots/<commit>.
    below = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{INDEX}")]
    if len(below) == 1:
        raise UserError(f"{folder}: no {INDEX}; there is one in {below[0]}: use that folder")
    single = sorted(p.name for p in folder.glob("*") if p.suffix in CHECKPOINTS)
    if single:
        raise UserError(
            f"{folder}: no {INDEX}; {plain(single[0])} is a checkpoint in a single file: {convert}"
        )


def choose_files(
    paths: Collection[str], family: Family, where: str, read: Callable[[str], bytes]
) -> Chosen:
    """Choose those of a model's relative `paths` that a pipeline is loaded from.

    What else is there (a licence, a safety checker, weights in another precision or as a pickle)
    changes no measurement. `read` returns the content of a file, to be called for a few small ones.

    Raises:
        UserError: if a file is missing, or a network's weights are not in safetensors; it calls the
            model `where`.
    """
    wanted, variants = [INDEX, SCHEDULER], {}
    wanted += [f"{tokenizer}/tokenizer_config.json" for tokenizer in family.tokenizers]
    wanted += [f"{network}/config.json" for network in family.networks]
    for path in wanted:
        if path not in paths:
            raise UserError(
                f"{where}: the file {path} is missing: use a complete copy of the model in the "
                "diffusers layout"
            )
    for name in family.tokenizers:
        wanted += _tokenizer_files(paths, name, where)
    for network in family.networks:
        if f"{network}/adapter_config.json" in paths:
            raise UserError(
                f"{where}: {network}/adapter_config.json: found an adapter; allowed are whole "
                "weights: merge it (`merge_and_unload` of peft), and save the model"
            )
        file, variant = choose_weights(paths, family, network, where)
        wanted.append(file)
        if variant is not None:
            variants[network] = variant
        if file.endswith(".json"):
            wanted += _shards(file, paths, read(file), where)
    return Chosen(sorted(set(wanted)), variants)


def _tokenizer_files(paths: Collection[str], name: str, where: str) -> list[str]:
    """Return all that a tokenizer may read; `UserError` if it has no tokens."""
    if not any(all(f"{name}/{one}" in paths for one in some) for some in VOCABULARIES):
        allowed = " or ".join(" and ".join(some) for some in VOCABULARIES)
        raise UserError(
            f"{where}: {name}: found no vocabulary; allowed is {allowed}: use a complete copy of "
            "the model"
        )
    # Not `._vocab.json`, which macOS leaves next to vocab.json.
    return [p for p in paths if re.fullmatch(rf"{name}/[^./][^/]*\.(json|txt|model)", p)]


def choose_weights(
    paths: Collection[str], family: Family, network: str, where: str
) -> tuple[str, str | None]:
    """Choose the file that a network's weights are loaded from, or the index of the shards of a
    large one; return it and the variant that its name has, if there are no others.

    Raises:
        UserError: if there is none among `paths` in safetensors, or there are several variants.
    """
    stem, library = family.stem(network), family.components[network][0]
    named = re.compile(
        rf"{re.escape(stem)}(?:\.([^.-]+))?\.safetensors"
        rf"|{re.escape(stem + SHARDS)}(?:\.([^.-]+))?\.json"
    )
    found: dict[str | None, list[str]] = {}
    for path in paths:
        if match := named.fullmatch(path):
            found.setdefault(match[1] or match[2], []).append(path)
    if None in found or len(found) == 1:
        variant = None if None in found else next(iter(found))
        # Where both are there, diffusers takes the shards, and transformers the one file.
        ending = ".json" if library == "diffusers" else ".safetensors"
        return max(found[variant], key=lambda path: path.endswith(ending)), variant
    what, remedy = "none", "use a copy of the model in safetensors"
    others = [p for p in paths if re.fullmatch(rf"{network}/[^./][^/]*", p) and ".json" not in p]
    pickles = [path for path in others if path.endswith((".bin", ".ckpt"))]
    if found:
        what = " and ".join(sorted(path for some in found.values() for path in some))
        remedy = "remove all but one of these variants"
    elif pickles:
        what = f"only {min(pickles)}, a pickle, which may run any code when loaded"
    elif others:  # such as .gguf, or graphs of another program
        what = f"only {min(others)}"
    raise UserError(
        f"{where}: weights of the {network}: found {plain(what, 200)}; allowed is "
        f"{stem}.safetensors: {remedy}"
    )


def _shards(index: str, paths: Collection[str], content: bytes, where: str) -> list[str]:
    """Return the files that an index of shards names: next to it, in safetensors, and no others."""
    part = index.partition("/")[0]
    try:
        found = json.loads(content)
        files = {f"{part}/{name}" for name in found["weight_map"].values()}
        found["metadata"]  # empty at the least: the libraries read it
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{where}: {index}: no map from weights to files, or no `metadata` next to it: "
            "download the model again"
        ) from None
    for file in sorted(files):
        if file not in paths or not file.endswith(".safetensors"):
            raise UserError(
                f"{where}: {index}: weight_map: found {plain(file.partition('/')[2])!r}; allowed "
                "are the files in safetensors next to it: use another copy of the model, or remove "
                "this index if it is of an earlier save"
            )
    return sorted(files)


def _there(path: Path) -> Path:
    """Return a path that a folder lists; `UserError` if its file is somewhere else."""
    if not path.is_file():
        raise UserError(
            f"{path}: a link to {plain(path.readlink(), 200)}, where no file is: download the "
            "model again"
        )
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(
                f"{path}: a pointer of Git LFS and not the file itself: run `git lfs pull` there"
            )
    return path


def read_object(path: Path, kind: type = dict) -> Any:
    """Return the JSON object in a file; `UserError` if it is none, or is of another `kind`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}): download the model again") from None
    if not isinstance(found, kind):
        raise UserError(f"{path}: not a JSON object: download the model again")
    return found


def check_settings(folder: Path, family: Family) -> dict[str, Any]:
    """Check that the pipeline can generate images from text alone, by the configurations of all
    parts, which need no weights; return the scheduler's.

    Raises:
        UserError: if it cannot: it names the file and the key.
    """
    configs = {name: read_object(folder / name / "config.json") for name in family.networks}
    for name in family.tokenizers:
        configs[name] = read_object(folder / name / "tokenizer_config.json")
    scheduler: dict[str, Any] = read_object(folder / SCHEDULER)
    _check_configs(folder, family, configs)
    _check_scheduler(folder, family, scheduler)
    return scheduler


def _check_configs(folder: Path, family: Family, configs: Configs) -> None:
    """Check that the networks are those that the pipeline takes, whole, and fit each other."""

    def check(file: str, key: str, right: Any, remedy: str) -> None:
        found = configs[file.partition("/")[0]].get(key)
        if found != right:
            raise UserError(
                f"{folder / file}: {key}: found {plain(json.dumps(found))}; allowed is "
                f"{json.dumps(right)}{remedy}"
            )

    for network in family.networks:
        library, kind = family.components[network]
        file, config = f"{network}/config.json", configs[network]
        original = ": its weights were quantized by another library: use the original ones"
        check(file, "quantization_config", None, original)
        check(file, "transformers_weights", None, ": use files with the usual names")
        named = config.get("_class_name")
        if library == "diffusers" and OLD_NAMES.get(str(named), named) not in (None, kind):
            check(file, "_class_name", kind, f", as in {INDEX}: use the folder of one model")
    for name in family.tokenizers:
        encoder = name.replace("tokenizer", "text_encoder")
        reads = configs[encoder].get("max_position_embeddings")
        if encoder not in family.lengths and reads is not None:
            # The pipeline pads prompts to it.
            remedy = f", max_position_embeddings of the {encoder}: correct it"
            check(f"{name}/tokenizer_config.json", "model_max_length", reads, remedy)
    file, config = f"{family.denoiser}/config.json", configs[family.denoiser]
    foreign = f": {family.pipeline} generates from text alone only so: use a text-to-image model"
    for key, others in family.fitting.items():
        sizes = [configs[network].get(other) for network, other in others]
        if key in config and None not in sizes:
            check(file, key, sum(sizes), f", by its {others[0][0]}{foreign}")
    for key, value in family.fixed.items():
        check(file, key, value, foreign)


def _check_scheduler(folder: Path, family: Family, config: Mapping[str, Any]) -> None:
    """Check that a scheduler's configuration tells the noise schedule of such a model."""
    is_flow = "shift" in config or config.get("prediction_type") == "flow_prediction"
    if is_flow != (family.schedulers == FLOW) or "sigma_data" in config:
        raise UserError(
            f"{folder / SCHEDULER}: _class_name: found {plain(config.get('_class_name'))}, with a "
            f"noise schedule of another kind; allowed are those that {family.pipeline} generates "
            f"with: {family.why_these_schedulers}: restore the file that the model came with"
        )


def _check_formats(folder: Path, tensors: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return the formats of a network's numbers; `UserError` if it is not made of plain ones."""
    for name, tensor in tensors:
        if ".lora_" in name or ".base_layer." in name:
            raise UserError(
                f"{folder}: found {plain(name)}, part of an adapter; allowed are whole weights: "
                "merge it (`fuse_lora` and `unload_lora_weights`), and save the model"
            )
        if tensor["dtype"] not in (*FORMATS, "I64", "I32", "BOOL"):
            raise UserError(
                f"{folder}: found {plain(name)} in {plain(tensor['dtype'])}, quantized by another "
                f"program; allowed are {', '.join(FORMATS.values())}: use the original weights"
            )
    return sorted({FORMATS[t["dtype"]] for _, t in tensors if t["dtype"] in FORMATS})


def describe_component(
    shapes: Mapping[str, Sequence[int]], family: Family, network: str
) -> dict[str, Any]:
    """Describe a network of a family by the shapes of its tensors of weights, by their names.

    Returns:
        `parameters`, how many numbers they are; `largest`, how many its largest tensor is;
        `matrices`, lists of rows, columns and how many there are of that shape; `pinned`, how many
        numbers they have room for in pinned memory, where each tensor takes a power of two;
        `kept_in_fp32`, how many stay in fp32 where others are in fp16; and
        `denoiser`, whether it is the one that each step evaluates, whose matrices are quantized
        where that is an option.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept = KEPT_IN_FP32.get(family.components[network][1])
    matrices = Counter(tuple(shape) for shape in shapes.values() if len(shape) == 2)
    return {
        "parameters": sum(sizes.values()),
        "largest": max(sizes.values(), default=0),
        "pinned": sum(1 << (size - 1).bit_length() for size in sizes.values() if size),
        "kept_in_fp32": sum(size for name, size in sizes.items() if kept and kept in name),
        "matrices": [[*shape, count] for shape, count in sorted(matrices.items())],
        "denoiser": network == family.denoiser,
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
