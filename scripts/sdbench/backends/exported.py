"""Exported networks in the places of torch modules, in diffusers' own pipeline.

A backend says how one graph is run (`Graph`); all else is the same for every one. PyTorch runs the
text encoders that are not exported for a family, once for each prompt.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sdbench.backends.engine import Engine, load_scheduler
from sdbench.cases.case import Case
from sdbench.models.configs import network_configs, plain_configs
from sdbench.models.families import Configs, Family, by_name, family_of
from sdbench.models.loading import load_network, make_pipeline
from sdbench.models.reading import read_folder
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.failures import raise_failure

import torch


class Graph(Protocol):
    """An exported network, ready to run on its device. It takes and gives fp32."""

    def run(self, shape: tuple[int, ...], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the one output, of this shape; inputs are contiguous, on the device, by name."""


@dataclass(frozen=True)
class Runtime:
    """An engine of graphs, set up for a case on `device`; nothing of the networks is read yet.

    `open_graph` reads a network, by its key in `sdbench.export.parity.networks_of`. `compile_mode`
    says that the graphs are compiled again for each batch size, and how; None where they are not.
    `switches` is what else it set that moves time or pixels, for the record.
    """

    device: torch.device
    open_graph: Callable[[str], Graph]
    compile_mode: str | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)


def refuse_unreadable(graphs_folder: Path) -> None:
    """Raise the reason if a network could not be exported for an engine (`raise_failure`)."""
    for network in sorted(graphs_folder.glob("*")):
        raise_failure(network)


class _Network(torch.nn.Module):
    """An exported network in the place of the torch module that the pipeline expects."""

    def __init__(self, config: Any, graph: Graph, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.device = device
        self.graph = graph

    def run(self, shape: tuple[int, ...], inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the output, of this shape."""
        placed = {name: value.to(self.device).contiguous() for name, value in inputs.items()}
        return self.graph.run(shape, placed)


class TextEncoder(_Network):
    """Token ids of shape (batch, length) to states of shape (batch, length, hidden size)."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return the last hidden states, as the pipeline asks a text encoder."""
        shape = (*input_ids.shape, self.config.hidden_size)
        return (self.run(shape, {"input_ids": input_ids}),)


class Denoiser(_Network):
    """The UNet or transformer; its output is as large as what it denoises, its first input."""

    def __init__(
        self, family: Family, configs: Configs, config: Any, graph: Graph, device: torch.device
    ) -> None:
        super().__init__(config, graph, device)
        self.arguments = family.denoiser_inputs(configs, (64, 64), 1, 1)
        self.shapes = by_name(self.arguments)
        for name, value in family.attributes(configs).items():
            setattr(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor]:
        """Return what the pipeline asks a denoiser for."""
        given = dict(zip(self.arguments, args, strict=False)) | kwargs
        found = by_name({name: given.get(name) for name in self.arguments})
        for name, shape in self.shapes.items():
            # Of some samplers the timestep is a scalar, where the graph has one for all prompts.
            value = found[name].reshape(1) if found[name].ndim < len(shape) else found[name]
            found[name] = value.float()
        first = found[next(iter(self.shapes))]
        return (self.run(tuple(first.shape), {name: found[name] for name in self.shapes}),)

    def cache_context(self, _name: str) -> contextlib.AbstractContextManager[None]:
        """Nothing is cached between the evaluations of a step."""
        return contextlib.nullcontext()


class VaeDecoder(_Network):
    """Latents of shape (batch, channels, height, width) to pixels of a multiple of that size."""

    def decode(self, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return pixels from -1 to 1, as the pipeline asks a VAE."""
        batch, _channels, height, width = latents.shape
        factor = 2 ** (len(self.config.block_out_channels) - 1)
        shape = (batch, self.config.out_channels, height * factor, width * factor)
        return (self.run(shape, {"latents": latents}),)


def _refuse_uneven(generation: Mapping[str, Any], denoiser: Any, vae: Any) -> None:
    """Refuse an image that a level of the exported networks cannot halve and double again.

    PyTorch pads where that leaves a remainder; the graph was traced without one. `denoiser` and
    `vae` are configurations; a transformer has no levels.
    """
    levels = len(denoiser.get("block_out_channels") or [0])
    halved = 2 ** (len(vae.block_out_channels) + levels - 2)
    for side in ("height", "width"):
        if generation[side] % halved:
            raise UnsupportedError(
                f"the exported networks generate images whose {side} is a multiple of {halved}; "
                f"found {generation[side]} (generation.{side} in the config)"
            )


def open_denoiser(runtime: Runtime, model_folder: Path) -> Denoiser:
    """Return the denoiser alone, as the pipeline of `load_graphs` has it."""
    family = family_of(model_folder)
    own = network_configs(family, model_folder)[family.denoiser]
    graph = runtime.open_graph(family.denoiser)
    return Denoiser(family, plain_configs(family, model_folder), own, graph, runtime.device)


def load_graphs(runtime: Runtime, case: Case, model_folder: Path) -> Engine:
    """Put the exported networks of a case into diffusers' pipeline.

    Raises:
        UnsupportedError: if the graphs cannot generate images of the case's size.
    """
    contents, device = read_folder(model_folder), runtime.device
    family = contents.family
    configs = network_configs(family, model_folder)
    _refuse_uneven(case.generation, configs[family.denoiser], configs["vae"])

    networks: dict[str, Any] = {}
    if family.exports_text_encoders:
        graph = runtime.open_graph("text_encoder")
        networks["text_encoder"] = TextEncoder(configs["text_encoder"], graph, device)
    else:
        for name in family.text_encoders:
            networks[name] = load_network(contents, name, torch.float32).to(device)
    networks[family.denoiser] = open_denoiser(runtime, model_folder)
    networks["vae"] = VaeDecoder(configs["vae"], runtime.open_graph("vae_decoder"), device)
    scheduler = load_scheduler(model_folder, case.generation["scheduler"])
    pipeline = make_pipeline(contents, networks, scheduler)
    mode, switches = runtime.compile_mode, runtime.switches
    return Engine(pipeline, device, torch.float32, compile_mode=mode, switches=switches)
