"""What machine this is. No torch here: the versions of libraries are read from their metadata."""

import contextlib
import os
import platform
import re
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import sdbench
from sdbench.cases.case import Device
from sdbench.cases.kinds import KINDS
from sdbench.devices.limits import (
    CPUS,
    describe_limits,
    memory_limit_bytes,
    physical_cores,
    read,
    usable_cores,
)
from sdbench.runtime.environment import done_without, preloaded, variables

LIBRARIES = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "torchao": "torchao",
    "triton": "triton",
    "pytorch-triton": "triton",
    "pytorch-triton-rocm": "triton",
    "pytorch-triton-xpu": "triton",
    "onnxruntime": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "numpy": "numpy",
    "snakemake": "snakemake",
}
"""Package -> the library that it installs, whose version is recorded."""

EXTENSIONS = ("avx", "amx", "fma", "f16c", "asimd", "sve", "bf16", "i8mm")
"""How the names of the processor extensions begin that a network's speed depends on."""


def _cpuinfo(*keys: str) -> list[str]:
    """Return what Linux says of each processor under the first of `keys` that it has."""
    lines = [line.partition(":") for line in read("/proc/cpuinfo").splitlines()]
    found = ([value.strip() for name, _, value in lines if name.strip() == key] for key in keys)
    return next(filter(None, found), [])


def cpu_name() -> str:
    """Return the processor's marketing name, or the architecture where there is none."""
    if names := _cpuinfo("model name"):
        return names[0]
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        return told.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """Return the processor's vector and matrix extensions, as Linux names them. Hosts rent out
    unlike processors under one name; these decide speed and precisions."""
    flags = _cpuinfo("flags", "Features")  # x86, ARM
    return sorted(flag for flag in " ".join(flags[:1]).split() if flag.startswith(EXTENSIONS))


_WIDEST = {
    "AVX-512": {"avx512f"},
    "AVX2": {"avx2"},
    "AVX": {"avx"},
    "SVE": {"sve"},
    "NEON": {"asimd"},
}
"""The vector extensions from wide to narrow, each with those of `EXTENSIONS` that tell."""

HALF_PRODUCTS = {
    "bf16": {"avx512_bf16", "amx_bf16", "avx_ne_convert"},
    "fp16": {"avx512_fp16", "amx_fp16", "avx_ne_convert"},
}
"""The extensions of x86 that oneDNN has kernels for in a half precision, any of which is enough.

Source: oneDNN's developer guide, "Data Types"."""

_PRODUCTS = {
    "BF16": {*HALF_PRODUCTS["bf16"], "bf16"},
    "FP16": {*HALF_PRODUCTS["fp16"], "asimdhp"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "I8MM": {"i8mm"},
    "AMX": {"amx_tile"},
}
"""What a processor has for products of small numbers, in the same form."""


def is_emulated(half: str) -> bool:
    """Tell whether this processor is known to have no instructions for a half precision."""
    features = set(cpu_features())
    return "avx" in features and not features & HALF_PRODUCTS[half]


def processor_name() -> str:
    """Return the processor's marketing name and, after a comma, the extensions by which unlike ones
    of that name differ most: `AMD EPYC, AVX-512 BF16 VNNI`. Two such processors differed by a third
    in speed."""
    features = set(cpu_features())
    widest = [name for name, telling in _WIDEST.items() if features & telling][:1]
    more = [name for name, telling in _PRODUCTS.items() if features & telling]
    return ", ".join(filter(None, (cpu_name(), " ".join(widest + more))))


def cpu_mhz() -> float | None:
    """Return the processors' mean clock now, in MHz; None where the system does not tell."""
    clocks = [float(clock) for clock in _cpuinfo("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None


VARIANTS = ("ti", "super", "laptop", "max", "d", "mig")
"""Words that make another model of a GPU whose name they follow; `mig` a slice of one."""

_VARIANTS_OR_SIZES = re.compile(f"(?:{'|'.join(VARIANTS)})+|[0-9]+g")
"""How a promised name says such words: `3080ti`, `4070tisuper`, and `3g` of a slice."""


def is_gpu_model(promised: str, found: str) -> bool:
    """Tell whether a GPU's name is that of the `gpu_model` that the config promises; empty is any.

    Clusters write a model in words of their own: `rtx3090` is an `NVIDIA GeForce RTX 3090`, and
    `a100_80gb` an `NVIDIA A100 80GB PCIe`. It is no `NVIDIA GeForce RTX 3090 Ti`, `a10` is no
    `NVIDIA A100`, and `a100` no slice of one (`NVIDIA A100-SXM4-40GB MIG 1g.5gb`).
    """
    parts, words = (re.findall("[a-z0-9]+", name.lower()) for name in (promised, found))
    spans = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return not promised or (_variants(parts) == _variants(words) and spans.issuperset(parts))


def _variants(words: list[str]) -> set[str]:
    """Return those of `VARIANTS` that the words of a GPU's name say."""
    tokens = [token for word in words for token in re.findall("[a-z]+|[0-9]+g?(?![a-z])", word)]
    said = [token for token in tokens if _VARIANTS_OR_SIZES.fullmatch(token)]
    slices = {"mig"} if any(token[0].isdigit() for token in said) else set()
    return slices.union(*(re.findall("|".join(VARIANTS), token) for token in said))


STAT = Path("/proc/stat")
WATCH_S = 0.5  # while this process sleeps: what is busy is another


def busy_cores(watch_s: float = WATCH_S, stat: Path = STAT) -> float | None:
    """Return how many processors were busy, on average, while this process slept `watch_s` seconds;
    None where the system does not tell (man 5 proc, /proc/stat)."""
    try:
        before, _ = _ticks(stat)
        time.sleep(watch_s)
        after, processors = _ticks(stat)
    except (OSError, ValueError):
        return None
    spent = [end - begin for begin, end in zip(before, after, strict=True)]
    total, idle = sum(spent), spent[3] + spent[4]
    return processors * (total - idle) / total if total else 0.0


def _ticks(stat: Path) -> tuple[list[int], int]:
    """Return the ticks of all processors together, by what they did, and how many there are."""
    text = stat.read_text(encoding="ascii")
    _, *ticks = text.split("\n", 1)[0].split()
    # Guest time, the last two, is in user time already.
    return [int(count) for count in ticks[:8]], len(re.findall(r"^cpu\d", text, re.M))


def identify_machine(device: Device) -> dict[str, Any]:
    """Return what of this machine decides a number: another one makes records of its own."""
    machine = describe_machine(device)
    cpu, libraries = machine["cpu"], machine["libraries"]
    limits = {k: v for k, v in machine["limits"].items() if k != "affinity"}
    if machine["slurm_job"]:  # which is given more when it is tried again
        del limits["memory_bytes"]
    return {
        "cpu": cpu["name"],
        "features": cpu["features"],
        "cores_usable": cpu["cores_usable"],
        # Not which ones: a cluster may give a job others the next time.
        "cores_physical": cpu["cores_physical"],
        "limits": limits,
        "variables": machine["variables"],
        "preloaded": machine["preloaded"],
        "python": machine["python"].rpartition(".")[0],
        # Our own code is known by its digest, and Snakemake measures nothing.
        "libraries": {k: v for k, v in libraries.items() if k not in ("snakemake", "sdbench")},
        # Each model once: a cluster may give a job another GPU of the same model the next time.
        "gpus": sorted(set(KINDS[device.kind].gpus() or [])),
    }


def missing_device(device: Device) -> str | None:
    """Say what is wrong with a device of the config on this machine; None if it is there."""
    gpus = KINDS[device.kind].gpus()
    if not KINDS[device.kind].is_gpu or gpus is None or device.index < len(gpus):
        return None
    return (
        f"found {device.index}, but this machine has {len(gpus)} GPU(s) of kind {device.kind}: "
        "run on a machine that has it, or leave the device out of the matrix"
    )


def machine_bytes() -> int:
    """Return the bytes of memory that the machine has; in a container what it may hold of them."""
    installed = _installed_bytes()
    return min(installed, memory_limit_bytes() or installed)


def _installed_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def budget_bytes(device: Device, granted: int | None = None) -> int | None:
    """Return the bytes that a process may hold resident on a device: the `memory_budget_gb` of a
    CPU; where it is 0, half of the machine's memory, or of the `granted` bytes that a cluster gives
    the job; None on a GPU, which has a limit of its own."""
    if KINDS[device.kind].is_gpu:
        return None
    machine = machine_bytes()
    return int(device.memory_budget_gb * 1e9) or min(machine, granted or machine) // 2


def describe_machine(device: Device) -> dict[str, Any]:
    """Return what is known of this machine before a device of it is in use: a GPU says its name
    when it is, until then None."""
    libraries = {"sdbench": sdbench.__version__}
    for package, library in LIBRARIES.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            libraries[library] = metadata.version(package)
    return {
        "host": socket.gethostname(),
        "device_name": None if KINDS[device.kind].is_gpu else processor_name(),
        "cpu": {
            "name": cpu_name(),
            "architecture": platform.machine(),
            "features": cpu_features(),
            "cores": os.cpu_count(),
            "cores_usable": usable_cores(),
            "cores_physical": physical_cores(),
            "governor": read(CPUS / "cpu0/cpufreq/scaling_governor") or None,
            "memory_bytes": _installed_bytes(),
        },
        "system": platform.platform(),
        "limits": describe_limits(),
        "variables": variables(),
        "done_without": dict(done_without),
        "preloaded": preloaded(),
        "container": Path("/.dockerenv").exists() or "container" in os.environ,
        # Where a cluster put the job, and which GPUs it gave it; None on a machine of one's own.
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_node": os.environ.get("SLURMD_NODENAME"),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "python": platform.python_version(),
        "libraries": libraries,
    }
