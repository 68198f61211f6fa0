"""The whole configuration of a model's networks: what its files leave out has a default value."""

import inspect
from pathlib import Path
from typing import Any

from sdbench.models.families import INDEX, Configs, Family, plain
from sdbench.models.hugging_face import diffusers, transformers
from sdbench.models.reading import read_object


def network_configs(family: Family, model_folder: Path) -> dict[str, Any]:
    """Return the configuration of each network by its folder, of the type that its library has."""
    return {
        name: _config(*family.components[name], model_folder / name) for name in family.networks
    }


def plain_configs(family: Family, model_folder: Path) -> Configs:
    """Return the same as mappings of built-in types, as `Family` takes them, with the index."""
    networks = network_configs(family, model_folder)
    return {INDEX: read_object(model_folder / INDEX)} | {n: plain(c) for n, c in networks.items()}


def _config(library: str, kind: str, folder: Path) -> Any:
    if library == "transformers":
        return getattr(transformers, kind).config_class.from_pretrained(folder)
    network = getattr(diffusers, kind)
    parameters = inspect.signature(network.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return diffusers.configuration_utils.FrozenDict(defaults | network.load_config(folder))
