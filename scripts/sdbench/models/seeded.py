"""Build a model from its description with seeded weights instead of trained ones.

Speed and memory do not depend on the values of weights, as long as all that is computed from them
is finite: such a model stands for the real one where that may not or cannot be downloaded.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.families import INDEX
from sdbench.models.architectures import Architecture
from sdbench.models.tokenizer import Vocabulary

import accelerate
import diffusers
import torch
import transformers
from torch import nn

FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What weights are stored in."""


def build_seeded(
    architecture: Architecture, vocabulary: Vocabulary, seed: int, folder: Path
) -> None:
    """Write a model that the `from_pretrained` of its pipeline reads.

    One network is in memory at a time.

    Args:
        architecture: what to build.
        vocabulary: the tokens of CLIP's tokenizers.
        seed: seed of the weights.
        folder: an empty folder to write to; the weights are in the format of the published ones.

    Raises:
        UserError: if the description is not one of networks with as many parameters as it says,
            or the vocabulary is not that of the text encoder.
    """
    family = architecture.family
    networks = {name: outline(architecture, name) for name in family.networks}
    for name in family.tokenizers:
        build_tokenizer(architecture, name, vocabulary).save_pretrained(folder / name)
    scheduler = build_scheduler(architecture)
    scheduler.save_pretrained(folder / "scheduler")
    for name in family.networks:
        network = networks.pop(name).to(FORMATS[architecture.stored])
        fill(network, seed, name)
        network.save_pretrained(folder / name)
        # Before the next one is made, not when the name is taken by it.
        del network
    index = {
        "_class_name": family.pipeline,
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", type(scheduler).__name__],
        **{key: [None, None] if v is None else v for key, v in family.settings.items()},
        **{name: list(kind) for name, kind in family.components.items()},
    }
    text = json.dumps(index, indent=2, sort_keys=True)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def outline(architecture: Architecture, name: str) -> Any:
    """Return a network without memory for its weights (they are on torch's `meta` device).

    Args:
        architecture: the description.
        name: the folder of the network.

    Raises:
        UserError: if the class does not take the configuration, or the parameters are not as many
            as the description says.
    """
    library, kind = architecture.family.components[name]
    described = architecture.networks[name]
    try:
        # Buffers are computed, not drawn: they need their numbers.
        with accelerate.init_empty_weights(include_buffers=False):
            if library == "diffusers":
                network = getattr(diffusers, kind)(**described.config)
            else:
                network = getattr(transformers, kind)
                network = network(network.config_class(**described.config))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{architecture.path}: {name}: {reason}: correct the description") from None
    found, wanted = count_parameters(network), described.parameters
    if found != wanted:
        raise UserError(
            f"{architecture.path}: networks.{name}.parameters: the configuration makes {found:,} "
            f"and not {wanted:,} parameters: correct the configuration or the number"
        )
    return network


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers the files of a network's weights hold.

    Those that two layers share count once; tables of positions that are published beside the
    weights count too, as the hub counts them.
    """
    kept = network.state_dict().keys()
    buffers = [b for name, b in network.named_buffers() if name in kept and b.is_floating_point()]
    return sum(tensor.numel() for tensor in [*network.parameters(), *buffers])


@torch.no_grad()
def fill(network: nn.Module, seed: int, name: str) -> None:
    """Make the weights of a network, in place.

    Matrices and kernels are uniform within +-1/sqrt(inputs), which is PyTorch's own default for
    them and keeps what goes through a network of any depth finite; norms and biases begin at
    identity.

    Args:
        network: as `outline` returned it, in the format to store.
        seed: seed of the model.
        name: name of the network, so that each of a model has numbers of its own.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    generator = torch.Generator().manual_seed(number >> 1)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.to_empty(device="cpu")
    for key, buffer in network.named_buffers():
        buffer.copy_(buffers[key])
    for key, parameter in network.named_parameters():
        if parameter.ndim > 1:
            bound = 1 / math.sqrt(parameter[0].numel())
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            parameter.fill_(1.0 if key.endswith("weight") else 0.0)


def build_tokenizer(architecture: Architecture, name: str, vocabulary: Vocabulary) -> Any:
    """Return the tokenizer of the text encoder of the same number.

    Args:
        architecture: the description.
        name: the folder of the tokenizer.
        vocabulary: the tokens of CLIP's tokenizer.

    Raises:
        UserError: if the text encoder has not one embedding for each token.
    """
    family = architecture.family
    encoder = name.replace("tokenizer", "text_encoder")
    config = architecture.networks[encoder].config
    size, tokens = config["vocab_size"], len(vocabulary.tokens)
    if size != tokens:
        raise UserError(
            f"{architecture.path}: {encoder}.vocab_size: found {size}; the tokenizer "
            f"`{architecture.tokenizer}` has {tokens} tokens: change the size or the tokenizer"
        )
    configs = {encoder: config}
    return transformers.CLIPTokenizer(
        vocab=vocabulary.tokens,
        merges=vocabulary.merges,
        model_max_length=family.text_length(encoder, configs),
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
