"""Exported networks in the places of torch modules, in diffusers' own pipeline.

A backend that runs graphs says how one graph is run (`Graph`); all else is here, and the same for
every such backend. No torch weights are read: only tokenizer, configurations and scheduler come
from the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sdbench.backends.engine import Engine, load_scheduler
from sdbench.capabilities import UNSUPPORTED
from sdbench.cases import Case
from sdbench.errors import UnsupportedError
from sdbench.hugging_face import diffusers, transformers

import torch


class Graph(Protocol):
    """An exported network, ready to run on its device. It takes and gives fp32."""

    def run(self, shape: tuple[int, ...], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the graph's one output, of this shape.

        Args:
            shape: what the output will have.
            inputs: by the graph's names of them, contiguous and on the device of the network.
        """


@dataclass(frozen=True)
class Runtime:
    """An engine of graphs, set up for a case on `device`; nothing of the networks is read yet.

    `open_graph` reads a network, by its key in `sdbench.parity.NETWORKS`. `compile_mode` says that
    the graphs are compiled anew for each batch size, and how; None where they are not. `switches`
    is what else it set that moves time or pixels, for the record.
    """

    device: torch.device
    open_graph: Callable[[str], Graph]
    compile_mode: str | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)


def refuse_unreadable(graphs_folder: Path) -> None:
    """Refuse networks that could not be exported for an engine.

    Raises:
        UnsupportedError: if there is one; it says why.
    """
    for reason in sorted(graphs_folder.glob(f"*/{UNSUPPORTED}")):
        raise UnsupportedError(reason.read_text(encoding="utf-8"))


class _Network(torch.nn.Module):
    """An exported network in the place of the torch module that the pipeline expects."""

    def __init__(self, config: Any, graph: Graph, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.device = device
        self.graph = graph

    def run(self, shape: tuple[int, ...], **inputs: torch.Tensor) -> torch.Tensor:
        """Return the output, of this shape."""
        placed = {name: value.to(self.device).contiguous() for name, value in inputs.items()}
        return self.graph.run(shape, placed)


class TextEncoder(_Network):
    """Token ids of shape (batch, length) to states of shape (batch, length, hidden size)."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return the last hidden states, as the pipeline asks a text encoder."""
        shape = (*input_ids.shape, self.config.hidden_size)
        return (self.run(shape, input_ids=input_ids),)


class UNet(_Network):
    """Latents of shape (batch, channels, height, width) to noise of the same height and width."""

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        **_: Any,
    ) -> tuple[torch.Tensor]:
        """Return what the pipeline asks a UNet for."""
        # Schedulers give a scalar, of whole numbers or not; the graph takes one whole number.
        moment = timestep.reshape(1).to(torch.int64)
        batch, _channels, height, width = sample.shape
        shape = (batch, self.config.out_channels, height, width)
        states = encoder_hidden_states
        return (self.run(shape, sample=sample, timestep=moment, encoder_hidden_states=states),)


class VaeDecoder(_Network):
    """Latents of shape (batch, channels, height, width) to pixels of a multiple of that size."""

    def decode(self, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return pixels from -1 to 1, as the pipeline asks a VAE."""
        batch, _channels, height, width = latents.shape
        factor = 2 ** (len(self.config.block_out_channels) - 1)
        shape = (batch, self.config.out_channels, height * factor, width * factor)
        return (self.run(shape, latents=latents),)


def open_unet(runtime: Runtime, model_folder: Path) -> UNet:
    """Return the UNet alone, as the pipeline of `load_graphs` has it."""
    config = _config(model_folder / "unet", diffusers.UNet2DConditionModel)
    return UNet(config, runtime.open_graph("unet"), runtime.device)


def load_graphs(runtime: Runtime, case: Case, model_folder: Path) -> Engine:
    """Put the exported networks of a case into diffusers' pipeline.

    Args:
        runtime: the engine that runs them.
        case: says which scheduler.
        model_folder: the model in the diffusers layout.
    """
    text = transformers.CLIPTextConfig.from_pretrained(model_folder / "text_encoder")
    vae = _config(model_folder / "vae", diffusers.AutoencoderKL)
    device, open_graph = runtime.device, runtime.open_graph
    pipeline = diffusers.StableDiffusionPipeline(
        vae=VaeDecoder(vae, open_graph("vae_decoder"), device),
        text_encoder=TextEncoder(text, open_graph("text_encoder"), device),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(model_folder / "tokenizer"),
        unet=open_unet(runtime, model_folder),
        scheduler=load_scheduler(model_folder, case.generation["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    mode, switches = runtime.compile_mode, runtime.switches
    return Engine(pipeline, device, torch.float32, compile_mode=mode, switches=switches)


def _config(folder: Path, kind: Any) -> Any:
    return diffusers.configuration_utils.FrozenDict(kind.load_config(folder))
