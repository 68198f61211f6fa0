# Images of every variant over the number of steps, and how far they are from the reference's.


rule generate_images:
    "Generate the images of one variant over the number of steps."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_with_room),
        graphs=graphs_of(generated),
        settings=settings_of(generated),
    output:
        f"<results>/quality/{VARIANT}.npz",
    log:
        f"<logs>/generate_images/{VARIANT}.log",
    benchmark:
        f"<benchmarks>/generate_images/{VARIANT}.tsv"
    conda:
        "../envs/{backend}.yaml"
    # Generating next to a measurement would disturb it.
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(240),
    params:
        case=generated_case,
        runs=quality_runs,
        trajectory_steps=trajectory_steps,
    script:
        "../scripts/generate_images.py"


rule compare_quality:
    "Compare the images of one variant with the reference's."
    input:
        reference=reference_images,
        other=f"<results>/quality/{VARIANT}.npz",
    output:
        table=f"<results>/quality/{VARIANT}.csv",
        images=directory(f"<results>/quality/{VARIANT}"),
    log:
        f"<logs>/compare_quality/{VARIANT}.log",
    localrule: True
    conda:
        "../envs/quality.yaml"
    script:
        "../scripts/compare_quality.py"
