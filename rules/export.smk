# The networks of a model as ONNX graphs, for the backends that run those.


rule export_onnx:
    "Export the networks of a model to ONNX and compare each with PyTorch."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_folder),
    output:
        graphs=directory("<results>/onnx/{model}"),
        record="<results>/onnx/{model}.json",
    log:
        "<logs>/export_onnx/{model}.log",
    benchmark:
        "<benchmarks>/export_onnx/{model}.tsv"
    conda:
        "../envs/onnx.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        code=code_of(
            *FAMILY_CODE, "export.py", "hugging_face.py", "ort.py", "processes.py"
        ),
        opset=config["export"]["opset"],
        tolerance=config["export"]["tolerance"],
    script:
        "../scripts/export_onnx.py"
