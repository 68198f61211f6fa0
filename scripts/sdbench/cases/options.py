"""The options of a case: one object each, from which schema, docs and absence follow.

To add one: an entry of `OPTIONS`, the code of the backends that have it, and `make docs`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sdbench.cases.kinds import KINDS

NONE = "none"
AUTOCAST = "autocast"
FUSED_QKV = "fused-qkv"
VAE_TILING = "vae-tiling"
INT8 = "int8-weights"
MODEL_OFFLOAD, GROUP_OFFLOAD = "model-offload", "group-offload"
COMPILE = "compile"
TENSORRT = "tensorrt"
TUNED = "tuned"

INT8_GRAPHS = "-int8"
"""What the folder of exported networks with int8 weights ends with."""

ANY_KIND = tuple(KINDS)
OWN_MEMORY = tuple(name for name, kind in KINDS.items() if not kind.no_offload)
"""Kinds of device whose memory is not the machine's."""

# Why options exclude each other: those that name the same reason do.
ONE_ATTENTION = "each has an attention of its own, which in fused-qkv is SDPA"
ONE_FORMAT = "a weight has one format"
FIXED_PLACE = (
    "weights that are moved have no fixed place, which CUDA graphs and a second mover need"
)
NF4_MOVES = "diffusers does not move torchao's NF4 layer by layer"
INT8_OPERATORS = "the graphs with int8 weights hold operators of ONNX Runtime's own"
TENSORRT_TUNED = "no settings of TensorRT are searched"


@dataclass(frozen=True)
class Option:
    """A named switch of a case, measured against its absence.

    `does`: one sentence, which schema and docs show. `backends`: those that have it, each with the
    kinds of device on which it does; `no_kind`: why on no other kind; `no_backend`: why no other
    backend, where that is not plain; `no_precision`: precisions that have no use for it, and why.
    `excludes`: reasons; two options that share one exclude each other. `graphs`: what the folder
    of the exported networks that it reads ends with. `changes_image`: whether it computes something
    else, so that the image differs by more than what the order of roundings makes.

    `attention`: the attention implementation that it chooses, as tables call it. `weights`: the
    format in which it keeps the weights of the denoiser's linear layers. `offloads`: whether it
    keeps weights in the machine's memory until the GPU computes with them.
    """

    name: str
    does: str
    backends: Mapping[str, tuple[str, ...]]
    no_kind: str = ""
    no_backend: str = ""
    no_precision: Mapping[str, str] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    graphs: str = ""
    changes_image: bool = False
    attention: str | None = None
    weights: str | None = None
    offloads: bool = False

    def excluded(self) -> dict[str, str]:
        """Return the options that cannot be combined with this one, each with the reason."""
        return {
            other.name: reason
            for reason in self.excludes
            for other in OPTIONS.values()
            if reason in other.excludes and other is not self
        }

    def why_not(self, backend: str, precision: str, kind: str) -> str | None:
        """Say why a backend does not have it in a precision on a kind of device; None if it has."""
        if precision in self.no_precision:
            return self.no_precision[precision]
        if backend not in self.backends:
            has = f"{self.name} is a switch of {' and '.join(self.backends)}, not of {backend}"
            return f"{has}: {self.no_backend}" if self.no_backend else has
        kinds = self.backends[backend]
        if kind not in kinds:
            return f"{self.name} of {backend} runs on {' and '.join(kinds)} alone: {self.no_kind}"
        return None


PYTORCH = {"pytorch": ANY_KIND}
OFFLOAD = {"pytorch": OWN_MEMORY}
EXPORTED_ON_CPU = {"onnxruntime": ("cpu",), "openvino": ("cpu",)}
NO_OFFLOAD = "weights wait in another memory than the device's; " + "; ".join(
    dict.fromkeys(kind.no_offload for kind in KINDS.values() if kind.no_offload)
)

_ALL = (
    Option(
        AUTOCAST,
        "PyTorch chooses operators to run in half precision: that of the weights, or for fp32 "
        "weights fp16 on a GPU and bf16 on a CPU.",
        PYTORCH,
        no_precision={
            "tf32": "autocast runs matrix products in half precision, which leaves TF32 nothing to "
            "do"
        },
        changes_image=True,
    ),
    Option(
        "attention-vanilla",
        "Attention without a fused kernel, in denoiser and VAE: the whole matrix of scores is in "
        "memory at once.",
        PYTORCH,
        excludes=(ONE_ATTENTION,),
        attention="vanilla",
    ),
    Option(
        "attention-sliced",
        "Attention of the denoiser in slices, so that only a part of the scores is in memory at "
        "once; the VAE has no such form and is vanilla.",
        PYTORCH,
        excludes=(ONE_ATTENTION,),
        attention="sliced",
    ),
    Option(
        FUSED_QKV,
        "One matrix product for query, key and value (in cross-attention for key and value) of "
        "denoiser and VAE, then SDPA.",
        PYTORCH,
        excludes=(ONE_ATTENTION,),
    ),
    Option(
        "vae-slicing",
        "The VAE decodes one image of a batch after another.",
        PYTORCH,
    ),
    Option(
        VAE_TILING,
        "The VAE decodes tile by tile, at most half of the image's longer side each, and blends "
        "them where they overlap.",
        PYTORCH,
        changes_image=True,
    ),
    Option(
        "channels-last",
        "Denoiser and VAE keep their tensors in PyTorch's channels-last memory format.",
        PYTORCH,
    ),
    Option(
        INT8,
        "The weights of the denoiser's linear layers are kept in 8-bit integers.",
        PYTORCH | EXPORTED_ON_CPU,
        no_kind="what is quantized are operators that its CPU engine has",
        excludes=(ONE_FORMAT, INT8_OPERATORS),
        graphs=INT8_GRAPHS,
        changes_image=True,
        weights="int8",
    ),
    Option(
        "fp8-weights",
        "The weights of the denoiser's linear layers are kept in 8-bit floating point.",
        {"pytorch": ("cuda",)},
        no_kind="fp8 is a format of CUDA GPUs of compute capability 8.9 and up",
        excludes=(ONE_FORMAT,),
        changes_image=True,
        weights="fp8",
    ),
    Option(
        "nf4-weights",
        "The weights of the denoiser's linear layers are kept in 4 bits (NF4 of QLoRA).",
        PYTORCH,
        excludes=(ONE_FORMAT, NF4_MOVES),
        changes_image=True,
        weights="nf4",
    ),
    Option(
        MODEL_OFFLOAD,
        "Weights wait in the machine's memory; each network is moved to the GPU when it is called.",
        OFFLOAD,
        no_kind=NO_OFFLOAD,
        excludes=(FIXED_PLACE,),
        offloads=True,
    ),
    Option(
        GROUP_OFFLOAD,
        "Weights wait in the machine's memory; each layer is moved to the GPU while the one before "
        "computes.",
        OFFLOAD,
        no_kind=NO_OFFLOAD,
        excludes=(FIXED_PLACE, NF4_MOVES),
        offloads=True,
    ),
    Option(
        COMPILE,
        "Denoiser and the VAE's decoder are compiled by `torch.compile`, each as one graph.",
        PYTORCH,
        excludes=(FIXED_PLACE,),
    ),
    Option(
        TENSORRT,
        "ONNX Runtime runs the networks with its TensorRT provider in place of its CUDA one.",
        {"onnxruntime": ("cuda",)},
        no_kind="TensorRT runs on CUDA GPUs alone",
        excludes=(INT8_OPERATORS, TENSORRT_TUNED),
    ),
    Option(
        TUNED,
        "The engine runs with the settings that a search on this machine found best.",
        EXPORTED_ON_CPU,
        no_kind="the settings that are searched are those of its CPU engine",
        no_backend="the settings that it has are options of their own",
        excludes=(TENSORRT_TUNED,),
    ),
)
OPTIONS = {option.name: option for option in _ALL}
"""Every option by its name, in the order in which a set of them is written."""

SWITCHES = tuple(OPTIONS)
ATTENTION = {o.name: o.attention for o in _ALL if o.attention}
"""Options that choose an attention implementation, and what tables call it."""
QUANTIZED = {o.name: o.weights for o in _ALL if o.weights}
"""Options that keep the weights of linear layers in eight or four bits, and their format."""
OFFLOADS = tuple(o.name for o in _ALL if o.offloads)
"""Options that keep weights in the machine's memory until the GPU computes with them."""


def parse_options(text: str) -> tuple[str, ...]:
    """Return the switches of `"autocast+vae-slicing"`; `"none"` has none.

    Raises:
        ValueError: if a switch is unknown or repeated.
    """
    switches = () if text == NONE else tuple(text.split("+"))
    for switch in switches:
        if switch not in OPTIONS:
            raise ValueError(f"unknown option {switch!r}")
    if len(set(switches)) != len(switches):
        raise ValueError(f"option repeated in {text!r}")
    return tuple(sorted(switches, key=SWITCHES.index))


def format_options(switches: Iterable[str]) -> str:
    """Return the one spelling of a set of switches: the reverse of `parse_options`."""
    return "+".join(sorted(switches, key=SWITCHES.index)) or NONE
