"""What is called on a GPU alone is there, in the real libraries and with the arguments given."""

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pynvml
import pytest
import torch
from torch._inductor import list_mode_options
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from torchao import quantization

from sdbench.backends.onnxruntime import _load_tensorrt
from sdbench.devices.fork_safety import show_devices
from sdbench.devices.platforms import Cuda
from sdbench.export.ort import onnxruntime
from sdbench.measure.compiling import TUNING
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.processes import run_in_subprocess
from tests.conftest import ROOT

LIBRARY = ROOT / "scripts" / "sdbench"


def attributes(path: Path, *owners: str) -> Iterator[str]:
    """Yield the names that a file asks of these objects, such as `pynvml` or `torch.cuda`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners:
            yield node.attr


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (torch.cuda, {*attributes(LIBRARY / "devices/platforms.py", "torch.cuda", "self.module")}),
        (torch.xpu, {*attributes(LIBRARY / "devices/platforms.py", "torch.xpu", "self.module")}),
        (pynvml, {*attributes(LIBRARY / "devices/nvml.py", "pynvml")}),
        (torch.cuda, {*attributes(LIBRARY / "backends/pytorch.py", "torch.cuda")}),
    ],
    ids=["cuda", "xpu", "nvml", "quantizers"],
)
def test_every_name_is_there(module: Any, names: set[str]) -> None:
    assert names
    assert not {name for name in names if not hasattr(module, name)}


def test_functions_of_torch_take_what_they_are_given() -> None:
    gpu, pipeline = torch.device("cuda", 0), diffusers.DiffusionPipeline
    asked = "get_device_properties get_device_name get_device_capability synchronize mem_get_info"
    memory = "reset_peak_memory_stats max_memory_allocated max_memory_reserved memory_reserved"
    for name in (*asked.split(), *memory.split()):
        inspect.signature(getattr(torch.cuda, name)).bind(gpu)
    inspect.signature(torch.compile).bind(None, mode="max-autotune", fullgraph=True, dynamic=False)
    inspect.signature(pipeline.enable_model_cpu_offload).bind(None, device=gpu)
    inspect.signature(pipeline.enable_group_offload).bind(
        None, onload_device=gpu, offload_type="leaf_level", use_stream=True
    )
    quantization.Float8WeightOnlyConfig(set_inductor_config=False)
    quantization.Int8WeightOnlyConfig(set_inductor_config=False)


def test_what_is_asked_of_a_gpu_fails_for_want_of_a_driver_and_of_nothing_else() -> None:
    """As far as the real functions go: an argument that is wrong would be another error."""
    said = run_in_subprocess(_ask_everything)
    assert len(said) == 6
    assert all(answer.startswith("Found no NVIDIA driver") for answer in said), said


def _ask_everything(send: Callable[[Any], None]) -> None:
    cuda, gpu = Cuda(), torch.device("cuda", 0)
    show_devices()
    for ask in (cuda.name, cuda.facts, cuda.memory_info, cuda.synchronize, cuda.others, cuda.state):
        try:
            send(f"{ask} answered {ask(gpu)}")
        except Exception as error:
            send(str(error))


def test_compiling_for_cuda_records_graphs_and_tunes() -> None:
    assert list_mode_options()[Cuda.compile_mode]["triton.cudagraphs"]
    assert all(callable(getattr(CachingAutotuner, name)) for name in TUNING)


ASK_NVML = """
import json, sys
sys.path.insert(0, {scripts!r})
from sdbench.devices import nvml
uuid = "GPU-stub"
print(json.dumps([
    nvml.process_bytes(uuid), nvml.foreign_processes(uuid), nvml.total_energy_j(uuid),
    nvml.describe_gpu(uuid), nvml.gpu_state(uuid), nvml.is_exclusive(uuid),
    nvml.describe_gpu("GPU-other")["nvml"],
]))
"""


def test_the_real_nvidia_ml_py_asks_the_driver_as_we_mean(tmp_path: Path) -> None:
    """It loads a library that answers as a driver with one GPU would."""
    library = tmp_path / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_stub.c")
    program = tmp_path / "ask.py"
    program.write_text(ASK_NVML.format(scripts=str(LIBRARY.parent)))
    # The stub lists the process that asks: a shell that becomes it has the number already.
    build = f"cc -shared -fPIC -DSTUB_PID=$$ -o {library} {source}"
    run = subprocess.run(
        ["sh", "-c", f"{build} && exec {sys.executable} {program}"],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    held, others, joules, facts, state, exclusive, unknown = json.loads(run.stdout)
    assert (held, others, joules) == (5000, [{"pid": 7, "bytes": 9}], 12.345)
    assert facts == {
        "uuid": "GPU-stub",
        "nvml": None,
        "driver": "580.65",
        "power_limit_w": 400.0,
        "ecc": 1,
        "persistence_mode": 1,
        "compute_mode": 3,
    }
    assert state == {
        "sm_clock_mhz": 1410,
        "memory_clock_mhz": 1593,
        "temperature_c": 61,
        "power_w": 250.0,
        "throttle_reasons": 4,
        "throttled_power_s": 1.5,
        "throttled_thermal_s": 0.0,
        "throttled_reliability_s": None,
    }
    assert exclusive is True
    assert unknown


def test_onnxruntime_for_gpus_has_its_providers_and_names_its_tensorrt() -> None:
    assert {"CUDAExecutionProvider", "TensorrtExecutionProvider"} <= set(
        onnxruntime.get_available_providers()
    )
    with pytest.raises(UnsupportedError, match=r"needs TensorRT 10: .*tensorrt>=10,<11'"):
        _load_tensorrt()
