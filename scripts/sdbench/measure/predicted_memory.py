"""The memory that a pipeline of PyTorch takes on a GPU, computed without weights and without one.

The pipeline is built on torch's `meta` device and called for one step: the second takes what the
first did. What each operator allocates, and when that is freed, is written down once for each
precision, attention and batch; where weights are kept, and in which format, follows from that list.
"""

import copy
import itertools
import math
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sdbench.backends.engine import Engine
from sdbench.backends.pytorch import set_options
from sdbench.cases.case import Variant, why_absent
from sdbench.cases.options import (
    GROUP_OFFLOAD,
    INT8,
    MODEL_OFFLOAD,
    NF4,
    NONE,
    OFFLOADS,
    QUANTIZED,
    format_options,
)
from sdbench.measure.allocator import Allocator
from sdbench.models.architectures import Architecture
from sdbench.models.hugging_face import diffusers
from sdbench.models.operations import PROMPT
from sdbench.models.seeded import build_scheduler, build_tokenizer, outline
from sdbench.models.tokenizer import Vocabulary
from sdbench.models.weights import BYTES_OF_FORMAT, ITEM_BYTES

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BATCHES = (1, 2)
"""What shows how much an image adds."""
COMPUTED = ("attention-vanilla", "attention-sliced", "vae-slicing", "vae-tiling")
"""Options that change what is computed; others change how weights are kept."""
OPTIONS = (NONE, *COMPUTED, *QUANTIZED, *OFFLOADS, f"{NF4}+{MODEL_OFFLOAD}")


VAE = "vae"
"""The network that is not called itself: its decoder is."""


class Peaks(NamedTuple):
    """Bytes of torch's allocator, at most: what tensors take, and what it holds for them."""

    allocated: int
    reserved: int


@dataclass
class Trace:
    """What a call allocates, in its order, each tensor's memory by a number.

    `weights`: network -> bytes of each tensor before the call; `matrices`: rows and columns of the
    denoiser's linear layers. `events`: what was done, to which memory, and its bytes.
    """

    weights: dict[str, dict[int, int]] = field(default_factory=dict)
    matrices: dict[int, tuple[int, int]] = field(default_factory=dict)
    events: list[tuple[str, Any, Any]] = field(default_factory=list)


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Write down what is allocated and freed on the `meta` device by all that runs within it."""

    def __init__(self, cudnn: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self._cudnn = cudnn
        self._numbers: dict[int, int] = {}
        self._count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.scaled_dot_product_attention.default:
            return self._attention(*args, **kwargs)
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            return 0
        if func is aten._to_copy.default:
            held = self._copied(args[0], kwargs)
            if held is not None:
                return held
        else:
            with self:
                made_of_others = func.decompose(*args, **kwargs)
            if made_of_others is not NotImplemented:
                return made_of_others
        result = self._computed(func, args, kwargs)
        for tensor in _tensors(result):
            if tensor.is_meta:
                self.number(tensor)
        if func is aten.convolution.default and self._cudnn and result.is_meta:
            # Tensor cores want channels last: cuDNN transposes what it reads and, in half precision
            # also what it writes, in a workspace (docs/method.md).
            half = result.element_size() == 2
            with self:
                args[0].new_empty(args[0].numel() + (result.numel() if half else 0))
        return result

    @staticmethod
    def _computed(func: Any, args: Any, kwargs: Any) -> Any:
        """Return what an operator returns. Most are called many times with arguments of one form:
        a new tensor is then made as it was the first time, which is several times as fast."""
        if func is aten.index.Tensor:  # whose values decide, where the index is a mask
            return func(*args, **kwargs)
        args, kwargs = _on_one_device((args, kwargs))
        form = (func, _form(args), _form(list(kwargs.items())))
        made = _MADE.get(form)
        if made is not None:
            return torch.empty_strided(*made[:2], dtype=made[2], device="meta")
        result = func(*args, **kwargs)
        is_new = not func._schema.is_mutable and not any(
            returned.alias_info for returned in func._schema.returns
        )
        if is_new and isinstance(result, torch.Tensor) and result.is_meta:
            there = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
            if result.untyped_storage()._cdata not in there and not result.storage_offset():
                _MADE[form] = tuple(result.shape), result.stride(), result.dtype
        return result

    @staticmethod
    def _copied(tensor: torch.Tensor, kwargs: Mapping[str, Any]) -> torch.Tensor | None:
        """Return what a copy between host and device is, where torch has none."""
        device = kwargs.get("device")
        dtype = kwargs.get("dtype") or tensor.dtype
        if tensor.is_meta and device is not None and torch.device(device).type == "cpu":
            return torch.zeros((), dtype=dtype).expand(tensor.shape)
        # Tokens, masks and moments, a few kilobytes, keep their values, which pipelines read.
        if not tensor.is_meta and tensor.ndim <= 2 and device is not None:
            return tensor.to(dtype, copy=True)
        return None

    def _attention(
        self, query: Any, key: Any, value: Any, mask: Any = None, *_args: Any, **_kwargs: Any
    ) -> torch.Tensor:
        """As a fused kernel: the output, and while it runs a number of each row in fp32, as
        FlashAttention keeps it."""
        with self:
            shape = (*query.shape[:-1], value.shape[-1])
            # Heads before places, which lie in memory the other way round.
            places = query.new_empty((shape[0], shape[2], shape[1], shape[3]))
            output: torch.Tensor = places.transpose(1, 2)
            query.new_empty(query.shape[:-1], dtype=torch.float32)
        return output

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's memory: a new one where that is new."""
        storage = tensor.untyped_storage()
        found = self._numbers.get(storage._cdata)
        if found is None:
            self._count = found = self._count + 1
            self._numbers[storage._cdata] = found
            self.trace.events.append(("take", found, storage.nbytes()))
            weakref.finalize(storage, self._freed, storage._cdata, found)
        return found

    def _freed(self, address: int, number: int) -> None:
        del self._numbers[address]
        self.trace.events.append(("give", number, 0))

    def held(self, network: torch.nn.Module, recurse: bool = True) -> dict[int, int]:
        """Return the bytes of each tensor that a network has on the device, by its number."""
        tensors = [*network.parameters(recurse), *network.buffers(recurse)]
        return {self.number(t): t.untyped_storage().nbytes() for t in tensors if t.is_meta}


_MADE: dict[Any, tuple[tuple[int, ...], tuple[int, ...], torch.dtype]] = {}
"""Operator and form of its arguments -> size, strides and type of the tensor that it makes."""


def _form(value: Any) -> Any:
    """Return what an operator's result depends on besides values."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device.type
    if isinstance(value, list | tuple):
        return tuple(map(_form, value))
    return type(value), str(value)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _on_one_device(values: Any) -> Any:
    """Return arguments of an operator, those of the host on the device if others are there."""
    if len({tensor.device for tensor in _tensors(values)}) < 2:
        return values
    return tree_map_only(torch.Tensor, lambda t: t if t.is_meta else t.to("meta"), values)


@dataclass(frozen=True)
class Outline:
    """A model of a description without memory for its weights, from which pipelines are made."""

    architecture: Architecture
    networks: Mapping[str, Any]
    tokenizers: Mapping[str, Any]

    @classmethod
    def of(cls, architecture: Architecture, vocabulary: Vocabulary) -> "Outline":
        """Make the networks on torch's `meta` device, and tokenizers with CLIP's vocabulary.

        Raises:
            UserError: as `outline` does.
        """
        family = architecture.family
        return cls(
            architecture,
            {n: outline(architecture, n).to("meta") for n in family.networks},
            {n: build_tokenizer(architecture, n, vocabulary) for n in family.tokenizers},
        )


def trace_call(
    model: Outline,
    variant: Variant,
    generation: Mapping[str, Any],
    batch_size: int,
    cudnn: bool = True,
) -> Trace:
    """Call a pipeline for one step and return what that allocates.

    Of the variant, precision, attention and what its VAE does decide. `generation`: guidance,
    height and width, as in the config; `cudnn`: whether the device has cuDNN's workspaces.

    Raises:
        UnsupportedError: if the VAE's tiles cannot be set.
    """
    family, dtype = model.architecture.family, DTYPES[variant.precision]
    networks = {name: _cast(network, dtype) for name, network in model.networks.items()}
    pipeline = getattr(diffusers, family.pipeline)(
        **networks,
        **model.tokenizers,
        scheduler=build_scheduler(model.architecture),
        **family.settings,
    )
    denoiser = networks[family.denoiser]
    set_options(pipeline, denoiser, variant, generation)
    follower = _Follower(cudnn)
    trace = follower.trace
    for name, network in networks.items():
        trace.weights[name] = follower.held(network)
        _announce(follower, name, network)
    for layer in denoiser.modules():
        if isinstance(layer, torch.nn.Linear):
            rows, columns = layer.weight.shape
            trace.matrices[follower.number(layer.weight)] = rows, columns
    trace.events.clear()
    engine = Engine(pipeline, torch.device("meta"), dtype)
    asked = {"prompt": PROMPT, "seed": 0, **generation}
    with torch.inference_mode(), follower:
        engine.generate(asked, engine.latents(asked, batch_size), steps=1)
    return trace


def _cast(network: Any, dtype: torch.dtype) -> Any:
    """Return a copy of a network as its library loads it in a precision."""
    cast = torch.nn.Module.to(copy.deepcopy(network), dtype)
    # T5 would overflow: transformers keeps some of its layers in fp32 where others are fp16.
    kept = getattr(cast, "_keep_in_fp32_modules", None) or () if dtype == torch.float16 else ()
    for name, layer in cast.named_modules():
        if name.rpartition(".")[2] in kept:
            torch.nn.Module.to(layer, torch.float32)
    return cast


def _announce(follower: _Follower, name: str, network: Any) -> None:
    """Have a network and its layers be written down when they are called, with their weights."""
    write = follower.trace.events.append

    def entered(*_args: Any) -> None:
        write(("enter", name, follower.held(network)))

    def layer_entered(layer: Any, *_args: Any) -> None:
        write(("layer", name, follower.held(layer, recurse=False)))

    def layer_left(*_args: Any) -> None:
        write(("left", name, 0))

    for layer in network.modules():
        if follower.held(layer, recurse=False):
            layer.register_forward_pre_hook(layer_entered)
            layer.register_forward_hook(layer_left)
    if name == VAE:
        decode = network.decode

        def entered_and_decoded(*args: Any, **kwargs: Any) -> Any:
            entered()
            return decode(*args, **kwargs)

        network.decode = entered_and_decoded
    else:
        network.register_forward_pre_hook(entered)


class _Replay:
    """What is allocated when a call is made again with weights that are kept in a certain way.

    With `model-offload` a network's weights are there from its call to that of the next one. With
    `group-offload` they are those of the layers that are being called, each with tensors of its
    own, and of the next one: diffusers learns the order in the first call of a network, which the
    VAE has not (`hooks/group_offloading.py`). The stream that copies them has segments of its own.
    The denoiser's quantized matrices are brought back to the precision one by one, for each
    product.
    """

    def __init__(
        self, trace: Trace, precision: str, switches: Collection[str], memory: Allocator
    ) -> None:
        self.memory = memory
        self._trace, self._item = trace, ITEM_BYTES[precision]
        self._format = next((QUANTIZED[s] for s in switches if s in QUANTIZED), None)
        self._by_layer = GROUP_OFFLOAD in switches
        self._layers: list[tuple[str, int, Mapping[int, int]]] = []
        self._calling: list[int] = []
        self._next = self._fetched = call = 0
        for kind, name, what in trace.events:
            call += kind == "enter"
            if kind == "layer":
                self._layers.append((name, call, what))
        self._resident: Mapping[int, int] = {}
        self._moved: set[int] = set()
        if any(switch in OFFLOADS for switch in switches):
            entered = (what for kind, _, what in trace.events if kind == "enter")
            self._moved = set().union(*trace.weights.values(), *entered)
        else:
            for weights in trace.weights.values():
                self._take(weights)

    def run(self) -> Peaks:
        """Do all that the call did."""
        act = {"enter": self._enter, "layer": self._layer, "left": self._left}
        for kind, number, what in self._trace.events:
            if kind in act:
                act[kind](what)
            elif number not in self._moved:
                self.memory.take(number, what) if kind == "take" else self.memory.give(number)
        return Peaks(self.memory.peak_allocated, self.memory.peak_reserved)

    def _take(self, weights: Mapping[int, int], turn: int = 0, stream: str = "") -> None:
        """Have weights on the device; a layer that is called again has others by turn."""
        for number, size in weights.items():
            if self._format and number in self._trace.matrices:
                size = BYTES_OF_FORMAT[self._format](*self._trace.matrices[number], self._item)
            self.memory.take((number, turn) if turn else number, size, stream)

    def _give(self, weights: Mapping[int, int], turn: int = 0) -> None:
        for number in weights:
            self.memory.give((number, turn) if turn else number)

    def _enter(self, weights: Mapping[int, int]) -> None:
        if self._moved and not self._by_layer:
            self._give(self._resident)
            self._resident = weights
            self._take(weights)

    def _layer(self, weights: Mapping[int, int]) -> None:
        turn = self._next
        self._calling.append(turn)
        self._next += 1
        if self._by_layer:
            self._fetch(turn)
            name, call, _ = self._layers[turn]
            following = self._layers[turn + 1 : turn + 2]
            if name != VAE and following and following[0][1] == call:
                self._fetch(turn + 1)
        if self._format:
            for number in self._trace.matrices.keys() & weights.keys():
                self.memory.take("unpacked", self._item * math.prod(self._trace.matrices[number]))

    def _fetch(self, turn: int) -> None:
        if turn >= self._fetched:
            name, _, weights = self._layers[turn]
            self._take(weights, turn, name)
            self._fetched = turn + 1

    def _left(self, _: Any) -> None:
        self.memory.give("unpacked")
        turn = self._calling.pop()
        if self._by_layer:
            self._give(self._layers[turn][2], turn)


def predict_peaks(
    trace: Trace, precision: str, switches: Collection[str], memory: Allocator | None = None
) -> Peaks:
    """Return what `memory` (without: a GPU's, as much as is needed) holds at most, with weights
    that are kept as `switches` say."""
    return _Replay(trace, precision, switches, memory or Allocator()).run()


def predict_rows(model: Outline, generation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table `predicted_memory` of a model, at the size of `generation`.

    Raises:
        UserError: as `Outline.of` does.
    """
    # What is published in bf16 overflows in fp16.
    precisions = [p for p in DTYPES if not (p == "fp16" and model.architecture.stored == "bf16")]
    for batch, precision in itertools.product(BATCHES, precisions):
        if precision != "bf16" or "fp16" not in precisions or not _as_in_fp16(model):
            traces: dict[str, Trace] = {}
        for options in OPTIONS:
            way = Variant(model.architecture.path.stem, "gpu", "pytorch", precision, options)
            if why_not(model, way) is not None:
                continue
            alone = {"vae-slicing"} if batch == 1 else set()  # slices of one image: none
            computed = format_options(s for s in way.switches if s in set(COMPUTED) - alone)
            if computed not in traces:
                alike = Variant(way.model, way.device, way.backend, precision, computed)
                traces[computed] = trace_call(model, alike, generation, batch)
            peaks = predict_peaks(traces[computed], precision, way.switches)
            yield {
                "model": way.model,
                "width": generation["width"],
                "height": generation["height"],
                "precision": precision,
                "options": options,
                "batch": batch,
                "predicted_allocated_bytes": peaks.allocated,
                "predicted_reserved_bytes": peaks.reserved,
            }


def _as_in_fp16(model: Outline) -> bool:
    """Say whether bf16 takes what fp16 does: no part is in fp32 in one of them alone."""
    kept = any(getattr(n, "_keep_in_fp32_modules", None) for n in model.networks.values())
    return not kept and not model.architecture.family.upcasts(
        _cast(model.networks["vae"], torch.float16)
    )


def why_not(model: Outline, way: Variant) -> str | None:
    """Say why a model cannot run in a way on a CUDA GPU; None if it can."""
    family, vae = model.architecture.family, model.networks["vae"]
    refused = (family.unsupported[s] for s in way.switches if s in family.unsupported)
    if (reason := why_absent(way, "cuda") or next(refused, None)) is not None:
        return reason
    if way.precision == "fp16" and INT8 in way.switches:
        return "torchao's 8-bit weights overflow in fp16"
    if GROUP_OFFLOAD in way.switches and family.upcasts(_cast(vae, DTYPES[way.precision])):
        return "the weights of the VAE are cast for every image, which group-offload would undo"
    return None
