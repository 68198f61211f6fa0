# Pictures of every variant over the number of steps, and how far they are from the reference's.


rule draw_images:
    "Draw the pictures of one variant over the number of steps."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_with_room),
        graphs=graphs_of(drawn),
        settings=settings_of(drawn),
    output:
        f"<results>/quality/{VARIANT}.npz",
    log:
        f"<logs>/draw_images/{VARIANT}.log",
    benchmark:
        f"<benchmarks>/draw_images/{VARIANT}.tsv"
    conda:
        "../envs/{backend}.yaml"
    # Drawing beside a measurement would disturb it.
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(240),
    params:
        case=drawn_case,
        runs=quality_runs,
        trajectory_steps=trajectory_steps,
    script:
        "../scripts/draw_images.py"


rule compare_quality:
    "Compare the pictures of one variant with the reference's."
    input:
        reference=reference_pictures,
        other=f"<results>/quality/{VARIANT}.npz",
    output:
        table=f"<results>/quality/{VARIANT}.csv",
        pictures=directory(f"<results>/quality/{VARIANT}"),
    log:
        f"<logs>/compare_quality/{VARIANT}.log",
    localrule: True
    conda:
        "../envs/quality.yaml"
    script:
        "../scripts/compare_quality.py"
