# Speed and memory. One job loads Python and PyTorch once and measures every case of one model on
# one device with one backend: start-up costs seconds, and on a cluster this is what lands on a node.


def sweep_cases(wildcards):
    wanted = (wildcards.model, wildcards.device, wildcards.backend)
    return [
        case.as_dict()
        for case in CASES
        if (case.variant.model, case.variant.device, case.variant.backend) == wanted
    ]


def engine_code(wildcards):
    "Return the modules that decide what a backend computes."
    return library(
        "cases.py",
        "hugging_face.py",
        "backends/__init__.py",
        "backends/engine.py",
        f"backends/{wildcards.backend}.py",
    )


def meter_code(wildcards):
    "Return the modules that decide a record's numbers."
    return engine_code(wildcards) + library(
        "sweep.py",
        "nvml.py",
        "meters/contention.py",
        "meters/energy.py",
        "meters/latency.py",
        "meters/memory.py",
        "meters/phases.py",
        "meters/reference.py",
    )


rule measure_sweep:
    "Measure every case of one model on one device with one backend."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_folder),
        onnx=onnx_of,
        code=meter_code,
        environment_file=lambda wildcards: in_workflow(f"envs/{wildcards.backend}.yaml"),
    output:
        # The records lie beside the index: Snakemake deletes what it knows of before a job starts,
        # and a record that still holds must survive that.
        index="<results>/records/{model}/{device}/{backend}/index.json",
    log:
        "<logs>/measure_sweep/{model}/{device}/{backend}.log",
    benchmark:
        "<benchmarks>/measure_sweep/{model}/{device}/{backend}.tsv"
    conda:
        "../envs/{backend}.yaml"
    # Nothing else may run beside a measurement, so the job takes every core that Snakemake has. How
    # many threads the networks get is the device's own setting.
    threads: workflow.cores
    params:
        cases=sweep_cases,
        measuring=config["measuring"],
    script:
        "../scripts/measure_sweep.py"
