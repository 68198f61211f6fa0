# Where the weights come from, and what they are. A model of source `local` is used where it lies.


rule build_model:
    "Build a model from its published configuration with seeded weights."
    input:
        architecture=architecture_file,
        parts=architecture_parts,
        vocabulary=resource("tokenizers/bpe_simple_vocab_16e6.txt.gz"),
    output:
        folder=directory("<results>/models/{model}"),
    wildcard_constraints:
        model=models_from("seeded"),
    conda:
        "../envs/pytorch.yaml"
    resources:
        mem_mb=memory_to_build,
        last_attempt=is_last_attempt,
        runtime=growing(60),
    params:
        seed=lookup("models/{model}/source/seed", within=config),
    script:
        "../scripts/build_model.py"


# No `retries`: the script tries again what may pass, and a licence that is not accepted is said once.
rule fetch_model:
    "Download a model at its pinned revision. Later rules need no network."
    output:
        folder=directory("<results>/models/{model}"),
    wildcard_constraints:
        model=models_from("hub"),
    # No resources: compute nodes of a cluster often have no network.
    conda:
        "../envs/hub.yaml"
    params:
        repository=lookup("models/{model}/source/hub", within=config),
        revision=lookup("models/{model}/source/revision", within=config),
    script:
        "../scripts/fetch_model.py"


rule outline_model:
    "Say what a model would be that no device has room for, by its description alone."
    input:
        architecture=architecture_file,
        parts=architecture_parts,
    output:
        manifest="<results>/models/{model}.json",
    wildcard_constraints:
        model=one_of(PLAN.too_large),
    conda:
        "../envs/pytorch.yaml"
    params:
        source=lookup("models/{model}/source", within=config),
    script:
        "../scripts/outline_model.py"


rule describe_model:
    "Say what a model is: its files with their hashes, and its parameters."
    input:
        model=model_folder,
        files=local_files,
    output:
        manifest="<results>/models/{model}.json",
    wildcard_constraints:
        model=one_of(model for model in config["models"] if model not in PLAN.too_large),
    # Exports wait for it.
    priority: 1
    conda:
        "../envs/hub.yaml"
    params:
        source=lookup("models/{model}/source", within=config),
    script:
        "../scripts/describe_model.py"


rule count_operations:
    "Count what each network of a model computes for one image of a size in pixels."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_that_fits),
    output:
        operations="<results>/operations/{model}/{width}x{height}.json",
    wildcard_constraints:
        width="[0-9]+",
        height="[0-9]+",
    # No resources: nothing is computed, and it takes the seconds in which PyTorch starts.
    conda:
        "../envs/pytorch.yaml"
    params:
        generation=counted_generation,
    script:
        "../scripts/count_operations.py"
