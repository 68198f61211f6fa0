"""What a model's networks compute and move, counted from their configurations alone."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.models.architectures import Architecture
from sdbench.models.configs import plain_configs
from sdbench.models.described import WorkKey
from sdbench.models.families import INDEX, Configs, Family, family_of, plain
from sdbench.models.hugging_face import diffusers, transformers
from sdbench.models.seeded import build_tokenizer, outline
from sdbench.models.tokenizer import Vocabulary

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

PROMPT = "a photo of an astronaut riding a horse on mars"
"""What models read whose name alone is known: its length hardly decides."""
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution)


@dataclass
class Work:
    """What evaluating a network takes.

    Floating-point operations, a multiply-add as two: `products_flop`, of matrix products;
    `convolutions_flop`; `attention_flop`, of the two products of attention. Norms, activations and
    softmax are not counted. Numbers that operators read and write besides weights: `moved`, where
    attention is one operator; `scores_moved`, what is added to that where its scores are written
    out. `operators`: how many compute something, where attention is one.
    """

    products_flop: int = 0
    convolutions_flop: int = 0
    attention_flop: int = 0
    moved: int = 0
    scores_moved: int = 0
    operators: int = 0

    @property
    def flop(self) -> int:
        """All operations that are counted."""
        return self.products_flop + self.convolutions_flop + self.attention_flop


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the work of all operators that run within it, on torch's `meta` device."""

    def __init__(self, weights: frozenset[int]) -> None:
        """`weights`: the memory of each tensor that is not counted as moved, by `_memory`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work()
        self._weights = weights
        self._in_attention = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operator; one that is made of others is counted as those."""
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry:
            with self:
                made_of_others = func.decompose(*args, **kwargs)
            if made_of_others is not NotImplemented:
                return made_of_others
        result = func(*args, **kwargs)
        count = flop_registry.get(packet)
        flop = count(*args, **kwargs, out_val=result) if count else 0
        read, written = _tensors((args, kwargs)), _tensors(result)
        there = {_memory(tensor) for tensor in read}
        # What only looks at memory in another way computes nothing.
        computes = any(_memory(tensor) not in there for tensor in written)
        if computes or func._schema.is_mutable:
            moved = sum(tensor.numel() for tensor in read if _memory(tensor) not in self._weights)
            self._add(packet, flop, moved + sum(tensor.numel() for tensor in written))
        return result

    def _add(self, packet: Any, flop: int, moved: int) -> None:
        work = self.work
        if self._in_attention:
            work.attention_flop += flop
            work.scores_moved += moved
            return
        work.operators += 1
        work.moved += moved
        if packet in CONVOLUTIONS:
            work.convolutions_flop += flop
        else:
            work.products_flop += flop

    @contextmanager
    def attention_as_one(self) -> Iterator[None]:
        """Count torch's attention as one operator, and separately what its parts move."""
        whole = torch.nn.functional.scaled_dot_product_attention

        def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            moved = query.numel() + key.numel() + value.numel()
            self._in_attention = True
            try:
                result = whole(query, key, value, *args, **kwargs)
            finally:
                self._in_attention = False
            self._add(None, 0, moved + result.numel())
            self.work.scores_moved -= moved + result.numel()
            return result

        torch.nn.functional.scaled_dot_product_attention = attention
        try:
            yield
        finally:
            torch.nn.functional.scaled_dot_product_attention = whole


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def count_work(
    evaluate: Callable[..., object],
    *args: Any,
    weights: Iterable[torch.Tensor] = (),
    **kwargs: Any,
) -> Work:
    """Return the work of a call; reading `weights` is not counted as moving."""
    # Attention written out as matrix products, which torch can count on every device; it does not
    # know every fused kernel, and all of them compute the same.
    counter = Counter(frozenset(map(_memory, weights)))
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter.attention_as_one(), counter:
        evaluate(*args, **kwargs)
    return counter.work


def count_networks(
    family: Family,
    networks: Mapping[str, Any],
    configs: Configs,
    generation: Mapping[str, Any],
    tokenizer: Callable[[], Any],
) -> dict[str, Work]:
    """Return the work of each network for one image: of the denoiser, that of one evaluation.

    Where guidance takes the empty prompt as well, it is among it. `networks` are on torch's `meta`
    device; `generation` has prompt, guidance, height and width; `tokenizer` returns that of the
    first text encoder.
    """
    size = generation["height"], generation["width"]
    tokens = family.prompt_length(tokenizer, generation["prompt"], configs)
    prompts = family.passes(configs, generation["guidance"])
    with torch.device("meta"):
        inputs = tree_map(
            lambda shape: None if shape is None else torch.empty(shape),
            family.denoiser_inputs(configs, size, prompts, tokens),
            is_leaf=lambda value: isinstance(value, tuple),
        )
        encoded = family.encoded(configs, generation["guidance"])
        work = {}
        for name in family.text_encoders:
            length = family.text_length(name, configs)
            text = torch.empty(encoded, length, dtype=torch.int64)
            work[name] = count_work(networks[name], text, weights=networks[name].parameters())
        denoiser, vae = networks[family.denoiser], networks["vae"]
        work[family.denoiser] = count_work(denoiser, weights=denoiser.parameters(), **inputs)
        latents = torch.empty(1, *family.latent_shape(configs, *size))
        work["vae"] = count_work(vae.decode, latents, weights=vae.parameters())
    return work


def count_flop(folder: Path, generation: Mapping[str, Any]) -> dict[str, int]:
    """Count the operations of each network of the model in `folder` for one image.

    Nothing is computed and no weights are read: the networks are made on torch's `meta` device.

    Returns:
        `text_encoder_flop`, of all text encoders; `denoiser_flop`, of one evaluation;
        `vae_decoder_flop`. Where guidance takes the empty prompt as well, it is among them.
    """
    family = family_of(folder)
    with torch.device("meta"):
        networks = {name: make_network(family, name, folder) for name in family.networks}
        configs = plain_configs(family, folder)
    work = count_networks(
        family,
        networks,
        configs,
        generation,
        lambda: transformers.AutoTokenizer.from_pretrained(folder / family.tokenizers[0]),
    )
    return {
        "text_encoder_flop": sum(work[name].flop for name in family.text_encoders),
        "denoiser_flop": work[family.denoiser].flop,
        "vae_decoder_flop": work["vae"].flop,
    }


def make_network(family: Family, name: str, folder: Path) -> Any:
    """Make a network from its configuration, on the device that is torch's default just now."""
    library, kind = family.components[name]
    if library == "diffusers":
        network = getattr(diffusers, kind)
        return network.from_config(network.load_config(folder / name))
    network = getattr(transformers, kind)
    return network(network.config_class.from_pretrained(folder / name))


def count_described(
    architectures: Mapping[str, Architecture],
    asked: Iterable[WorkKey],
    vocabulary: Vocabulary,
) -> list[dict[str, Any]]:
    """Return what models take that are described and not built: a row for each, network by network,
    with its `WorkKey` and what is `COUNTED`.

    Args:
        architectures: by name.
        asked: what is counted.
        vocabulary: CLIP's, for prompts whose length decides.

    Raises:
        UserError: as `outline` does.
    """
    rows = []
    for name, sizes in itertools.groupby(sorted(asked), key=lambda key: key[0]):
        architecture = architectures[name]
        family = architecture.family
        networks = {part: outline(architecture, part) for part in family.networks}
        configs: dict[str, Any] = {INDEX: {}}
        configs |= {part: plain(network.config) for part, network in networks.items()}
        for network in networks.values():
            network.to("meta")  # tables that are computed have their numbers
        for _name, width, height, prompts in sizes:
            guidance = next(g for g in (0.0, 7.5) if family.passes(configs, g) == prompts)
            work = count_networks(
                family,
                networks,
                configs,
                {"prompt": PROMPT, "guidance": guidance, "height": height, "width": width},
                partial(build_tokenizer, architecture, family.tokenizers[0], vocabulary),
            )
            parts = {
                "text_encoder": family.text_encoders,
                "denoiser": (family.denoiser,),
                "vae_decoder": ("vae",),
            }
            for network, members in parts.items():
                counted = [asdict(work[member]) for member in members]
                rows.append(
                    {"model": name, "width": width, "height": height, "prompts": prompts}
                    | {"network": network}
                    | {key: sum(one[key] for one in counted) for key in counted[0]}
                    | {"parameters": sum(architecture.networks[m].parameters for m in members)}
                )
    return rows
