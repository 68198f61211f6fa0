"""How names, numbers and settings of the tables are written in a figure."""

import re
import textwrap
from collections.abc import Iterable
from typing import Any

from sdbench.cases.measuring import CONVOLUTION, PRODUCT
from sdbench.cases.options import NONE
from sdbench.tables.published import Condition

BACKENDS = {
    "pytorch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "oneflow": "OneFlow",
    "stable-fast": "Stable Fast",
    "onediff": "OneDiff",
    "comfyui": "ComfyUI",
    "coreml": "Core ML",
}
STATUSES = {"oom": "out of memory", "unsupported": "not supported", "error": "failed: see its log"}
ATTENTION = {
    "sdpa": "SDPA attention",
    "vanilla": "vanilla attention",
    "sliced": "sliced attention",
    "xformers": "xFormers attention",
    "fused": "fused attention",
}
PEAKS = {PRODUCT: "product", CONVOLUTION: "convolution"}
"""What reached the peak of a device, where there is little room."""
SCHEDULERS = {
    "ddim": "DDIM",
    "pndm": "PNDM",
    "euler": "Euler",
    "euler-ancestral": "Euler ancestral",
    "dpmsolver": "DPM-Solver",
    "lcm": "LCM",
}

_NOISE = (
    r"\((R|TM)\)",
    r"^NVIDIA ",
    r"^GeForce ",
    r"\s(CPU|Processor)?\s*@.*$",
    r"\sCPU$",
    r"\s\d+-Core Processor$",
    r"\sProcessor$",
)
TIMES = "\N{MULTIPLICATION SIGN}"
LONGEST = 60
"""Characters of a name before its middle is left out."""


def device_label(name: str) -> str:
    """Return a device's name without what all of its kind are called, and not endlessly long."""
    # A processor has its extensions after a comma.
    parts = name.split(", ")
    for noise in _NOISE:
        parts = [re.sub(noise, "", part) for part in parts]
    return shorten(" ".join(", ".join(parts).split()))


def shorten(name: str, longest: int = LONGEST) -> str:
    """Leave the middle out of a name of more than `longest` characters: ends tell names apart."""
    if len(name) <= longest:
        return name
    keep = longest - 1
    return f"{name[: keep - keep // 2]}…{name[-(keep // 2) :]}"


def backend_label(name: str) -> str:
    """Return how a backend writes its own name."""
    return BACKENDS.get(name, name)


def options_label(options: str | None) -> str:
    """Return options one after the other; nothing where there are none."""
    return "" if options in (None, NONE) else options.replace("+", ", ")


def variant_label(precision: str, backend: str, options: str | None, device: str = "") -> str:
    """Name a variant by how it was run, and by its device if one is given."""
    place = f"on {shorten(device, 24)}" if device else ""
    parts = (precision, backend_label(backend), options_label(options), place)
    return ", ".join(filter(None, parts))


def condition_label(condition: Condition) -> str:
    """Say in one line what was generated."""
    scheduler = SCHEDULERS.get(condition.scheduler, condition.scheduler)
    guided = "" if condition.guided else ", no guidance"
    return (
        f"{shorten(condition.family)}, {condition.width} {TIMES} {condition.height} px, "
        f"{condition.steps} steps {scheduler}{guided}"
    )


def status_label(status: str, reason: str) -> str:
    """Say in a few words why there is no number."""
    text = STATUSES.get(status, status)
    if status == "unsupported" and reason:
        return f"{text}: {textwrap.shorten(reason, 70, placeholder=' …')}"
    return text


def number(value: float) -> str:
    """Return a number with three significant digits, never in powers of ten.

    >>> number(0.4567), number(9.996), number(26.3), number(458.97), number(12345.0)
    ('0.457', '10.0', '26.3', '459', '12345')
    """
    size = abs(float(f"{value:.3g}"))
    digits = next((digits for digits in range(6) if size >= 10 ** (2 - digits)), 6)
    return f"{value:.{digits}f}" if value else "0"


def published_number(value: float) -> str:
    """Return a published number as it was printed, of at most four significant digits."""
    return f"{value:.4g}"


def listing(items: Iterable[Any]) -> str:
    """Return the distinct items, in their order, as `a, b and c`."""
    texts = list(dict.fromkeys(str(item) for item in items))
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def plural(count: int, noun: str) -> str:
    """Return `1 row` or `2 rows`."""
    many = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count} {noun if count == 1 else many}"
