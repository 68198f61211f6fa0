"""Models that are described, by the names that others publish them under, and what is counted."""

import contextlib
import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench.models.architectures import Architecture, find_architecture, load_architecture
from sdbench.models.families import INDEX

PUBLISHED_AS = {
    "sd-v1": r"(sd|stable-diffusion)-?v?1([-.].*)?",
    "sd-v2": r"stable-diffusion-2(-1)?(-base)?",
    "sdxl": r"stable-diffusion-xl-base-1\.0|lcm-sdxl|sdxl-turbo",
    "sd3-medium": r"stable-diffusion-3-medium(-diffusers)?",
    "sd3.5-medium": r"stable-diffusion-3\.5-medium(-turbo)?",
    "flux.1-dev": r"flux\.1-dev",
    "flux.1-schnell": r"flux\.1-schnell",
    "pixart-sigma": r"pixart-(sigma-)?xl-2-1024-ms",
    "z-image-turbo": r"z-image-turbo",
}
"""The descriptions of resources/architectures, and how models of these networks are called. That of
PixArt-alpha has the transformer of Sigma and reads fewer tokens, which is a percent of its work."""
COUNTED = (
    *("products_flop", "convolutions_flop", "attention_flop"),
    *("moved", "scores_moved", "operators", "parameters"),
)
"""What is counted of a network, as `models.operations.Work` has it."""
NETWORKS = ("text_encoder", "denoiser", "vae_decoder")

WorkKey = tuple[str, int, int, int]
"""A description, width and height in pixels, and the prompts of a step: 2 with guidance."""
WORK_KEY = "model", "width", "height", "prompts"
"""Its columns."""


def find_described(model: str) -> str | None:
    """Return the description of a model by its name at a hub; None where there is none."""
    name = model.rsplit("/", 1)[-1].lower()
    return next((one for one, known in PUBLISHED_AS.items() if re.fullmatch(known, name)), None)


def work_key(architecture: Architecture, generation: Mapping[str, Any]) -> WorkKey:
    """Return what decides how much one image takes, of width, height and guidance."""
    configs: dict[str, dict[str, Any]] = {INDEX: {}}
    configs |= {name: network.config for name, network in architecture.networks.items()}
    prompts = architecture.family.passes(configs, float(generation["guidance"]))
    return architecture.path.stem, int(generation["width"]), int(generation["height"]), prompts


DECIDING = ("width", "height", "steps", "scheduler", "guidance")
"""What of a generation decides how long it takes."""


def find_asked(models: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Return by description how an image of it is generated: as the config has it, or as the model
    is meant to.

    Args:
        models: the config's.
        folder: of descriptions.

    Raises:
        UserError: if a description is wrong.
    """
    asked = {}
    for name in PUBLISHED_AS:
        if generation := load_architecture(folder / f"{name}.yaml").generation:
            asked[name] = generation
    own = find_descriptions(models, folder)
    # The first model of a description counts.
    asked |= {own[name]: models[name]["generation"] for name in reversed(own)}
    return {
        name: {key: asked[name][key] for key in DECIDING} for name in PUBLISHED_AS if name in asked
    }


def find_descriptions(models: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Return the models of a config that are described, each with its description."""
    found = {name: find_architecture(model["source"], folder) for name, model in models.items()}
    return {name: found.path.stem for name, found in found.items() if found}


def published_keys(
    tables: Iterable[Path], architectures: Mapping[str, Architecture]
) -> set[WorkKey]:
    """Return all that tables of schema PUBLISHED have of described models."""
    found = set()
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name = find_described(row.get("model") or "")
                # What is wrong with a row is said where the table of published results is made.
                with contextlib.suppress(KeyError, ValueError, TypeError):
                    found |= {work_key(architectures[name], row)} if name else set()
    return found
