"""What engines read from the environment: what a job does without, and what its records hold.

A job does without it before anything else is imported (`sdbench/__init__.py`): an OpenMP runtime
that finds `OMP_PROC_BIND` when PyTorch is imported binds the whole process to one processor.
"""

import contextlib
import getpass
import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from site import getusersitepackages

from sdbench.runtime.errors import UserError

WITHOUT = re.compile(
    # Processors and threads: those that the device has.
    r"OMP_(PROC_BIND|PLACES|THREAD_LIMIT|DYNAMIC)|GOMP_CPU_AFFINITY|MKL_DYNAMIC"
    r"|KMP_(AFFINITY|HW_SUBSET|PLACE_THREADS|ALL_THREADS|(DEVICE_|TEAMS_)?THREAD_LIMIT|DYNAMIC_MODE)"
    # Precision, attention, compiling: those of the row.
    r"|NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32_CUBLAS_OVERRIDE|(DNNL|ONEDNN)_DEFAULT_FPMATH_MODE"
    r"|CUBLAS_EMULAT\w+|DIFFUSERS_ATTN_BACKEND|TORCHDYNAMO_DISABLE|TORCH_COMPILE_DISABLE"
    # What waits for every kernel or writes a line for it, to find faults.
    r"|(CUDA|HIP|ASCEND)_LAUNCH_BLOCKING|AMD_SERIALIZE_\w+|PYTORCH_NO_(CUDA|HIP)_MEMORY_CACHING"
    r"|(DNNL|ONEDNN|MKL)_VERBOSE|TORCH_COMPILE_DEBUG|DIFFUSERS_ATTN_CHECKS"
    # Which libraries transformers and diffusers believe to be there, and how figures are drawn.
    r"|USE_(TORCH|TF|FLAX|JAX|ONNX|SAFETENSORS)|MPLBACKEND"
)
"""Variables whose meaning the config or the row has: with one of them it would not be true."""

_READ = re.compile(
    r"(OMP|GOMP|KMP|MKL|DNNL|ONEDNN|TBB|OPENBLAS|BLIS|HWLOC|FBGEMM|ATEN|TORCH[A-Z]*|PYTORCH|TRITON"
    r"|CUDA|CUDNN|CUBLAS(LT)?|NVIDIA|HIP(BLAS(LT)?)?|HSA|AMD|GPU|MIOPEN|ROCBLAS|SYCL|ZE|UR|ONEAPI"
    r"|MTL|METAL|ORT|OV|OPENVINO|TRT|DIFFUSERS|TRANSFORMERS|ACCELERATE|HF_ENABLE|BITSANDBYTES|BNB"
    r"|MALLOC|TCMALLOC|MIMALLOC|NPY|NUMPY|RAYON|TOKENIZERS|LD|DYLD)_\w+|GLIBC_TUNABLES"
    r"|LRU_CACHE_CAPACITY|THP_MEM_ALLOC_ENABLE"
    r"|PYTHON(PATH|HOME|MALLOC|TRACEMALLOC|DEVMODE|OPTIMIZE|_JIT|_GIL)"
)
_LEFT_OUT = re.compile(
    # Snakemake's, for every job; the engines get theirs from the device.
    r"\w+_NUM_THREADS|\w*(TOKEN_|_TOKEN|SECRET|PASSWORD|_KEY)\w*"
    # Where something lies, what is said, and which GPU a cluster gave: no speed depends on it.
    r"|(?!LD_)\w+_(DIR|PATH|HOME|ROOT|CACHE|FILE|VERBOSITY|OFFLINE)|\w+_VISIBLE_DEVICES"
    r"|CUDA_DEVICE_ORDER|GPU_DEVICE_ORDINAL|ZE_AFFINITY_MASK|ORT_DISABLE_TELEMETRY"
    r"|NVIDIA_(DRIVER_CAPABILITIES|REQUIRE_\w+)"
)

_RUNTIMES = re.compile(r"lib(jemalloc|tcmalloc|mimalloc|tbbmalloc_proxy|hoard|gomp|iomp|omp).*")
"""Libraries of which a process has one or another, by what is loaded first."""

LEAST = {"torch": (2, 9), "diffusers": (0, 41), "transformers": (5, 0)}
"""The oldest versions that were run, but for PyTorch, whose setup/system_torch.py has the same."""

done_without: dict[str, str] = {}
"""What this job does without, by name."""


def do_without() -> None:
    """Remove what the config decides from the environment of this process."""
    for name in filter(WITHOUT.fullmatch, list(os.environ)):
        done_without[name] = os.environ.pop(name)


def name_user() -> None:
    """Give a user without a name one, as Snakemake and PyTorch ask for it: containers run as any
    number."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = f"uid{os.getuid()}"


def leave_out_user_site() -> None:
    """Hide from processes begun later what `pip install --user` left, which in an environment of
    conda's comes before its own packages; unless Snakemake is run from there."""
    if not str(sys.modules["snakemake"].__file__).startswith(getusersitepackages()):
        os.environ["PYTHONNOUSERSITE"] = "1"


def check_installation(uses_conda: bool) -> None:
    """Raise `UserError` if what the jobs run in is missing: conda, or libraries that are as new as
    the oldest that were run (`refuse_old_libraries`)."""
    if not uses_conda:
        refuse_old_libraries()
    elif shutil.which("conda") is None:
        raise UserError(
            "--use-conda: found no `conda` on PATH: install Miniforge, which brings it, or leave "
            "the option out; `make run` needs no conda"
        )


def refuse_old_libraries() -> None:
    """Raise `UserError` if a library of this Python is older than any that was run: each case would
    fail, by another error in each. What is not installed, others say."""
    for name, least in LEAST.items():
        with contextlib.suppress(PackageNotFoundError):
            version = distribution(name).version
            found = re.match(r"(\d+)\.(\d+)", version)
            if found and tuple(map(int, found.groups())) < least:
                raise UserError(
                    f"{name}: found {version}; allowed is {least[0]}.{least[1]} or later: set up "
                    "again with `rm -r .venv; make setup`"
                )


def variables() -> dict[str, str]:
    """Return what engines, allocators and Python read and is set, by name."""
    names = [name for name in os.environ if _READ.fullmatch(name)]
    return {name: os.environ[name] for name in sorted(names) if not _LEFT_OUT.fullmatch(name)}


def preloaded(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """Return the allocators and OpenMP runtimes that this process has loaded, by file name: of both
    the first to come is used, also by engines that bring another (`LD_PRELOAD`)."""
    try:
        text = maps.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return []
    names = {Path(line.split(maxsplit=5)[5]).name for line in text.splitlines() if "/" in line}
    # Wheels add a digest to the name: libgomp-a34b3233.so.1
    return sorted({re.sub(r"-[0-9a-f]{8}\b", "", n) for n in names if _RUNTIMES.fullmatch(n)})
