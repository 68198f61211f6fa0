"""A child of a job can use the GPU, though its parent has imported libraries that ask for one."""

import ast

import pytest

from sdbench.measure.context import SweepContext
from tests.conftest import ROOT, run_python
from tests.sweeps import make_case, run

NO_DRIVER = "Found no NVIDIA driver"
FORKING = {
    "sdbench.runtime.processes",
    "sdbench.measure.sweep",
    "sdbench.measure.races",
    "sdbench.measure.settings_search",
    "sdbench.export.parity",
}
"""Modules that begin processes, and are imported by scripts."""

CHILD = """
import importlib
importlib.import_module({script!r})
for backend in ("pytorch", "onnxruntime", "openvino"):
    importlib.import_module(f"sdbench.backends.{{backend}}")
from sdbench.runtime.processes import run_in_subprocess

def ask(send):
    import torch
    from sdbench.devices.platforms import PLATFORMS
    send(PLATFORMS["cuda"].why_missing(0))
    try:
        torch.cuda.init()
    except RuntimeError as error:
        send(str(error))

print(*run_in_subprocess(ask), sep="\\n")
"""


def forking_scripts() -> list[str]:
    """Return the scripts of rules that run work in a child."""
    found = []
    for path in sorted((ROOT / "scripts").glob("*.py")):
        names = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        if names & FORKING:
            found.append(path.stem)
    return found


def test_the_scripts_that_fork_are_found() -> None:
    assert {"measure_sweep", "race_denoisers", "measure_peak_throughput", "generate_images"} <= set(
        forking_scripts()
    )


@pytest.mark.parametrize("script", forking_scripts())
def test_a_child_can_set_up_cuda(script: str) -> None:
    """Not "Cannot re-initialize CUDA in forked subprocess"."""
    done = run_python(CHILD.format(script=script))
    assert done.returncode == 0, done.stderr
    missing, said = done.stdout.splitlines()[-2:]
    assert missing.startswith("PyTorch ") and NO_DRIVER in missing
    assert said.startswith(NO_DRIVER)


REMEMBERED = {
    # diffusers' name of the default device, for its own tests.
    "diffusers.utils.torch_utils": "unused",
    # Training in fp8 on AMD's GPUs, and formats (MX) that no option here asks for.
    "torchao.float8.float8_utils": "unused",
    "torchao.prototype.mx_formats.kernels": "unused",
    # Set again by `show_devices`.
    "transformers.integrations.sdpa_attention": "set again",
    # Whether flex attention can be imported: only TPUs say no.
    "transformers.integrations.flex_attention": "no answer of none matters",
}
"""Modules that keep in a variable what they were told while devices were hidden, and why that does
no harm. Another one must be looked at: it may go on believing that there is no GPU."""


ASKED = """
import sdbench.measure.sweep, sdbench.measure.races, sdbench.measure.settings_search
import sdbench.export.parity
from sdbench import backends
import sdbench.backends.pytorch, sdbench.backends.onnxruntime
from torchao import quantization
from sdbench.devices.fork_safety import asked_at_import
print(*asked_at_import(), sep="\\n")
"""


def test_no_other_module_remembers_that_devices_were_hidden() -> None:
    done = run_python(ASKED)
    assert done.returncode == 0, done.stderr
    asked = set(done.stdout.split())
    assert asked, "nobody asked: are devices hidden at all?"
    assert asked <= REMEMBERED.keys()


SHOWN = """
import torch
real = torch.cuda.is_available, torch.cuda.device_count, torch.accelerator.is_available
import sdbench.measure.sweep
from torch._dynamo import device_interface
from torch.utils._triton import has_triton
from sdbench.devices.fork_safety import asked_at_import, show_devices
assert torch.cuda.is_available is not real[0]
device_interface.get_registered_device_interfaces(); has_triton()
assert device_interface._device_initialized and has_triton.cache_info().currsize
show_devices()
now = torch.cuda.is_available, torch.cuda.device_count, torch.accelerator.is_available
assert now == real and not asked_at_import()
assert not device_interface._device_initialized
assert not has_triton.cache_info().currsize
"""


def test_devices_are_shown_again() -> None:
    done = run_python(SHOWN)
    assert done.returncode == 0, done.stderr


def test_compile_runs_on_the_cpu(job: SweepContext) -> None:
    """Dynamo would ask for the state of CUDA's generator."""
    (record,) = run(job, make_case(options="compile"))
    assert record["status"] == "ok", record["reason"]
    assert "+cpu" not in record["environment"]["libraries"]["torch"]


def test_a_case_on_a_gpu_is_unsupported_for_want_of_a_driver(job: SweepContext) -> None:
    (record,) = run(job, make_case(kind="cuda"))
    assert record["status"] == "unsupported"
    assert NO_DRIVER in record["reason"]
