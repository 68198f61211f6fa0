# Images of every variant: over the number of steps, and of a set of prompts, which are judged.


rule generate_images:
    "Generate the images of one variant: over the number of steps, and of a set of prompts."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_if_it_fits),
        graphs=graphs_of(generated),
        settings=settings_of(generated),
    output:
        f"<results>/quality/{VARIANT}.npz",
    conda:
        "../envs/{backend}.yaml" if PLAN.images else "../envs/pytorch.yaml"
    # Generating next to a measurement would disturb it.
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(240),
    params:
        images=generated_images,
        peaks=computed_memory,
    script:
        "../scripts/generate_images.py"


rule judge_images:
    "Score how well each image of a set follows its prompt, in fp32 on the CPU."
    input:
        archives=lambda wildcards: [
            images_of(variant) for variant in PLAN.sets[wildcards.model].variants
        ],
        judge_folder=judge_of,
    output:
        output="<results>/quality/{model}/judged.json",
    wildcard_constraints:
        model=one_of(PLAN.sets),
    conda:
        "../envs/judge.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        judge=named_judge,
    script:
        "../scripts/judge_images.py"


# As fetch_model.
rule fetch_judge:
    "Download the model that judges images, at its pinned revision."
    output:
        folder=directory("<results>/judges/{model}"),
    wildcard_constraints:
        model=one_of(PLAN.sets),
    conda:
        "../envs/hub.yaml"
    params:
        repository=lambda wildcards: named_judge(wildcards)["hub"],
        revision=lambda wildcards: named_judge(wildcards)["revision"],
        tokenizer=lambda wildcards: named_judge(wildcards).get("tokenizer"),
    script:
        "../scripts/fetch_judge.py"
