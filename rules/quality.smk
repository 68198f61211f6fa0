# Images of every variant over the number of steps.


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
        "../envs/{backend}.yaml" if PLAN.quality else "../envs/pytorch.yaml"
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
