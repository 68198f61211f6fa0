# The networks of a model as ONNX graphs, for the backends that run those.

from sdbench.cases.options import INT8_GRAPHS


rule export_onnx:
    "Export the networks of a model to ONNX and compare each with PyTorch."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_that_fits),
    output:
        record="<results>/onnx/{model}.json",
        graphs=directory("<results>/onnx/{model}"),
    # The longest of what is made before anything is measured, and of one core.
    priority: 1
    conda:
        "../envs/onnxruntime.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        last_attempt=is_last_attempt,
    params:
        opset=config["export"]["opset"],
        tolerance=config["export"]["tolerance"],
    script:
        "../scripts/export_onnx.py"


rule quantize_onnx:
    "Quantize the weights of exported networks for ONNX Runtime, and compare each with PyTorch."
    input:
        exported="<results>/onnx/{model}.json",
        graphs=ancient("<results>/onnx/{model}"),
        model=ancient(model_that_fits),
    output:
        record="<results>/onnx-int8/{model}.json",
        quantized=directory("<results>/onnx-int8/{model}"),
    conda:
        "../envs/onnxruntime.yaml"
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        last_attempt=is_last_attempt,
    params:
        opset=config["export"]["opset"],
    script:
        "../scripts/quantize_onnx.py"


rule convert_openvino:
    "Convert exported networks to OpenVINO's format, and compare each with PyTorch."
    input:
        exported="<results>/onnx/{model}.json",
        graphs=ancient("<results>/onnx/{model}"),
        model=ancient(model_that_fits),
    output:
        record="<results>/openvino{weights}/{model}.json",
        converted=directory("<results>/openvino{weights}/{model}"),
    log:
        "<logs>/convert_openvino{weights}/{model}.log",
    wildcard_constraints:
        weights="(-int8)?",
    conda:
        "../envs/openvino.yaml"
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        last_attempt=is_last_attempt,
    params:
        int8=lambda wildcards: wildcards.weights == INT8_GRAPHS,
        tolerance=config["export"]["tolerance"],
    script:
        "../scripts/convert_openvino.py"
