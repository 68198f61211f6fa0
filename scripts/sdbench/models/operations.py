"""Floating-point operations of a model's networks, counted from its configuration alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdbench.models.configs import plain_configs
from sdbench.models.families import Family, family_of
from sdbench.models.hugging_face import diffusers, transformers

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode


def count_flop(folder: Path, generation: Mapping[str, Any]) -> dict[str, int]:
    """Count the operations of each network of the model in `folder` for one image.

    Nothing is computed and no weights are read: the networks are made on torch's `meta` device.
    torch's counter (`torch.utils.flop_counter`) counts matrix products and convolutions, a
    multiply-add as two; norms, activations and softmax are not counted.

    Returns:
        `text_encoder_flop`, of all text encoders; `denoiser_flop`, of one evaluation;
        `vae_decoder_flop`. Where guidance takes the empty prompt as well, it is among them.
    """
    family = family_of(folder)
    size = generation["height"], generation["width"]
    with torch.device("meta"):
        networks = {name: make_network(family, name, folder) for name in family.networks}
        configs = plain_configs(family, folder)
        tokens = family.prompt_length(
            lambda: transformers.AutoTokenizer.from_pretrained(folder / family.tokenizers[0]),
            generation["prompt"],
            configs,
        )
        prompts = family.passes(configs, generation["guidance"])
        inputs = tree_map(
            lambda shape: None if shape is None else torch.empty(shape),
            family.denoiser_inputs(configs, size, prompts, tokens),
            is_leaf=lambda value: isinstance(value, tuple),
        )
        encoded = family.encoded(configs, generation["guidance"])
        text = sum(
            count(networks[name], torch.empty(encoded, length, dtype=torch.int64))
            for name in family.text_encoders
            for length in [family.text_length(name, configs)]
        )
        latents = torch.empty(1, *family.latent_shape(configs, *size))
        return {
            "text_encoder_flop": text,
            "denoiser_flop": count(networks[family.denoiser], **inputs),
            "vae_decoder_flop": count(networks["vae"].decode, latents),
        }


def make_network(family: Family, name: str, folder: Path) -> Any:
    """Make a network from its configuration, on the device that is torch's default just now."""
    library, kind = family.components[name]
    if library == "diffusers":
        network = getattr(diffusers, kind)
        return network.from_config(network.load_config(folder / name))
    network = getattr(transformers, kind)
    return network(network.config_class.from_pretrained(folder / name))


def count(evaluate: Callable[..., object], *args: Any, **kwargs: Any) -> int:
    """Return the operations of a call."""
    # Attention written out as matrix products, which the counter knows on every device; it does not
    # know every fused kernel, and all of them compute the same.
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        evaluate(*args, **kwargs)
    flop: int = counter.get_total_flops()
    return flop
