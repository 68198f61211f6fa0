"""Floating-point operations of a model's networks, counted from its configuration alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdbench.hugging_face import diffusers, transformers

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flop(folder: Path, height: int, width: int) -> dict[str, int]:
    """Count the operations of one evaluation of each network for one picture.

    Nothing is computed and no weights are read: the networks are made on torch's `meta` device.
    torch's counter (`torch.utils.flop_counter`) counts matrix products and convolutions, a
    multiply-add as two; norms, activations and softmax are not counted.

    Args:
        folder: the model in the diffusers layout.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        `text_encoder_flop` (one prompt), `unet_flop` (one prompt, one step), `vae_decoder_flop`.
    """
    with torch.device("meta"):
        config = transformers.CLIPTextConfig.from_pretrained(folder / "text_encoder")
        text_encoder = transformers.CLIPTextModel(config)
        unet = _network(diffusers.UNet2DConditionModel, folder / "unet")
        vae = _network(diffusers.AutoencoderKL, folder / "vae")
        # Attention written out as matrix products, which the counter knows on every device; it does
        # not know every fused kernel, and all of them compute the same.
        text_encoder.set_attn_implementation("eager")
        for network in (unet, vae):
            network.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
        tokens = config.max_position_embeddings
        shrinks = 2 ** (len(vae.config.block_out_channels) - 1)
        latents = torch.empty(1, unet.config.in_channels, height // shrinks, width // shrinks)
        states = torch.empty(1, tokens, unet.config.cross_attention_dim)
        prompt = torch.empty(1, tokens, dtype=torch.int64)
        return {
            "text_encoder_flop": _count(lambda: text_encoder(prompt)),
            "unet_flop": _count(lambda: unet(latents, torch.tensor(1), states)),
            "vae_decoder_flop": _count(lambda: vae.decode(latents)),
        }


def _network(kind: Any, folder: Path) -> Any:
    return kind.from_config(kind.load_config(folder))


def _count(evaluate: Callable[[], object]) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        evaluate()
    flop: int = counter.get_total_flops()
    return flop
