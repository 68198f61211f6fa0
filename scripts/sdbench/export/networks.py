"""Export the networks of a model to ONNX, and quantize them there."""

import shutil
import time
from pathlib import Path
from typing import Any

from sdbench.export.ort import onnxruntime
from sdbench.export.parity import Expected, Loaded, compare, expect, networks_of
from sdbench.models.families import family_of
from sdbench.runtime.files import read_json

import onnx
import torch
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, add_infer_metadata

FILE = "model.onnx"


def export_network(
    name: str, graphs: Path, model_folder: Path, opset: int, tolerance: float
) -> dict[str, Any]:
    """Export one network, a key of `networks_of`, to a folder of its name in `graphs`, and compare
    it with PyTorch on another size than it was traced on.

    Returns and raises: as `compare`, which has the tolerance.
    """
    network, file = networks_of(model_folder)[name], graphs / name / FILE
    loaded = Loaded(network, model_folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    traced = loaded.example(2, 16)
    with torch.no_grad():
        torch.onnx.export(
            loaded,
            tuple(traced.values()),
            file,
            input_names=list(traced),
            output_names=[network.output],
            dynamic_shapes=(tuple(dict(axes) for axes in network.dynamic.values()),),
            dynamo=True,
            opset_version=opset,
            verbose=False,
        )
    export_s = time.perf_counter() - begin
    return _compare(file, expect(loaded), tolerance, opset, export_s)


def quantize_network(
    name: str, quantized: Path, model_folder: Path, graphs: Path, opset: int
) -> dict[str, Any]:
    """Keep the weights of the denoiser's matrix products in 8 bits, by ONNX Runtime's quantizer.

    Dynamic quantization: what a weight is multiplied with is rounded to 8 bits too, again in each
    call. Weights of 7 bits (`reduce_range`): without VNNI the sums of larger ones would saturate.
    Its weight-only product (MatMulNBits) is not used: where it was tried (docs/method.md) it was
    slower than fp32. The other networks are copied, and what is known of them.

    `graphs` has the exported networks, their record lies next to it, and `quantized` is where these
    go. The denoiser has no tolerance.
    """
    if name != family_of(model_folder).denoiser:
        shutil.copytree(graphs / name, quantized / name, dirs_exist_ok=True)
        known: dict[str, Any] = read_json(graphs.with_name(f"{graphs.name}.json"))[name]
        return known
    network, file = networks_of(model_folder)[name], quantized / name / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    model = onnx.load(graphs / name / FILE, load_external_data=False)
    # The exporter's shapes of inner values do not survive the quantizer.
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model)
    add_infer_metadata(model)
    onnx.load_external_data_for_model(model, str(graphs / name))
    # What `quantize_dynamic` does, which would infer these shapes on another copy of all weights.
    quantizer = ONNXQuantizer(
        model,
        per_channel=True,
        reduce_range=True,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    del model  # it has a copy of its own
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(file, use_external_data_format=True)
    export_s = time.perf_counter() - begin
    del quantizer  # before PyTorch's weights and those of the session are in memory
    return _compare(file, expect(Loaded(network, model_folder)), None, opset, export_s)


def _compare(
    file: Path, expected: Expected, tolerance: float | None, opset: int, export_s: float
) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(expected.inputs))[0]
    return compare(file, found, expected, tolerance, opset, export_s)
