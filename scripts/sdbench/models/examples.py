"""What a denoiser is evaluated with, in random numbers: to trace it, to compare it, to time it."""

from collections.abc import Mapping
from typing import Any

from sdbench.models.families import Configs, Family, by_name

import torch


def denoiser_shapes(
    family: Family, configs: Configs, height: int, width: int, prompts: int
) -> dict[str, Any]:
    """Return `Family.denoiser_inputs` of a family that is exported: all its prompts are as long."""
    # The length of a prompt depends on its words only where nothing is exported.
    tokens = family.prompt_length(lambda: None, "", configs)
    return family.denoiser_inputs(configs, (height, width), prompts, tokens)


def random_inputs(family: Family, shapes: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return noise of these shapes, in fp32, by the names that a graph of the denoiser has; where
    an input is a number, one that it may be (`Family.numbers`)."""
    return {
        name: torch.full(shape, family.numbers[name]) if name in family.numbers else noise(*shape)
        for name, shape in by_name(shapes).items()
    }


def noise(*shape: int) -> torch.Tensor:
    """Return standard normal numbers, the same ones each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
