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
INT8, NF4 = "int8-weights", "nf4-weights"
MODEL_OFFLOAD, GROUP_OFFLOAD = "model-offload", "group-offload"
COMPILE = "compile"
TENSORRT = "tensorrt"
TUNED = "tuned"

INT8_GRAPHS = "-int8"
"""What the folder of exported networks with int8 weights ends with."""

EXCLUDING = {
    ("attention-vanilla", "attention-sliced", FUSED_QKV): (
        "each selects an attention implementation, and fused-qkv uses SDPA"
    ),
    (INT8, "fp8-weights", NF4): "weights can have only one format",
    (INT8, TENSORRT): "the graphs with int8 weights use operators that only ONNX Runtime has",
    (MODEL_OFFLOAD, GROUP_OFFLOAD, COMPILE): (
        "offloading moves weights, but CUDA graphs and a second kind of offloading need fixed "
        "addresses"
    ),
    (NF4, GROUP_OFFLOAD): "diffusers cannot offload the NF4 weights of torchao layer by layer",
    (TENSORRT, TUNED): "there is no settings search for TensorRT",
}
"""Options that exclude each other, and why."""

PYTORCH = {"pytorch": tuple(KINDS)}


@dataclass(frozen=True)
class Option:
    """A named switch of a case, measured against its absence.

    `does`: one sentence, which schema and docs show. `backends`: those that have it, each with the
    kinds of device on which it does; `no_kind`: why on no other kind; `no_backend`: why no other
    backend, where that is not plain; `no_precision`: precisions that have no use for it, and why.
    `changes_image`: whether it computes something else, so that the image differs by more than
    rounding in another order.
    """

    name: str
    does: str
    backends: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PYTORCH)
    no_kind: str = ""
    no_backend: str = ""
    no_precision: Mapping[str, str] = field(default_factory=dict)
    changes_image: bool = False

    def excluded(self) -> dict[str, str]:
        """Return the options that cannot be combined with this one, each with the reason."""
        groups = {group: reason for group, reason in EXCLUDING.items() if self.name in group}
        return {o: reason for group, reason in groups.items() for o in group if o != self.name}

    def why_not(self, backend: str, precision: str, kind: str) -> str | None:
        """Say why a backend does not have it in a precision on a kind of device; None if it has."""
        if precision in self.no_precision:
            return self.no_precision[precision]
        if backend not in self.backends:
            has = f"{self.name} is an option of {' and '.join(self.backends)}, not of {backend}"
            return f"{has}: {self.no_backend}" if self.no_backend else has
        kinds = self.backends[backend]
        if kind not in kinds:
            return f"{self.name} of {backend} runs only on {' and '.join(kinds)}: {self.no_kind}"
        return None


OFFLOAD = {"pytorch": tuple(name for name, kind in KINDS.items() if not kind.no_offload)}
EXPORTED_ON_CPU = {"onnxruntime": ("cpu",), "openvino": ("cpu",)}
NO_OFFLOAD = "offloading needs a device with separate memory; " + "; ".join(
    dict.fromkeys(kind.no_offload for kind in KINDS.values() if kind.no_offload)
)

_ALL = (
    Option(
        AUTOCAST,
        "PyTorch runs selected operators in half precision: that of the weights, or with fp32 "
        "weights fp16 on a GPU and bf16 on a CPU.",
        no_precision={
            "tf32": "autocast runs matrix products in half precision, so TF32 has no effect"
        },
        changes_image=True,
    ),
    Option(
        "attention-vanilla",
        "Attention without a fused kernel in denoiser and VAE: the full score matrix is in memory.",
    ),
    Option(
        "attention-sliced",
        "Attention of the denoiser in slices: only part of the score matrix is in memory. The VAE "
        "does not support slices and uses vanilla attention.",
    ),
    Option(
        FUSED_QKV,
        "One matrix product for query, key and value (in cross-attention, for key and value) in "
        "denoiser and VAE, then SDPA.",
    ),
    Option("vae-slicing", "The VAE decodes the images of a batch one after the other."),
    Option(
        VAE_TILING,
        "The VAE decodes overlapping tiles of at most half the image's longer side and blends "
        "them.",
        changes_image=True,
    ),
    Option("channels-last", "Denoiser and VAE use PyTorch's channels-last memory format."),
    Option(
        INT8,
        "Weights of the denoiser's linear layers are stored as 8-bit integers.",
        PYTORCH | EXPORTED_ON_CPU,
        no_kind="only the CPU engine has the quantized operators",
        changes_image=True,
    ),
    Option(
        "fp8-weights",
        "Weights of the denoiser's linear layers are stored in 8-bit floating point.",
        {"pytorch": ("cuda",)},
        no_kind="fp8 needs a CUDA GPU with compute capability 8.9 or higher",
        changes_image=True,
    ),
    Option(
        NF4,
        "Weights of the denoiser's linear layers are stored in 4 bits (NF4 of QLoRA).",
        changes_image=True,
    ),
    Option(
        MODEL_OFFLOAD,
        "Weights stay in host memory; each network is moved to the GPU when it is called.",
        OFFLOAD,
        no_kind=NO_OFFLOAD,
    ),
    Option(
        GROUP_OFFLOAD,
        "Weights stay in host memory; each layer is moved to the GPU while the one before it runs.",
        OFFLOAD,
        no_kind=NO_OFFLOAD,
    ),
    Option(
        COMPILE,
        "`torch.compile` compiles the denoiser and the VAE decoder, each as one graph.",
    ),
    Option(
        TENSORRT,
        "ONNX Runtime uses its TensorRT provider instead of its CUDA provider.",
        {"onnxruntime": ("cuda",)},
        no_kind="TensorRT runs only on CUDA GPUs",
    ),
    Option(
        TUNED,
        "The engine uses the best settings that a search on this machine found.",
        EXPORTED_ON_CPU,
        no_kind="only the settings of the CPU engine are searched",
        no_backend="its settings are separate options",
    ),
)
OPTIONS = {option.name: option for option in _ALL}
"""Every option by its name, in the order in which a set of them is written."""

SWITCHES = tuple(OPTIONS)
ATTENTION = {
    name: name.removeprefix("attention-") for name in OPTIONS if name.startswith("attention-")
}
"""Options that choose an attention implementation, and what tables call it."""
QUANTIZED = {name: name.removesuffix("-weights") for name in OPTIONS if name.endswith("-weights")}
"""Options that keep the weights of linear layers in eight or four bits, and their format."""
OFFLOADS = (MODEL_OFFLOAD, GROUP_OFFLOAD)
"""Options that keep weights in the machine's memory until the GPU computes with them."""


def parse_options(text: str) -> tuple[str, ...]:
    """Return the switches in `text`; `ValueError` if one is unknown or repeated."""
    switches = [] if text == NONE else text.split("+")
    if unknown := [switch for switch in switches if switch not in OPTIONS]:
        raise ValueError(f"unknown option {unknown[0]!r}")
    if len(set(switches)) != len(switches):
        raise ValueError(f"repeated option in {text!r}")
    return tuple(sorted(switches, key=SWITCHES.index))


def format_options(switches: Iterable[str]) -> str:
    """Return the one spelling of a set of switches: the reverse of `parse_options`."""
    return "+".join(sorted(switches, key=SWITCHES.index)) or NONE
