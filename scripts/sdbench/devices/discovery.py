"""Which devices this machine has, for `devices: auto`.

Pure and light, for the Snakefile: the drivers' tools and Linux are asked, and PyTorch's build is
read from its files. PyTorch is not imported, which takes seconds.
"""

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.cases.kinds import AMD, INTEL, apple_gpus, ask_nvidia, drm_gpus
from sdbench.devices.machine import cpu_name
from sdbench.runtime.errors import UserError

NVIDIA = "0x10de"
PCI = Path("/sys/bus/pci/devices")
DISPLAY = "0x03"
"""How the PCI class of a graphics processor begins."""

MAKERS = re.compile(r"NVIDIA|GeForce|AMD|Radeon|Instinct|Intel|Graphics|\(R\)|\(TM\)|Corporation")
"""Words of a GPU's name that say nothing within one machine."""

ENVIRONMENT = "SDBENCH_DEVICES"
"""The variable that hands what was found to the jobs of a run, which read the Snakefile again."""


@dataclass(frozen=True)
class TorchBuild:
    """What an installed PyTorch was built for: versions such as `13.0`, None without."""

    version: str
    cuda: str | None
    hip: str | None
    xpu: str | None


@dataclass(frozen=True)
class Found:
    """The devices of this machine: entries of the config by name, and a line for each that is left
    out, with the reason and the remedy."""

    devices: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """A GPU that PyTorch can see: its name, and its number among those of its kind."""

    name: str
    kind: str
    index: int


def torch_build() -> TorchBuild | None:
    """Return what the PyTorch of this Python was built for; None where it has none.

    Source: torch/version.py, which setup.py writes.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        text = (Path(spec.submodule_search_locations[0]) / "version.py").read_text("utf-8")
    except OSError:
        return None

    def value(name: str) -> str | None:
        found = re.search(rf"^{name}\b[^=\n]*= *['\"]([^'\"]*)['\"]", text, re.MULTILINE)
        return found[1] if found else None

    return TorchBuild(value("__version__") or "?", value("cuda"), value("hip"), value("xpu"))


def find_devices(build: TorchBuild | None, pci: Path = PCI) -> Found:
    """Return every device of this machine that PyTorch can use: its GPUs, then the CPU.

    Of GPUs of the same name the first: the others would give the same numbers.

    Args:
        build: of the PyTorch that will run; None where each rule brings its own, which is then
            taken to be able to use what is there.
        pci: where Linux lists devices.
    """
    gpus: list[Gpu] = []
    notes: list[str] = []
    for found, note in (
        _nvidia(build, pci),
        _other(build, AMD, "AMD", "cuda", "ROCm"),
        _other(build, INTEL, "Intel", "xpu", "XPU"),
        ([Gpu(f"{cpu_name()} GPU", "mps", 0) for _ in apple_gpus()], None),
    ):
        gpus += found
        notes += [note] if note else []
    devices: dict[str, Mapping[str, Any]] = {}
    alike: dict[str, int] = {}
    for gpu in gpus:
        name = short_name(gpu.name) or gpu.kind
        alike[name] = alike.get(name, 0) + 1
        devices.setdefault(name, {"kind": gpu.kind, "index": gpu.index})
    notes += [
        f"{count} GPUs are of the model {name}: the first is measured; to measure others, name "
        "them under `devices`, each with its `index`"
        for name, count in alike.items()
        if count > 1
    ]
    return Found({**devices, "cpu": {"kind": "cpu"}}, tuple(notes))


def short_name(name: str) -> str:
    """Return a GPU's name as a name of the config: `NVIDIA GeForce RTX 3080` is `rtx-3080`."""
    return "-".join(re.findall("[a-z0-9.]+", MAKERS.sub(" ", name).lower()))[:40].strip("-.")


def found_devices(build: TorchBuild | None) -> Found:
    """Return what `find_devices` does; the jobs of a run are told what it found."""
    told = os.environ.get(ENVIRONMENT)
    if told is not None:
        return Found(**json.loads(told))
    found = find_devices(build)
    os.environ[ENVIRONMENT] = json.dumps(vars(found))
    if sum(entry["kind"] == "cuda" for entry in found.devices.values()) > 1:
        # As nvidia-smi counts them; without this, CUDA takes the fastest first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return found


def refuse_auto_elsewhere(where: str) -> UserError:
    """Return the error of a config that asks for the devices of this machine on a cluster."""
    return UserError(
        f"{where}: found auto, but jobs run on other machines than this one; allowed are named "
        "devices, such as `a100: {kind: cuda, gpu_model: a100}`: name them (docs/slurm.md)"
    )


def _nvidia(build: TorchBuild | None, pci: Path) -> tuple[list[Gpu], str | None]:
    names = _visible_to_cuda(ask_nvidia("-L"))
    if not names:
        there = _has_pci(NVIDIA, pci) and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        return [], (
            "an NVIDIA GPU is there, but its driver does not answer, so it is not measured: "
            "install the driver; `nvidia-smi` must list the GPU"
            if there
            else None
        )
    if build is not None and build.cuda is None:
        return [], (
            f"{names[0]} is not measured, because PyTorch {build.version} was built without CUDA: "
            "set up again with `rm -r .venv; make setup CUDA=1`"
        )
    driver = re.search(r"CUDA(?: UMD)? Version *: *(\d+)\.\d+", "\n".join(ask_nvidia()))
    if build is not None and build.cuda and driver:
        wanted = build.cuda.partition(".")[0]
        if int(driver[1]) < int(wanted):
            return [], (
                f"{names[0]} is not measured, because its driver supports CUDA {driver[1]} and "
                f"PyTorch {build.version} was built for CUDA {build.cuda}: update the driver, or "
                "install a PyTorch for the driver's CUDA"
            )
    return [Gpu(name, "cuda", i) for i, name in enumerate(names)], None


def _visible_to_cuda(lines: list[str]) -> list[str]:
    """Return the names of the GPUs that CUDA would count, in the order of `nvidia-smi -L`.

    Source: CUDA C++ Programming Guide, CUDA environment variables; MIG user guide.
    """
    gpus: list[tuple[str, str]] = []
    slices: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        # GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-...), and of each slice below it
        #   MIG 1g.5gb Device 0: (UUID: MIG-...)
        found = re.match(r" *(?:GPU \d+: |(?=MIG ))(.*?)(?: +Device +\d+:)? *\(UUID: (.*)\)", line)
        if found is None:
            continue
        if line.startswith("GPU "):
            gpus.append((found[1], found[2]))
        elif gpus:
            slices.setdefault(gpus[-1][1], []).append((f"{gpus[-1][0]} {found[1]}", found[2]))
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    everything = [gpu for gpu in gpus if gpu[1] not in slices]
    if wanted is None:
        # Where a GPU is cut into slices, CUDA sees the first of them and nothing else.
        cut = [part for parts in slices.values() for part in parts]
        return [name for name, _ in (cut[:1] or everything)]
    names = []
    for item in filter(None, (item.strip() for item in wanted.split(","))):
        by_number = gpus[int(item)] if item.isdecimal() and int(item) < len(gpus) else None
        all_of_them = [*everything, *(part for parts in slices.values() for part in parts)]
        match = by_number or next((gpu for gpu in all_of_them if gpu[1].startswith(item)), None)
        if match is None:
            break  # CUDA does not look at what follows what it does not know
        names.append(match[0])
    return names


def _other(
    build: TorchBuild | None, maker: str, name: str, kind: str, stack: str
) -> tuple[list[Gpu], str | None]:
    """Return the GPUs of AMD or Intel. `stack` is what PyTorch must be built for."""
    found = drm_gpus(maker)
    if not found or build is None:
        return [], None
    built = {"CUDA": build.cuda, "ROCm": build.hip, "XPU": build.xpu}
    if built[stack]:
        return [Gpu(f"{name} GPU", kind, i) for i in range(len(found))], None
    if any(built.values()):  # for another GPU; this one is the processor's own graphics
        return [], None
    return [], (
        f"the GPU of {name} ({found[0]}) is not measured, because PyTorch {build.version} was "
        f"built without {stack}: if {stack} supports it, install PyTorch's build for {stack} and "
        "set up with `make setup TORCH=system`"
    )


def _has_pci(vendor: str, pci: Path) -> bool:
    for device in pci.glob("*"):
        try:
            told = [(device / name).read_text(encoding="ascii") for name in ("vendor", "class")]
        except OSError:
            continue
        if told[0].strip() == vendor and told[1].startswith(DISPLAY):
            return True
    return False
