"""Build a Stable Diffusion from its description with seeded weights instead of trained ones.

Speed and memory do not depend on the values of weights, as long as all that is computed from them
is finite: such a model stands for the real one where that may not or cannot be downloaded.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.models.architectures import Architecture
from sdbench.models.tokenizer import Vocabulary

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

BUILDERS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
    "unet": lambda config: UNet2DConditionModel(**config),
    "vae": lambda config: AutoencoderKL(**config),
}


def build_seeded(
    architecture: Architecture, vocabulary: Vocabulary, seed: int, folder: Path
) -> None:
    """Write a model that `StableDiffusionPipeline.from_pretrained` reads.

    One network is in memory at a time.

    Args:
        architecture: what to build.
        vocabulary: the tokens of the tokenizer.
        seed: seed of the weights.
        folder: an empty folder to write to; the weights are fp32.

    Raises:
        UserError: if the description is not one of networks with as many parameters as it says,
            or the vocabulary is not that of the text encoder.
    """
    networks = {name: outline(architecture, name) for name in BUILDERS}
    tokenizer = build_tokenizer(architecture, vocabulary)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler = build_scheduler(architecture)
    scheduler.save_pretrained(folder / "scheduler")
    for name in BUILDERS:
        network = networks.pop(name).to_empty(device="cpu")
        fill(network, seed, name)
        network.save_pretrained(folder / name)
        # Before the next one is made, not when the name is taken by it.
        del network
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", CLIPTextModel.__name__],
        "tokenizer": ["transformers", CLIPTokenizer.__name__],
        "unet": ["diffusers", UNet2DConditionModel.__name__],
        "vae": ["diffusers", AutoencoderKL.__name__],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def outline(architecture: Architecture, name: str) -> Any:
    """Return a network without memory for its weights (on torch's `meta` device).

    Args:
        architecture: the description.
        name: `text_encoder`, `unet` or `vae`.

    Raises:
        UserError: if the class does not take the configuration, or the parameters are not as many
            as the description says.
    """
    try:
        with torch.device("meta"):
            network = BUILDERS[name](getattr(architecture, name))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{architecture.path}: {name}: {reason}: correct the description") from None
    found, wanted = count_parameters(network), architecture.parameters[name]
    if found != wanted:
        raise UserError(
            f"{architecture.path}: parameters.{name}: the configuration makes {found:,} and not "
            f"{wanted:,} parameters: correct the configuration or the number"
        )
    return network


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers the weights of a network are."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def fill(network: nn.Module, seed: int, name: str) -> None:
    """Draw the weights of a network, in place.

    Matrices and kernels are uniform within +-1/sqrt(inputs), which is PyTorch's own default for
    them and keeps what goes through a network of any depth finite; norms and biases begin at
    identity.

    Args:
        network: a network on the CPU.
        seed: seed of the model.
        name: name of the network, so that each of a model has numbers of its own.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    generator = torch.Generator().manual_seed(number >> 1)
    for key, parameter in network.named_parameters():
        if parameter.ndim > 1:
            bound = 1 / math.sqrt(parameter[0].numel())
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            parameter.fill_(1.0 if key.endswith("weight") else 0.0)


def build_tokenizer(architecture: Architecture, vocabulary: Vocabulary) -> Any:
    """Return CLIP's tokenizer with a vocabulary, as long as the text encoder reads.

    Raises:
        UserError: if the text encoder has not one embedding for each token.
    """
    size, tokens = architecture.text_encoder["vocab_size"], len(vocabulary.tokens)
    if size != tokens:
        raise UserError(
            f"{architecture.path}: text_encoder.vocab_size: found {size}; the tokenizer "
            f"`{architecture.tokenizer}` has {tokens} tokens: change the size or the tokenizer"
        )
    return CLIPTokenizer(
        vocab=vocabulary.tokens,
        merges=vocabulary.merges,
        model_max_length=architecture.text_encoder["max_position_embeddings"],
    )


def build_scheduler(architecture: Architecture) -> Any:
    """Return the scheduler of an architecture.

    Raises:
        UserError: if diffusers has none of that class with these arguments.
    """
    arguments = dict(architecture.scheduler)
    name = arguments.pop("class", None)
    try:
        return getattr(diffusers, str(name))(**arguments)
    except (AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{architecture.path}: scheduler: {reason}: correct it") from None
