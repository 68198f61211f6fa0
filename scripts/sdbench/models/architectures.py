"""Read the description of a model's networks: a file of resources/architectures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin

from sdbench.errors import UserError
from sdbench.models.manifest import NETWORKS

import yaml

TOKENIZERS = ("clip", "bytes")


@dataclass(frozen=True)
class Architecture:
    """The networks of a model without their weights.

    `text_encoder`, `unet` and `vae` hold the arguments of transformers' `CLIPTextConfig` and of
    diffusers' `UNet2DConditionModel` and `AutoencoderKL`; `scheduler` holds those of the diffusers
    class that its key `class` names. `parameters` says how many numbers each network must have;
    `path` is the file that says all this, and is named when something in it is wrong.
    """

    path: Path
    source: str
    tokenizer: str
    parameters: dict[str, int]
    text_encoder: dict[str, Any]
    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]


def load_architecture(path: Path) -> Architecture:
    """Return the architecture that the YAML file at `path` describes.

    Raises:
        UserError: if the file is not there or not YAML, or a key is missing, unknown or of the
            wrong type.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = _enumerate(file.stem for file in sorted(path.parent.glob("*.yaml")))
        raise UserError(
            f"{path}: there is no such architecture; there are {known}: name one of these"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}): correct it") from None
    _check(path, "", data, {f.name: f.type for f in fields(Architecture) if f.name != "path"})
    _check(path, "parameters.", data["parameters"], dict.fromkeys(NETWORKS, int))
    if data["tokenizer"] not in TOKENIZERS:
        raise UserError(
            f"{path}: tokenizer: found `{data['tokenizer']}`; allowed are "
            f"{_enumerate(TOKENIZERS)}: use one of these"
        )
    return Architecture(path=path, **data)


def _check(path: Path, section: str, data: Any, types: Mapping[str, Any]) -> None:
    """Check that `data` is a mapping with exactly the keys and types of `types`."""
    if not isinstance(data, dict):
        raise UserError(f"{path}: found a {type(data).__name__}; allowed is a mapping: correct it")
    for key in types:
        if key not in data:
            raise UserError(f"{path}: {section}{key}: the key is missing: add it")
    for key, value in data.items():
        if key not in types:
            raise UserError(
                f"{path}: {section}{key}: unknown key; allowed are {_enumerate(types)}: remove it"
            )
        kind = get_origin(types[key]) or types[key]
        if not isinstance(value, kind):
            raise UserError(
                f"{path}: {section}{key}: found {value!r}; allowed is {kind.__name__}: change it"
            )


def _enumerate(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
