"""The kinds of device: what is known of each before one is touched.

`platforms` has, under the same names, what a device can be asked once it is in use.
"""

import contextlib
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DRM = Path("/sys/class/drm")
DRIVER_S = 60
"""Seconds that a driver may take to answer: it starts for the question, one GPU after the other."""
AMD, INTEL = "0x1002", "0x8086"
CARD_GB = 2**30
"""Bytes of a GB that a card is sold with. NVML counts 12,288 MiB for the 12 GB of an RTX 3060
(geerlingguy/raspberry-pi-pcie-devices#790) and 81,920 for the 80 of an A100, and 4 to 6 % less
where ECC lies in the same memory: 15,360 for the 16 of a T4 (modal-labs/modal-client#2797)."""


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of device.

    `label`: what figures call it. `is_gpu`: whether it has a queue of work and an allocator of its
    own. `gpus` and `gpu_bytes`: model and memory of each GPU of this kind that the system lists,
    the memory in any order; None where PyTorch has to be asked. `no_tf32`: why there is no TF32.
    `no_offload`: why weights cannot wait in another memory than the device's. `memory_counter`: of
    all that the process holds, by which rows are compared: a column of the table `results`, and
    what figures call it. `above_load`: the same of what a call adds, where `memory_counter` also
    has Python and libraries in it.
    """

    label: str
    gpus: Callable[[], list[str] | None]
    no_tf32: str | None
    memory_counter: tuple[str, str]
    no_offload: str | None = None
    is_gpu: bool = True
    gpu_bytes: Callable[[], list[int] | None] = lambda: None
    above_load: tuple[str, str] | None = None

    @property
    def call_counter(self) -> tuple[str, str]:
        """The counter that tells two ways to run one model apart best."""
        return self.above_load or self.memory_counter


def ask_nvidia(*question: str) -> list[str]:
    """Return the lines that NVIDIA's tool answers; none without a driver, or if it hangs."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        asked = subprocess.run(
            [tool, *question], capture_output=True, text=True, check=False, timeout=DRIVER_S
        )
    except subprocess.TimeoutExpired:
        return []
    return asked.stdout.splitlines()


def nvidia_gpus() -> list[str]:
    """Return the model of each GPU that the NVIDIA driver reports; none without a driver."""
    # GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-...)
    gpus = [line for line in ask_nvidia("-L") if line.startswith("GPU ")]
    return [line.partition(": ")[2].partition(" (UUID")[0] for line in gpus]


def nvidia_bytes() -> list[int] | None:
    """Return the memory of each GPU that the NVIDIA driver tells it of; None if of none."""
    # In MiB; `[N/A]` where a GPU shares the machine's.
    told = ask_nvidia("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    known = told and all(line.strip().isdecimal() for line in told)
    return [int(line) * 2**20 for line in told] if known else None


def drm_gpus(vendor: str, drm: Path = DRM) -> list[str]:
    """Return the PCI numbers of each GPU of a maker that Linux has a driver for.

    Source: Linux' Documentation/ABI/testing/sysfs-bus-pci, of the devices behind render nodes.
    """
    found = []
    for node in sorted(drm.glob("renderD*")):
        with contextlib.suppress(OSError):
            maker, model = (
                (node / "device" / name).read_text(encoding="ascii").strip()
                for name in ("vendor", "device")
            )
            found += [f"PCI {maker}:{model}"] if maker == vendor else []
    return found


def apple_gpus() -> list[str]:
    """Return the GPU of a Mac with Apple's own processors; they have one."""
    own = platform.system() == "Darwin" and platform.machine() == "arm64"
    return ["Apple"] if own else []


KINDS = {
    "cpu": Kind(
        label="CPU",
        gpus=lambda: [],
        no_tf32="TF32 is a mode of CUDA tensor cores, which a CPU does not have",
        memory_counter=("resident_peak_bytes", "peak resident memory of the process"),
        above_load=(
            "resident_above_load_bytes",
            "peak resident memory above the level after load",
        ),
        no_offload="a CPU uses the host memory",
        is_gpu=False,
    ),
    "cuda": Kind(
        label="GPU",
        gpus=lambda: nvidia_gpus() or drm_gpus(AMD),  # ROCm calls AMD's so too
        gpu_bytes=nvidia_bytes,
        no_tf32=None,
        memory_counter=("device_peak_bytes", "peak memory of the process on the GPU"),
    ),
    "mps": Kind(
        label="Apple GPU",
        gpus=apple_gpus,
        no_tf32="TF32 is a mode of CUDA tensor cores, which Apple GPUs do not have",
        memory_counter=("reserved_after_run_bytes", "torch reserved after run"),
        no_offload="Apple GPUs share the host memory",
    ),
    "xpu": Kind(
        label="Intel GPU",
        gpus=lambda: drm_gpus(INTEL) or None,
        no_tf32="TF32 is measured only on CUDA; sdbench has no switch for it on Intel GPUs",
        memory_counter=("device_peak_bytes", "peak memory of the process on the GPU"),
    ),
}
"""Every kind of device, by its name in the config, which is PyTorch's name of it."""
