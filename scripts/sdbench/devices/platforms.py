"""What a device in use has, and how it is asked: one class for each kind.

Sources: the documentation of torch.accelerator, torch.cuda, torch.mps and torch.xpu. PyTorch for
AMD's GPUs (ROCm) calls them `cuda` and has the same functions; NVML does not know them.
"""

# ruff: noqa: D102 - what a method returns stands in `Platform`
import os
from typing import Any

from sdbench.devices import nvml, resident
from sdbench.devices.energy import Counter, rapl_energy_j
from sdbench.devices.fork_safety import show_devices
from sdbench.devices.machine import cpu_mhz, is_emulated, processor_name
from sdbench.runtime.errors import one_line

import torch

LOST = (
    "unspecified launch failure",
    "illegal memory access",
    "device-side assert",
    "uncorrectable ecc error",
    "gpu is lost",
    "device_lost",  # Level Zero
    "device lost",
    "cuda failure",  # ONNX Runtime
    "cublas failure",
    "cudnn failure",
)
"""What engines say of a device that this process cannot use again, in lower case."""


def set_tf32(on: bool) -> None:
    """Let matrix products and convolutions of fp32 round to TF32, or not, everywhere in PyTorch,
    whose default lets cuDNN do so in what is called fp32."""
    torch.backends.fp32_precision = "tf32" if on else "ieee"  # type: ignore[attr-defined]
    # That leaves `cudnn.conv` as it was (torch 2.11). The compiler of torch 2.13 reads the former
    # interface, and refuses to answer where the two disagree (pytorch/pytorch#166387, #189955).
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on


def is_lost(error: BaseException) -> bool:
    """Tell whether this process cannot use the device again, though another may: after most errors
    on a GPU every further call fails (CUDA Runtime API, "sticky" errors), and PyTorch raises
    `torch.AcceleratorError` for all of them. Memory that did not suffice is none."""
    text = str(error).lower()
    if "out of memory" in text:
        return False
    return isinstance(error, torch.AcceleratorError) or any(sign in text for sign in LOST)


class Platform:
    """What a kind of device can be asked; as it stands here, one that has no counters."""

    kind: str
    half = "fp16"  # what autocast computes in around fp32 weights, as PyTorch's own default has it
    compile_mode = "default"  # what `torch.compile` is asked for
    graph_calls = 0  # further calls until what was compiled stands, because they record it
    has_streams = False  # whether weights can be moved to it while it computes
    ramp_s = 0.0  # seconds of work that it takes to raise its clocks after a rest

    def device(self, index: int) -> torch.device:
        return torch.device(self.kind, index)

    def why_missing(self, index: int) -> str | None:
        """Say in one line why there is no such device here; None if there is."""
        return None

    def why_not(self, arithmetic: str, device: torch.device) -> str | None:
        """Say why a device has no instructions for a precision; None if it has."""
        return None

    def name(self, device: torch.device) -> str:
        """Return the name that the driver gives the device."""
        raise NotImplementedError

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return what does not change: of a GPU `memory_bytes`, and its `uuid` if it has one."""
        return {}

    def synchronize(self, device: torch.device) -> None:
        """Wait until the device has done all that was asked of it."""

    def empty_cache(self) -> None:
        """Give back what PyTorch's allocator holds and does not use."""

    def memory_info(self, device: torch.device) -> tuple[int, int] | None:
        """Return the bytes that are free and that there are in all; None where a budget decides."""
        return None

    def reset_memory(self, device: torch.device) -> None:
        """Give back what is free, and let the counters of `memory` begin again."""

    def memory(self, device: torch.device) -> dict[str, int | None]:
        """Return, in bytes, those counters of `measure.memory.COUNTERS` that the device has."""
        return {}

    def others(self, device: torch.device) -> list[dict[str, Any]]:
        """Return pid and bytes of every other process that computes on the device."""
        return []

    def why_not_shared(self, device: torch.device) -> str | None:
        """Say why two processes cannot use the device at a time; None if they can."""
        return None

    def energy(self, device: torch.device) -> Counter:
        """Return the counter of the energy that the device uses."""
        return Counter("none", lambda: None)

    def state(self, device: torch.device) -> dict[str, Any]:
        """Return what may drift while a case is measured, such as clocks."""
        return {}


class Cpu(Platform):
    """The machine's own processors and memory, all together one device."""

    kind = "cpu"
    half = "bf16"

    def device(self, index: int) -> torch.device:
        return torch.device("cpu")

    def why_not(self, arithmetic: str, device: torch.device) -> str | None:
        if arithmetic not in ("fp16", "bf16") or computes_natively(arithmetic):
            return None
        return (
            f"this processor has no instructions for {arithmetic}: it would be emulated, several "
            "times slower than fp32"
        )

    def name(self, device: torch.device) -> str:
        return processor_name()

    def reset_memory(self, device: torch.device) -> None:
        resident.trim_heap()
        resident.reset_peak()

    def memory(self, device: torch.device) -> dict[str, int | None]:
        # The high-water mark sees every engine's allocations.
        return {"resident_peak_bytes": resident.field("self/status", "VmHWM")}

    def energy(self, device: torch.device) -> Counter:
        return Counter("rapl", rapl_energy_j)

    def state(self, device: torch.device) -> dict[str, Any]:
        return {"load_1min": os.getloadavg()[0], "cpu_mhz": cpu_mhz()}


def computes_natively(half: str) -> bool:
    """Tell whether this processor has instructions for a half precision, and oneDNN kernels.

    oneDNN says that it has bf16 on any processor with AVX-512, where it emulates it: sd-v1 then
    took four times as long as in fp32.
    """
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{half}_supported")
    has_kernels = torch.backends.mkldnn.is_available() and bool(supported())  # type: ignore[no-untyped-call]
    return has_kernels and not is_emulated(half)


class Gpu(Platform):
    """A GPU as torch's module of its kind describes it, which `cuda` and `xpu` do alike."""

    ramp_s = 1.0

    @property
    def module(self) -> Any:
        return torch.get_device_module(self.kind)

    def why_missing(self, index: int) -> str | None:
        # The first question that a process may ask of its GPUs: after it, it cannot be forked.
        show_devices()
        if not self.module.is_available():
            return f"PyTorch {torch.__version__} cannot use it here: {self.why_unavailable()}"
        count = self.module.device_count()
        return None if index < count else f"PyTorch {torch.__version__} finds {count} here"

    def why_unavailable(self) -> str:
        # A driver that is too old may well list its GPUs; setting it up says what is wrong.
        try:
            self.module.init()
        except (AssertionError, RuntimeError) as error:
            return one_line(error)
        return "no reason given"

    def name(self, device: torch.device) -> str:
        return str(self.module.get_device_name(device))

    def synchronize(self, device: torch.device) -> None:
        self.module.synchronize(device)

    def empty_cache(self) -> None:
        self.module.empty_cache()

    def memory_info(self, device: torch.device) -> tuple[int, int] | None:
        # Of the whole GPU, every process included.
        free, total = self.module.mem_get_info(device)
        return int(free), int(total)

    def reset_memory(self, device: torch.device) -> None:
        self.empty_cache()
        self.module.reset_peak_memory_stats(device)

    def memory(self, device: torch.device) -> dict[str, int | None]:
        return {
            "peak_allocated_bytes": self.module.max_memory_allocated(device),
            "peak_reserved_bytes": self.module.max_memory_reserved(device),
            "reserved_after_run_bytes": self.module.memory_reserved(device),
        }


class Cuda(Gpu):
    """NVIDIA's GPUs, with what NVML counts; and AMD's, by ROCm, without."""

    kind = "cuda"
    has_streams = True
    # As diffusers advises: kernels that were tried out on the GPU, replayed as CUDA graphs. A
    # network that runs once in each call is recorded in the second, and replayed after that.
    compile_mode = "max-autotune"
    graph_calls = 2

    def uuid(self, device: torch.device) -> str:
        """Return the UUID of a GPU, or of a slice of one, as NVML and `nvidia-smi` write it."""
        properties = torch.cuda.get_device_properties(device)
        return f"{'MIG' if ' MIG ' in properties.name else 'GPU'}-{properties.uuid}"

    def why_not(self, arithmetic: str, device: torch.device) -> str | None:
        properties = torch.cuda.get_device_properties(device)
        if torch.version.hip:
            amd = "TF32 is a mode of NVIDIA's tensor cores; this is an AMD GPU"
            return amd if arithmetic == "tf32" else None
        if arithmetic in ("tf32", "bf16") and properties.major < 8:
            return (
                f"{properties.name} has no instructions for {arithmetic}: its compute capability "
                f"is {properties.major}.{properties.minor}; 8.0 or higher has them"
            )
        return None

    def facts(self, device: torch.device) -> dict[str, Any]:
        properties = torch.cuda.get_device_properties(device)
        runtime = (
            {"rocm": torch.version.hip, "architecture": properties.gcnArchName}
            if torch.version.hip
            else {
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
                "compute_capability": f"{properties.major}.{properties.minor}",
            }
        )
        told = nvml.describe_gpu(self.uuid(device))
        if told["nvml"] and not torch.version.hip:
            print(f"no energy, clocks or other processes of {properties.name}: {told['nvml']}")
        return told | {"memory_bytes": properties.total_memory} | runtime

    def memory(self, device: torch.device) -> dict[str, int | None]:
        # What the driver counts includes every engine.
        driver = {"nvml_process_bytes": nvml.process_bytes(self.uuid(device))}
        return super().memory(device) | driver

    def others(self, device: torch.device) -> list[dict[str, Any]]:
        torch.zeros(1, device=device)  # the driver lists this process too from now on
        return nvml.foreign_processes(self.uuid(device))

    def why_not_shared(self, device: torch.device) -> str | None:
        exclusive = (
            "the GPU takes one process at a time (compute mode Exclusive_Process): "
            "`nvidia-smi -c DEFAULT` allows two"
        )
        return exclusive if nvml.is_exclusive(self.uuid(device)) else None

    def energy(self, device: torch.device) -> Counter:
        uuid = self.uuid(device)
        return Counter("nvml", lambda: nvml.total_energy_j(uuid))

    def state(self, device: torch.device) -> dict[str, Any]:
        return nvml.gpu_state(self.uuid(device))


class Xpu(Gpu):
    """Intel's GPUs."""

    kind = "xpu"
    has_streams = True

    def why_not(self, arithmetic: str, device: torch.device) -> str | None:
        properties = torch.xpu.get_device_properties(device)
        has = {"fp16": properties.has_fp16, "bf16": properties.has_bfloat16_conversions}
        missing = f"{properties.name} has no instructions for {arithmetic}"
        return None if has.get(arithmetic, True) else missing

    def facts(self, device: torch.device) -> dict[str, Any]:
        properties = torch.xpu.get_device_properties(device)
        return {
            "uuid": str(properties.uuid),
            "driver": properties.driver_version,
            "memory_bytes": properties.total_memory,
            "platform": properties.platform_name,
            "runtime": properties.version,
        }

    def memory_info(self, device: torch.device) -> tuple[int, int] | None:
        try:
            return super().memory_info(device)
        except RuntimeError:  # it does not say what is free: all counts as free
            total = int(torch.xpu.get_device_properties(device).total_memory)
            return total, total


class Mps(Gpu):
    """Apple's GPU, by Metal: one, which shares the machine's memory, and counts no peaks."""

    kind = "mps"

    def why_unavailable(self) -> str:
        if not torch.backends.mps.is_built():
            return "it was built without Metal"
        return "Metal needs a supported GPU and a recent macOS"

    def why_not(self, arithmetic: str, device: torch.device) -> str | None:
        missing = arithmetic == "bf16" and not torch.backends.mps.is_macos_or_newer(14, 0)
        return "bf16 on Metal needs macOS 14 or later" if missing else None

    def name(self, device: torch.device) -> str:
        return torch.backends.mps.get_name()

    def facts(self, device: torch.device) -> dict[str, Any]:
        # The memory is what Metal advises to use at most.
        return {
            "memory_bytes": torch.mps.recommended_max_memory(),
            "cores": torch.backends.mps.get_core_count(),
        }

    def synchronize(self, device: torch.device) -> None:
        torch.mps.synchronize()

    def memory_info(self, device: torch.device) -> tuple[int, int] | None:
        total = torch.mps.recommended_max_memory()
        return total - torch.mps.driver_allocated_memory(), total

    def reset_memory(self, device: torch.device) -> None:
        self.empty_cache()

    def memory(self, device: torch.device) -> dict[str, int | None]:
        # The allocator's cache included.
        return {"reserved_after_run_bytes": torch.mps.driver_allocated_memory()}


PLATFORMS = {platform.kind: platform for platform in list[Platform]([Cpu(), Cuda(), Mps(), Xpu()])}


def platform_of(device: torch.device) -> Platform:
    """Return what a device can be asked."""
    return PLATFORMS[device.type]
