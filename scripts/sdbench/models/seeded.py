"""Build a model from its description with seeded weights instead of trained ones.

Speed and memory do not depend on the values of weights, as long as all that is computed from them
is finite: such a model stands for the real one where that may not or cannot be downloaded.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from sdbench.models.architectures import Architecture
from sdbench.models.families import INDEX
from sdbench.models.hugging_face import diffusers, transformers
from sdbench.models.reading import describe_component
from sdbench.models.tokenizer import CHAT_MARKS, CHAT_TEMPLATE, Vocabulary, made_up_pieces
from sdbench.runtime.errors import UserError

import accelerate
import torch
from torch import nn

FORMATS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What weights are stored in."""
T5_UNUSED = 128
"""Embeddings of T5 that are none of its pieces: 100 marks, and 28 of no token."""


def build_seeded(
    architecture: Architecture, vocabulary: Vocabulary, seed: int, folder: Path
) -> None:
    """Write a model to an empty folder, that the `from_pretrained` of its pipeline reads.

    One network is in memory at a time. The weights are in the format of the published ones.

    Raises:
        UserError: if the description is not one of networks with as many parameters as it says,
            or the vocabulary (of CLIP's tokenizers) is not that of the text encoder.
    """
    family = architecture.family
    networks = {name: outline(architecture, name) for name in family.networks}
    tokenizers = {n: build_tokenizer(architecture, n, vocabulary) for n in family.tokenizers}
    for name, tokenizer in tokenizers.items():
        tokenizer.save_pretrained(folder / name)
    scheduler = build_scheduler(architecture)
    scheduler.save_pretrained(folder / "scheduler")
    for name in family.networks:
        network = networks.pop(name)
        # Not by diffusers' own `to`, which warns of what is not the case.
        nn.Module.to(network, FORMATS[architecture.stored])
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
        **{name: ["transformers", type(t).__name__] for name, t in tokenizers.items()},
    }
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")


def outline(architecture: Architecture, name: str) -> Any:
    """Return the network of that folder without memory for its weights (on torch's `meta` device).

    Raises:
        UserError: if the class does not take the configuration, or the parameters are not as many
            as the description says.
    """
    library, kind = architecture.family.components[name]
    described = architecture.networks[name]
    try:
        # Buffers are computed, not random: they need their numbers.
        with accelerate.init_empty_weights(include_buffers=False):
            if library == "diffusers":
                network = getattr(diffusers, kind)(**described.config)
            else:
                network = getattr(transformers, kind)
                network = network(network.config_class(**described.config))
        _tie(network)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{architecture.path}: {name}: {reason}: correct the description") from None
    found, wanted = count_parameters(network), described.parameters
    if found != wanted:
        raise UserError(
            f"{architecture.path}: networks.{name}.parameters: the configuration makes {found:,} "
            f"parameters, not {wanted:,}: correct the configuration or the number"
        )
    return network


def _tie(network: nn.Module) -> None:
    """Let layers share again what they share, after it was made again for each."""
    if isinstance(network, transformers.PreTrainedModel):
        network.tie_weights()


def kept_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of numbers that the files of a network's weights hold, by their names.

    Those that two layers share are there once; tables of positions that are published next to the
    weights count too, as the hub counts them.
    """
    kept = network.state_dict()
    buffers = {n: b for n, b in network.named_buffers() if n in kept and b.is_floating_point()}
    return {**dict(network.named_parameters()), **buffers}


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers the files of a network's weights hold."""
    return sum(tensor.numel() for tensor in kept_tensors(network).values())


def outline_components(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """Return what the `components` of a model's folder would be (`Contents`), without its weights.

    Raises:
        UserError: as `outline` does.
    """
    return {
        name: describe_component(
            {key: t.shape for key, t in kept_tensors(outline(architecture, name)).items()},
            architecture.family,
            name,
        )
        for name in architecture.family.networks
    }


@torch.no_grad()
def fill(network: nn.Module, seed: int, name: str) -> None:
    """Make the weights of a network that `outline` returned, in place and in the format to store.

    Matrices and kernels are uniform within +-1/sqrt(inputs), which is PyTorch's own default for
    them and keeps what goes through a network of any depth finite; norms and biases begin at
    identity. With its name in the seed, each network of a model has other numbers.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
    generator = torch.Generator().manual_seed(number >> 1)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.to_empty(device="cpu")
    _tie(network)
    for key, buffer in network.named_buffers():
        buffer.copy_(buffers[key])
    for key, parameter in network.named_parameters():
        if parameter.ndim > 1:
            bound = 1 / math.sqrt(parameter[0].numel())
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            parameter.fill_(1.0 if key.endswith("weight") else 0.0)


def build_tokenizer(architecture: Architecture, name: str, vocabulary: Vocabulary) -> Any:
    """Return the tokenizer of the folder `name`, for the text encoder of the same number.

    CLIP's is genuine where the vocabulary is. That of T5 has made-up pieces, as many as the real
    one. In place of Qwen's stands CLIP's with a chat template: English words are mostly one token
    in both.

    Raises:
        UserError: if a text encoder of CLIP has not one embedding for each token.
    """
    family = architecture.family
    encoder = name.replace("tokenizer", "text_encoder")
    kind = family.components[name][1]
    size = architecture.networks[encoder].config["vocab_size"]
    configs = {network: described.config for network, described in architecture.networks.items()}
    length = family.text_length(encoder, configs)
    if kind == "T5Tokenizer":
        pieces = made_up_pieces(size - T5_UNUSED)
        return transformers.T5Tokenizer(vocab=pieces, model_max_length=length)
    tokens = len(vocabulary.tokens)
    if kind == "CLIPTokenizer" and size != tokens:
        raise UserError(
            f"{architecture.path}: {encoder}.vocab_size: found {size}; the tokenizer "
            f"`{architecture.tokenizer}` has {tokens} tokens: change the size or the tokenizer"
        )
    tokenizer = transformers.CLIPTokenizer(
        vocab=vocabulary.tokens, merges=vocabulary.merges, model_max_length=length
    )
    if kind == "Qwen2Tokenizer":
        tokenizer.add_special_tokens({"additional_special_tokens": list(CHAT_MARKS)})
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_scheduler(architecture: Architecture) -> Any:
    """Return the scheduler of an architecture.

    Raises:
        UserError: if diffusers has none of that class with these arguments.
    """
    arguments = dict(architecture.scheduler)
    name = str(arguments.pop("class", None))
    try:
        return getattr(diffusers, name)(**arguments)
    except (AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{architecture.path}: scheduler: {reason}: correct it") from None
