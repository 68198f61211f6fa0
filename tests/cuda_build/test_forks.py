"""A child of a job can use the GPU, though its parent has imported libraries that ask for one."""

import ast
import subprocess
import sys

import pytest

from sdbench.measure.context import SweepContext
from sdbench.measure.sweep import run_sweep
from tests.conftest import ROOT
from tests.sweeps import indexed, make_case

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
import importlib, sys
sys.path.insert(0, {scripts!r})
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
    program = CHILD.format(scripts=str(ROOT / "scripts"), script=script)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    missing, said = run.stdout.splitlines()[-2:]
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


def test_no_other_module_remembers_that_devices_were_hidden() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import sdbench.measure.sweep, sdbench.measure.races, sdbench.measure.settings_search\n"
        "import sdbench.export.parity\n"
        "from sdbench import backends\n"
        "import sdbench.backends.pytorch, sdbench.backends.onnxruntime\n"
        "from torchao import quantization\n"
        "from sdbench.devices.fork_safety import asked_at_import\n"
        "print(*asked_at_import(), sep='\\n')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    asked = set(run.stdout.split())
    assert asked, "nobody asked: are devices hidden at all?"
    assert asked <= REMEMBERED.keys()


def test_devices_are_shown_again() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import torch\n"
        "real = torch.cuda.is_available, torch.cuda.device_count, torch.accelerator.is_available\n"
        "import sdbench.measure.sweep\n"
        "from torch._dynamo import device_interface\n"
        "from torch.utils._triton import has_triton\n"
        "from sdbench.devices.fork_safety import asked_at_import, show_devices\n"
        "assert torch.cuda.is_available is not real[0]\n"
        "device_interface.get_registered_device_interfaces(); has_triton()\n"
        "assert device_interface._device_initialized and has_triton.cache_info().currsize\n"
        "show_devices()\n"
        "now = torch.cuda.is_available, torch.cuda.device_count, torch.accelerator.is_available\n"
        "assert now == real and not asked_at_import()\n"
        "assert not device_interface._device_initialized\n"
        "assert not has_triton.cache_info().currsize\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_compile_runs_on_the_cpu(job: SweepContext) -> None:
    """Dynamo would ask for the state of CUDA's generator."""
    case = make_case(options="compile")
    run_sweep([case], job, {})
    (record,) = indexed(job)
    assert record["status"] == "ok", record["reason"]
    assert "+cpu" not in record["environment"]["libraries"]["torch"]


def test_a_case_on_a_gpu_is_unsupported_for_want_of_a_driver(job: SweepContext) -> None:
    run_sweep([make_case(kind="cuda")], job, {})
    (record,) = indexed(job)
    assert record["status"] == "unsupported"
    assert NO_DRIVER in record["reason"]
