# Pictures of every variant over the number of steps, and how far they are from the reference's.


def quality_entry(model):
    return next(entry for entry in config["quality"] if entry["model"] == model)


def drawn_case(wildcards):
    "Return the case, of one picture, that the pictures of a variant are drawn as."
    variant = Variant(**{key: wildcards[key] for key in VARIANT_KEYS})
    generation = config["models"][variant.model]["generation"]
    device = measured_device(config["devices"][variant.device])
    return Case(variant, 1, generation, device).as_dict()


def quality_steps(wildcards):
    entry = quality_entry(wildcards.model)
    count = entry["trajectory_steps"]
    return (
        list(range(1, count + 1)) if entry["runs"] == "all" else sorted(entry["runs"])
    )


VARIANT_KEYS = ["model", "device", "backend", "precision", "options"]
VARIANT = "/".join(f"{{{key}}}" for key in VARIANT_KEYS)
COMPARED = [(reference, other) for reference, others in PAIRS for other in others]


def variant_path(variant):
    return VARIANT.format(**vars(variant))


def reference_pictures(wildcards):
    reference = next(ref for ref, _ in PAIRS if ref.model == wildcards.model)
    return f"<results>/quality/{variant_path(reference)}.npz"


rule draw_images:
    "Draw the pictures of one variant over the number of steps."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_folder),
        onnx=onnx_of,
        code=lambda wildcards: engine_code(wildcards) + library("quality.py"),
    output:
        f"<results>/quality/{VARIANT}.npz",
    log:
        f"<logs>/draw_images/{VARIANT}.log",
    benchmark:
        f"<benchmarks>/draw_images/{VARIANT}.tsv"
    conda:
        "../envs/{backend}.yaml"
    # Drawing beside a measurement would disturb it.
    threads: workflow.cores
    params:
        case=drawn_case,
        runs=quality_steps,
        trajectory_steps=lambda wildcards: quality_entry(wildcards.model)[
            "trajectory_steps"
        ],
    script:
        "../scripts/draw_images.py"


rule compare_quality:
    "Compare the pictures of one variant with the reference's."
    input:
        reference=reference_pictures,
        other=f"<results>/quality/{VARIANT}.npz",
        code=library("comparison.py"),
    output:
        table=f"<results>/quality/{VARIANT}.csv",
        pictures=directory(f"<results>/quality/{VARIANT}"),
    log:
        f"<logs>/compare_quality/{VARIANT}.log",
    conda:
        "../envs/quality.yaml"
    script:
        "../scripts/compare_quality.py"
