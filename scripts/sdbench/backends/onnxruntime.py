"""ONNX Runtime: how it runs an exported network.

Inputs and outputs are tensors of PyTorch where they lie, bound by their addresses (`io_binding`):
on a GPU latents, guidance and the loop stay there, and nothing goes through the host.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.backends.engine import Engine
from sdbench.backends.exported import Runtime, load_graphs, refuse_unreadable
from sdbench.cases.case import Case
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import INT8, TENSORRT
from sdbench.devices.device import refuse_emulation, threads, torch_device
from sdbench.export.ort import onnxruntime
from sdbench.runtime.errors import UnsupportedError, one_line

import numpy as np
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

ELEMENTS = {torch.float32: np.float32, torch.int64: np.int64}
"""Types of the graphs' inputs and outputs, as PyTorch and as ONNX Runtime's Python calls them."""


def bind(
    binding: Any,
    device: torch.device,
    inputs: Mapping[str, torch.Tensor],
    outputs: Mapping[str, torch.Tensor],
) -> None:
    """Bind contiguous tensors on `device` to a session's inputs and outputs, by their addresses."""
    for tensors, bind_one in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
        for name, tensor in tensors.items():
            bind_one(
                name=name,
                device_type=device.type,
                device_id=device.index or 0,
                element_type=ELEMENTS[tensor.dtype],
                shape=tuple(tensor.shape),
                buffer_ptr=tensor.data_ptr(),
            )


class Session:
    """A graph in an inference session, on a device of PyTorch."""

    def __init__(self, session: Any, device: torch.device) -> None:
        self.session = session
        self.device = device
        (self.output,) = (output.name for output in session.get_outputs())

    def run(self, shape: tuple[int, ...], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the output, of this shape; see `sdbench.backends.exported.Graph`."""
        output = torch.empty(shape, dtype=torch.float32, device=self.device)
        binding = self.session.io_binding()
        bind(binding, self.device, inputs, {self.output: output})
        # ONNX Runtime has a stream of its own: what PyTorch was asked before must have been done.
        binding.synchronize_inputs()
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return output


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""How it runs on each kind of device."""

Providers = list[tuple[str, dict[str, Any]]]


def _choose_providers(case: Case, device: torch.device) -> Providers:
    """Return the execution providers of a case with their options, the one it is named by first.

    Source: https://onnxruntime.ai/docs/execution-providers/.

    Raises:
        UnsupportedError: if the installed onnxruntime does not have it.
    """
    tensorrt, is_gpu = TENSORRT in case.variant.switches, KINDS[device.type].is_gpu
    wanted = "TensorrtExecutionProvider" if tensorrt else PROVIDERS[device.type]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        remedy = ": install onnxruntime-gpu in its place" if is_gpu else ""
        raise UnsupportedError(
            f"onnxruntime {onnxruntime.__version__} here has no {wanted}; it has "
            f"{', '.join(available)}{remedy}"
        )
    if not is_gpu:
        return [(wanted, {})]
    tf32 = int(case.variant.precision == "tf32")
    # ONNX Runtime lets TF32 into fp32 unless it is told not to.
    cuda = (PROVIDERS[device.type], {"device_id": device.index, "use_tf32": tf32})
    if not tensorrt:
        return [cuda]
    # The provider has no option for TF32; NVIDIA's libraries read this once, when they are loaded.
    # Source: NVIDIA's documentation of it; https://github.com/microsoft/onnxruntime/issues/26029.
    if tf32:
        os.environ.pop("NVIDIA_TF32_OVERRIDE", None)
    else:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    _load_tensorrt()
    own = {
        "device_id": device.index,
        "trt_fp16_enable": 0,  # the graphs are in fp32
        # A cold start that finds engines of an earlier one would be another.
        "trt_engine_cache_enable": 0,
    }
    # What TensorRT cannot run is left to CUDA.
    return [(wanted, own), cuda]


def _load_tensorrt() -> None:
    """Load TensorRT's libraries: the package of that name has them where no loader looks.

    Raises:
        UnsupportedError: if it is not installed, or in another version than the provider is linked
            with: the newest one need not fit.
    """
    name = f"onnxruntime {onnxruntime.__version__}"
    provider = Path(onnxruntime.__file__).parent / "capi/libonnxruntime_providers_tensorrt.so"
    linked = re.search(rb"libnvinfer\.so\.(\d+)", provider.read_bytes())
    if linked is None:
        raise UnsupportedError(
            f"{name} does not say which TensorRT it needs: {provider.name} names no libnvinfer; "
            "install onnxruntime-gpu from PyPI in its place"
        )
    major = int(linked[1])
    needs = f"{name} needs TensorRT {major}: pip install 'tensorrt>={major},<{major + 1}'"
    try:
        import tensorrt
    except ImportError as error:
        raise UnsupportedError(f"{needs}; it is not installed ({one_line(error)})") from error
    if tensorrt.__version__.partition(".")[0] != str(major):
        raise UnsupportedError(f"{needs}; {tensorrt.__version__} is installed")


CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "extended graph optimizations": {"graph_optimization_level": "ORT_ENABLE_EXTENDED"},
    "basic graph optimizations": {"graph_optimization_level": "ORT_ENABLE_BASIC"},
    "no spinning": {"session.intra_op.allow_spinning": "0"},
    "dynamic block base 4": {"session.dynamic_block_base": "4"},
    "no memory pattern": {"enable_mem_pattern": False},
    "no memory arena": {"enable_cpu_mem_arena": False},
    "no prepacking": {"session.disable_prepacking": "1"},
    "denormals as zero": {"session.set_denormal_as_zero": "1"},
}
"""Settings that a search tries against the default ones, which are ONNX Runtime's own. None changes
what is computed. Names with `session.` are entries of its session configuration. Sources:
https://onnxruntime.ai/docs/performance/tune-performance/ and its header
onnxruntime_session_options_config_keys.h.
"""


def _session_options(case: Case, settings: Mapping[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(case)
    options.inter_op_num_threads = 1
    for name, value in settings.items():
        if name.startswith("session."):
            options.add_session_config_entry(name, value)
        elif name == "graph_optimization_level":
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, value)
        else:
            setattr(options, name, value)
    return options


def set_up(case: Case, graphs_folder: Path, settings: Mapping[str, Any]) -> Runtime:
    """Set ONNX Runtime up for a case; `settings` of sessions are in addition to the defaults.

    Raises:
        UnsupportedError: if this machine or the installed onnxruntime cannot run it.
    """
    device = torch_device(case)
    refuse_emulation(case.variant.precision, device)
    providers = _choose_providers(case, device)
    refuse_unreadable(graphs_folder)
    # The loop around the networks is PyTorch's; both engines get the same number of threads.
    torch.set_num_threads(threads(case))
    options = _session_options(case, settings)

    def open_graph(name: str) -> Session:
        try:
            # Without the fallback, which would go on with another provider, and only log it.
            session = onnxruntime.InferenceSession(
                graphs_folder / name / "model.onnx",
                sess_options=options,
                providers=providers,
                enable_fallback=0,
            )
        except NotImplemented as error:
            raise UnsupportedError(
                f"onnxruntime {onnxruntime.__version__} cannot run the {name}: {one_line(error)}"
            ) from error
        wanted, running = providers[0][0], session.get_providers()
        if wanted not in running:
            raise UnsupportedError(
                f"onnxruntime {onnxruntime.__version__} could not start its {wanted} (see the log) "
                f"and would run on {', '.join(running)}"
            )
        return Session(session, device)

    quantized = "int8" if INT8 in case.variant.switches else None
    switches = {
        "provider": providers[0][0],
        "providers": dict(providers),
        "settings": dict(settings),
        "quantized_weights": quantized,
        "quantized_activations": quantized,
    }
    return Runtime(device, open_graph, switches=switches)


def load(
    case: Case, model_folder: Path, graphs_folder: Path, settings: Mapping[str, Any]
) -> Engine:
    """Load a variant; see `sdbench.backends.load`."""
    return load_graphs(set_up(case, graphs_folder, settings), case, model_folder)
