"""Export the networks of a Stable Diffusion to ONNX, and check each against PyTorch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.files import sha256_of_all
from sdbench.hugging_face import diffusers, transformers
from sdbench.ort import onnxruntime

import numpy as np
import torch


class _TextEncoder(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.network(input_ids)[0]
        return states


class _UNet(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> torch.Tensor:
        out: torch.Tensor = self.network(
            sample, timestep, encoder_hidden_states, return_dict=False
        )[0]
        return out


class _VaeDecoder(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        pixels: torch.Tensor = self.network.decode(latents, return_dict=False)[0]
        return pixels


Example = Callable[[Any, int, int], dict[str, torch.Tensor]]
"""Makes inputs for a network: (network, batch size, latent height and width) to named tensors."""


@dataclass(frozen=True)
class Network:
    """How one network is loaded, wrapped and fed. `dynamic` names the axes that may vary."""

    folder: str
    load: Callable[..., Any]
    wrap: Callable[[Any], torch.nn.Module]
    example: Example
    dynamic: Mapping[str, Mapping[int, str]]
    output: str


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _text_inputs(network: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    config = network.config
    shape = (batch, config.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(0, config.vocab_size, shape, generator=generator)}


def _unet_inputs(network: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    config = network.config
    return {
        "sample": _noise(batch, config.in_channels, side, side),
        "timestep": torch.tensor([501]),
        "encoder_hidden_states": _noise(batch, 77, config.cross_attention_dim),
    }


def _vae_inputs(network: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    return {"latents": _noise(batch, network.config.latent_channels, side, side)}


_IMAGE = {0: "batch", 2: "height", 3: "width"}

NETWORKS = {
    "text_encoder": Network(
        folder="text_encoder",
        load=transformers.CLIPTextModel.from_pretrained,
        wrap=_TextEncoder,
        example=_text_inputs,
        dynamic={"input_ids": {0: "batch"}},
        output="last_hidden_state",
    ),
    "unet": Network(
        folder="unet",
        load=diffusers.UNet2DConditionModel.from_pretrained,
        wrap=_UNet,
        example=_unet_inputs,
        dynamic={
            "sample": _IMAGE,
            "timestep": {},
            "encoder_hidden_states": {0: "batch", 1: "tokens"},
        },
        output="out_sample",
    ),
    "vae_decoder": Network(
        folder="vae",
        load=diffusers.AutoencoderKL.from_pretrained,
        wrap=_VaeDecoder,
        example=_vae_inputs,
        dynamic={"latents": _IMAGE},
        output="pixels",
    ),
}


def export_network(
    name: str, model_folder: Path, file: Path, opset: int, tolerance: float
) -> dict[str, Any]:
    """Export one network, and compare it with PyTorch on other sizes than it was traced on.

    Args:
        name: a key of `NETWORKS`.
        model_folder: the model in the diffusers layout.
        file: where the graph goes; large weights go beside it.
        opset: ONNX operator set.
        tolerance: the largest absolute difference allowed, as a share of the largest output.

    Returns:
        `network`, `opset`, `parameters`, `max_abs_error`, `max_rel_error`, `tolerance`,
        `sha256`, `file_bytes` and `export_s`.

    Raises:
        UserError: if the exported network differs by more than `tolerance`.
    """
    network = NETWORKS[name]
    loaded = network.load(model_folder / network.folder, use_safetensors=True).eval()
    module = network.wrap(loaded).eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    traced = network.example(loaded, 2, 16)
    with torch.no_grad():
        torch.onnx.export(
            module,
            tuple(traced.values()),
            file,
            input_names=list(traced),
            output_names=[network.output],
            dynamic_shapes=tuple(dict(axes) for axes in network.dynamic.values()),
            dynamo=True,
            opset_version=opset,
            verbose=False,
        )
    export_s = time.perf_counter() - begin
    inputs = network.example(loaded, 3, 24)
    with torch.inference_mode():
        expected = module(*inputs.values()).numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, {key: value.numpy() for key, value in inputs.items()})[0]
    max_abs = float(np.abs(found - expected).max())
    max_rel = max_abs / float(np.abs(expected).max())
    if not max_rel <= tolerance:  # NaN must fail too
        raise UserError(
            f"{file}: differs from PyTorch by {max_rel:.2g} of the largest output; allowed is "
            f"{tolerance:g} (export.tolerance in the config): try another export.opset"
        )
    return {
        "network": name,
        "opset": opset,
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "max_abs_error": max_abs,
        "max_rel_error": max_rel,
        "tolerance": tolerance,
        "sha256": sha256_of_all(file.parent.glob("model.onnx*")),
        "file_bytes": sum(part.stat().st_size for part in file.parent.glob("model.onnx*")),
        "export_s": export_s,
    }
