# The networks of a model as ONNX graphs, for the backends that run those.


rule export_onnx:
    "Export one network of a model to ONNX and compare it with PyTorch."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_folder),
        code=library("export.py", "hugging_face.py"),
    output:
        graph=directory("<results>/onnx/{model}/{network}"),
        record="<results>/onnx/{model}/{network}.json",
    log:
        "<logs>/export_onnx/{model}/{network}.log",
    benchmark:
        "<benchmarks>/export_onnx/{model}/{network}.tsv"
    wildcard_constraints:
        network="|".join(NETWORKS),
    conda:
        "../envs/onnx.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        opset=config["export"]["opset"],
        tolerance=config["export"]["tolerance"],
    script:
        "../scripts/export_onnx.py"
