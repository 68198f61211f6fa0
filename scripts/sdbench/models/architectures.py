"""Read the description of a model's networks: a file of resources/architectures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.models.families import Family, families
from sdbench.runtime.errors import UserError

import yaml

TOKENIZERS = ("clip", "bytes")
FORMATS = {"fp32": 4, "fp16": 2, "bf16": 2}
"""What weights may be stored in, and the bytes of a number."""
PARTS = "parts"
"""The folder, next to the descriptions, of networks that several models have."""

Types = Mapping[str, type]
"""Of the values in a section, by key."""


@dataclass(frozen=True)
class Network:
    """How many numbers a network's weights are, and the arguments of its class (of transformers: of
    its configuration's class)."""

    parameters: int
    config: dict[str, Any]
    part: Path | None = field(default=None, compare=False)
    """The file of the part that it is like."""


@dataclass(frozen=True)
class Architecture:
    """The networks of a model without their weights, as the file `path` describes them.

    `pipeline` is diffusers' class; `networks` has each by its folder; `stored` is the format of the
    published weights; `scheduler` holds the arguments of the diffusers class that its key `class`
    names. `generation` is how the model is meant to generate, `published` where its weights are.
    """

    path: Path
    pipeline: str
    source: str
    tokenizer: str
    stored: str
    networks: dict[str, Network]
    scheduler: dict[str, Any]
    generation: dict[str, Any] | None = None
    published: dict[str, Any] | None = None

    @property
    def largest_bytes(self) -> int:
        """The bytes of the weights of its largest network."""
        return FORMATS[self.stored] * max(n.parameters for n in self.networks.values())

    @property
    def family(self) -> Family:
        """The family of the model."""
        return families()[self.pipeline]


TYPES = {
    **dict.fromkeys(("pipeline", "source", "tokenizer", "stored"), str),
    **dict.fromkeys(("networks", "scheduler"), dict),
}
OPTIONAL = {"generation": dict, "published": dict}


def load_architecture(path: Path) -> Architecture:
    """Return the architecture that the YAML file at `path` describes.

    Raises:
        UserError: if the file is not there or not YAML, or a key is missing, unknown or of the
            wrong type.
    """
    data = _read(path)
    _check(path, "", data, TYPES, OPTIONAL)
    known = {"pipeline": families(), "tokenizer": TOKENIZERS, "stored": FORMATS}
    for key, allowed in known.items():
        if data[key] not in allowed:
            raise UserError(
                f"{path}: {key}: found `{data[key]}`; allowed are {_enumerate(allowed)}: "
                "use one of these"
            )
    names = families()[data["pipeline"]].networks
    _check(path, "networks.", data["networks"], dict.fromkeys(names, dict), {})
    networks = {name: _network(path, name, data["networks"][name]) for name in names}
    return Architecture(path=path, **data | {"networks": networks})


def find_architecture(source: Mapping[str, Any], folder: Path) -> Architecture | None:
    """Return the architecture of a model, by its entry `source` in the config.

    None if no description in `folder` is of it: of a model of a hub, at the revision that it names.

    Raises:
        UserError: as `load_architecture` does.
    """
    if "seeded" in source:
        return load_architecture(folder / f"{source['seeded']}.yaml")
    if "hub" in source:
        for architecture in map(load_architecture, sorted(folder.glob("*.yaml"))):
            published = architecture.published or {}
            if all(published.get(key) == source[key] for key in ("hub", "revision")):
                return architecture
    return None


def parts_of(path: Path) -> list[Path]:
    """Return the files that the description at `path` refers to.

    Raises:
        UserError: as `load_architecture` does.
    """
    networks = load_architecture(path).networks.values()
    return sorted({network.part for network in networks if network.part})


def _network(path: Path, name: str, entry: dict[str, Any]) -> Network:
    """Return a network; where it is `like` a part, with what stands next to that in place of it."""
    section = f"networks.{name}."
    if "like" not in entry:
        _check(path, section, entry, {"parameters": int, "config": dict}, {})
        return Network(**entry)
    _check(path, section, entry, {"like": str}, {"config": dict})
    part = path.parent / PARTS / f"{entry['like']}.yaml"
    described = _read(part)
    _check(part, "", described, {"source": str, "parameters": int, "config": dict}, {})
    return Network(described["parameters"], described["config"] | entry.get("config", {}), part)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = _enumerate(file.stem for file in sorted(path.parent.glob("*.yaml")))
        raise UserError(
            f"{path}: no such architecture; allowed are {known or 'none'}: use one of these"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}): correct it") from None


def _check(path: Path, section: str, data: Any, types: Types, optional: Types) -> None:
    """Check that `data` is a mapping with the keys and types of `types`, and at most `optional`."""
    known = {**types, **optional}
    if not isinstance(data, dict):
        raise UserError(f"{path}: found a {type(data).__name__}; allowed is a mapping: correct it")
    for key in types:
        if key not in data:
            raise UserError(f"{path}: {section}{key}: the key is missing: add it")
    for key, value in data.items():
        if key not in known:
            raise UserError(
                f"{path}: {section}{key}: unknown key; allowed are {_enumerate(known)}: remove it"
            )
        if not isinstance(value, known[key]):
            raise UserError(
                f"{path}: {section}{key}: found {value!r}; allowed is {known[key].__name__}: "
                "change it"
            )


def _enumerate(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
