"""OpenVINO: how it runs an exported network, on the CPU.

Inputs and outputs are tensors of PyTorch where they lie: nothing is copied on the way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.backends.compile_time import counted_as_compiling
from sdbench.backends.engine import Engine
from sdbench.backends.exported import Runtime, load_graphs, refuse_unreadable
from sdbench.cases.case import Case
from sdbench.cases.options import INT8
from sdbench.devices.device import refuse_emulation, threads, torch_device
from sdbench.export.openvino_toolkit import openvino
from sdbench.runtime.errors import UnsupportedError

import numpy as np
import torch

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precisions, as its hint names them; without it, it would choose a half precision by itself."""

SHAPES = "shapes"
"""The one setting that is not a property of OpenVINO: `dynamic`, or by default `static`: a graph is
compiled for the sizes that it is called with, again for others."""

CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "dynamic shapes": {SHAPES: "dynamic"},
    "no pinning": {"ENABLE_CPU_PINNING": False},
    "hyper-threading": {"ENABLE_HYPER_THREADING": True},
    "throughput hint": {"PERFORMANCE_HINT": "THROUGHPUT"},
    "automatic partitioner": {"TBB_PARTITIONER": "AUTO"},
    "denormals as zero": {"CPU_DENORMALS_OPTIMIZATION": True},
}
"""Settings that a search tries against the default ones. None changes what is computed. Source:
https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
"""

REPORTED = {
    "execution_precision": "INFERENCE_PRECISION_HINT",
    "engine_threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance_hint": "PERFORMANCE_HINT",
    "cpu_pinning": "ENABLE_CPU_PINNING",
    "hyper_threading": "ENABLE_HYPER_THREADING",
    "execution_devices": "EXECUTION_DEVICES",
}
"""What a compiled model says of itself, as records call it, by its properties."""


class Graph:
    """A graph that is compiled for the shapes of its inputs when first seen, or for any."""

    def __init__(self, model: Any, properties: Mapping[str, Any], static: bool) -> None:
        self.model = model
        self.properties = dict(properties)
        self.static = static
        self.shapes: dict[str, list[int]] = {}
        self.request: Any = None if static else self._compile()

    def _compile(self) -> Any:
        compiled = openvino.Core().compile_model(self.model, "CPU", self.properties)
        _refuse_other_precision(compiled, self.properties["INFERENCE_PRECISION_HINT"])
        return compiled.create_infer_request()

    def run(self, shape: tuple[int, ...], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the output, of this shape; see `sdbench.backends.exported.Graph`."""
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        if self.static and shapes != self.shapes:
            with counted_as_compiling():
                self.request = None  # what was compiled for other shapes holds weights of its own
                self.model.reshape(shapes)
                self.request = self._compile()
            self.shapes = shapes
        output = torch.empty(shape, dtype=torch.float32)
        self.request.set_output_tensor(openvino.Tensor(output.numpy(), shared_memory=True))
        self.request.infer(arrays, share_inputs=True, share_outputs=True)
        return output


def _refuse_other_precision(compiled: Any, asked: str) -> None:
    """Raise `UnsupportedError` if a compiled model computes in another precision than asked for."""
    found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if found != asked:
        raise UnsupportedError(
            f"OpenVINO would compute in {found} instead of {asked}: it has no instructions for "
            f"{asked} on this processor"
        )


def _report(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model of one operator says of itself, compiled with these properties."""
    core = openvino.Core()
    number = openvino.opset15.parameter([1], np.float32)
    model = openvino.Model([openvino.opset15.relu(number)], [number])
    compiled = core.compile_model(model, "CPU", dict(properties))
    _refuse_other_precision(compiled, properties["INFERENCE_PRECISION_HINT"])
    said = {name: _plain(compiled.get_property(key)) for name, key in REPORTED.items()}
    return said | {
        "plugin_version": core.get_versions("CPU")["CPU"].build_number,
        "plugin_device": core.get_property("CPU", "FULL_DEVICE_NAME"),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, openvino.Type):
        return value.to_string()
    if hasattr(value, "name"):  # of an enumeration
        return value.name
    return list(value) if isinstance(value, (list, set, tuple)) else value


def set_up(case: Case, graphs_folder: Path, settings: Mapping[str, Any]) -> Runtime:
    """Set OpenVINO up for a case; `settings`, its properties and `SHAPES`, override its defaults.

    Raises:
        UnsupportedError: if this machine or the installed OpenVINO cannot run it.
    """
    device = torch_device(case)
    refuse_emulation(case.variant.precision, device)
    refuse_unreadable(graphs_folder)
    own = dict(settings)
    static = own.pop(SHAPES, "static") == "static"
    properties = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[case.variant.precision],
        "INFERENCE_NUM_THREADS": threads(case),
        # Only weights are in 8 bits: what they are multiplied with stays in the case's precision.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        **own,
    }
    said = _report(properties)
    # The loop around the networks is PyTorch's; both engines get the same number of threads.
    torch.set_num_threads(threads(case))

    def open_graph(name: str) -> Graph:
        model = openvino.Core().read_model(graphs_folder / name / "model.xml")
        return Graph(model, properties, static)

    switches = said | {
        "shapes": "static" if static else "dynamic",
        "settings": dict(settings),
        "quantized_weights": "int8" if INT8 in case.variant.switches else None,
    }
    return Runtime(device, open_graph, "static shapes" if static else None, switches)


def load(
    case: Case, model_folder: Path, graphs_folder: Path, settings: Mapping[str, Any]
) -> Engine:
    """Load a variant; see `sdbench.backends.load`."""
    return load_graphs(set_up(case, graphs_folder, settings), case, model_folder)
