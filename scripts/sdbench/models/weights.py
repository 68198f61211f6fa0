"""How many bytes a model's weights take, by component, precision and options: from shapes alone, so
that a model that was never loaded has its numbers too."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sdbench.cases.options import GROUP_OFFLOAD, MODEL_OFFLOAD, OFFLOADS, QUANTIZED

Components = Mapping[str, Mapping[str, Any]]
"""What `describe_component` returns, by name of the component."""
ITEM_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2}
"""Bytes of a number in each precision. TF32 is a mode of the product: it is stored as fp32."""
NF4_BLOCK = 64
"""Weights that share a scale in NF4 (Dettmers et al. 2023, QLoRA)."""


def nf4_scales_block(blocks: int) -> int:
    """Return how many scales are quantized together: 256 as in QLoRA, or what divides them all."""
    return math.gcd(blocks, 256)


def _nf4(rows: int, columns: int, item_bytes: int) -> int:
    numbers = rows * columns
    if numbers % NF4_BLOCK:
        return numbers * item_bytes
    blocks = numbers // NF4_BLOCK
    # Two weights in a byte; a scale of eight bits for each block; a factor for scales that are
    # quantized together; their mean, and the sixteen values that there are.
    return numbers // 2 + blocks + item_bytes * (blocks // nf4_scales_block(blocks) + 1 + 16)


BYTES_OF_FORMAT: dict[str, Callable[[int, int, int], int]] = {
    # torchao: a scale in fp32 for each row, and for int8 a zero point of eight bits.
    "int8": lambda rows, columns, _item_bytes: rows * (columns + 4 + 1),
    "fp8": lambda rows, columns, _item_bytes: rows * (columns + 4),
    "nf4": _nf4,
}
"""Format of a quantized matrix -> its bytes by rows, columns and bytes of an unquantized number."""


def weight_bytes(
    components: Components, precision: str, switches: Collection[str]
) -> dict[str, int]:
    """Return the bytes of each component's weights once loaded; of the options, some quantize."""
    item = ITEM_BYTES[precision]
    quantized = next((QUANTIZED[switch] for switch in switches if switch in QUANTIZED), None)
    sizes = {}
    for name, component in components.items():
        size = component["parameters"] * item
        if precision == "fp16":
            size += component.get("kept_in_fp32", 0) * (ITEM_BYTES["fp32"] - item)
        if quantized and component["denoiser"]:
            size += sum(
                count * (BYTES_OF_FORMAT[quantized](rows, columns, item) - rows * columns * item)
                for rows, columns, count in component["matrices"]
            )
        sizes[name] = size
    return sizes


def device_bytes(components: Components, precision: str, switches: Collection[str]) -> int:
    """Return the bytes of weights that must be on the device at one time.

    All of them; with `model-offload` those of the largest component; with `group-offload` twice the
    largest tensor, since the next one is on its way while one computes; that one as if it were not
    quantized, which it is not where it is an embedding. What is computed with them comes on top.
    """
    sizes = weight_bytes(components, precision, switches)
    if MODEL_OFFLOAD in switches:
        return max(sizes.values())
    if GROUP_OFFLOAD in switches:
        return 2 * ITEM_BYTES[precision] * max(int(c["largest"]) for c in components.values())
    return sum(sizes.values())


def host_bytes(components: Components, precision: str, switches: Collection[str]) -> int:
    """Return the bytes that weights take in the machine's memory while they wait there.

    0 without offload. With `group-offload` it is pinned memory, of which PyTorch takes a power of
    two for each tensor: half again as much for FLUX.1. A quantized tensor is taken to be rounded by
    the same share as it would be without.
    """
    if not any(switch in OFFLOADS for switch in switches):
        return 0
    sizes = weight_bytes(components, precision, switches)
    if GROUP_OFFLOAD not in switches:
        return sum(sizes.values())
    return sum(
        math.ceil(size * components[name]["pinned"] / components[name]["parameters"])
        for name, size in sizes.items()
    )
