"""What executes the networks. One module each; `load` picks it by its name in the config.

CONTRIBUTING.md, "Add a backend", says what else one has.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.backends.engine import Engine, load_scheduler, refuse_generation
from sdbench.backends.schedules import refuse_steps
from sdbench.cases.case import Case
from sdbench.models.families import family_of
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.files import read_json

LOADED_BY_NAME = "{backend}.py"


def load(
    case: Case,
    model_folder: Path,
    graphs_folder: Path | None,
    settings: Mapping[str, Any] | None = None,
) -> Engine:
    """Load the networks of a case's variant on its device, ready to generate.

    Args:
        case: its batch size plays no part.
        model_folder: the model in the diffusers layout.
        graphs_folder: the exported networks that the variant reads (`Variant.graphs`); None for a
            backend that reads the model itself.
        settings: of the backend, in addition to its defaults: what a search chose for the variant.

    Raises:
        UnsupportedError: if this machine or backend cannot run the variant.
    """
    refuse_generation(family_of(model_folder), case)
    generation = case.generation
    refuse_steps(load_scheduler(model_folder, generation["scheduler"]), generation["steps"])
    args = case, model_folder, graphs_folder, settings or {}
    engine: Engine = import_backend(case).load(*args)
    return engine


def import_backend(case: Case) -> Any:
    """Return the module of a case's backend, imported now so that loading does not include it.

    Raises:
        UnsupportedError: if a library that it needs is not installed.
    """
    name = case.variant.backend
    try:
        return importlib.import_module(f"sdbench.backends.{name}")
    except ModuleNotFoundError as error:
        raise UnsupportedError(f"{name} needs {error.name}, which is not installed") from error


def chosen_settings(found: Path | None) -> dict[str, dict[str, Any]]:
    """Return what `search_settings` chose, by `Variant.key`; nothing where nothing was searched."""
    searches = read_json(found)["searches"] if found else {}
    return {key: search["settings"] for key, search in searches.items()}


def require_model(model_folder: Path | None) -> Path:
    """Return the folder of a model; `UnsupportedError` if no device had room for it."""
    if model_folder is None:
        raise UnsupportedError("it was not built, because it fits on none of its devices")
    return model_folder
