"""Convert networks that were exported to ONNX to OpenVINO's format, and quantize them there."""

import time
from pathlib import Path
from typing import Any

from sdbench.export.openvino_toolkit import openvino
from sdbench.export.parity import Loaded, compare, expect, networks_of, refuse_network
from sdbench.models.families import family_of
from sdbench.runtime.errors import one_line

import nncf

FILE = "model.xml"

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
"""fp32 throughout: what quantized weights are multiplied with is not quantized too."""


def convert_network(
    name: str, converted: Path, model_folder: Path, graphs: Path, int8: bool, tolerance: float
) -> dict[str, Any]:
    """Convert one network, and compare it with PyTorch on another size than it was traced on.

    `int8`: whether the weights of the denoiser's matrix products are kept in 8 bits, scaled row by
    row (NNCF), without a tolerance.

    Returns:
        As `compare`; `status` is `unsupported`, with a reason and no numbers, where OpenVINO lacks
        an operator of the network.
    """
    network, file = networks_of(model_folder)[name], converted / name / FILE
    file.parent.mkdir(parents=True)
    begin = time.perf_counter()
    core = openvino.Core()
    quantized = int8 and name == family_of(model_folder).denoiser
    try:
        model = core.read_model(graphs / name / "model.onnx")
        if quantized:
            model = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT8_SYM,
                ignored_scope=nncf.IgnoredScope(types=["Convolution"], validate=False),
            )
        openvino.save_model(model, file, compress_to_fp16=False)
        export_s = time.perf_counter() - begin
        del model  # its weights would stay in memory next to those of the file
        compiled = core.compile_model(file, "CPU", EXACT)
    except RuntimeError as error:
        return refuse_network(name, converted, f"OpenVINO cannot run the {name}: {one_line(error)}")
    expected = expect(Loaded(network, model_folder))
    found = compiled(dict(expected.inputs))[0]
    return compare(file, found, expected, None if quantized else tolerance, None, export_s)
