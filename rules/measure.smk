# Speed and memory. One job loads Python and PyTorch once and measures every case of one model on
# one device with one backend: start-up costs seconds, and on a cluster this is what lands on a node.


rule measure_sweep:
    "Measure every case of one model on one device with one backend."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_if_it_fits),
        graphs=graphs_of(measured),
        settings=settings_of(measured),
        environment_file=environment_file,
    output:
        # The records lie next to the index: Snakemake deletes what it knows of before a job starts,
        # and a record that still holds must survive that.
        index="<results>/records/{model}/{device}/{backend}/index.json",
    # The terminal says each number as soon as there is one, images come after.
    priority: 1
    conda:
        "../envs/{backend}.yaml"
    # Nothing else may run next to a measurement, so the job takes every core that Snakemake has. How
    # many threads the networks get is the device's own setting.
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(240),
    params:
        cases=as_dicts(PLAN.cases_at, "cases"),
        searches=lambda wildcards: PLAN.searches_at[place_of(wildcards)],
        measuring=config["measuring"],
        peaks=computed_memory,
    script:
        "../scripts/measure_sweep.py"


rule search_settings:
    "Search for the best settings of an engine, for the variants that ask for them (`tuned`)."
    input:
        model_folder=ancient(model_that_fits),
        graphs=graphs_of(tuned),
        environment_file=environment_file,
    output:
        output="<results>/settings/{model}/{device}/{backend}.json",
    # --containerize asks every rule for its environment, and one without jobs knows no backend: any
    # environment does then.
    conda:
        "../envs/{backend}.yaml" if PLAN.tuned_at else "../envs/pytorch.yaml"
    # As in measure_sweep: nothing else may run next to it.
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(120),
    params:
        cases=as_dicts(PLAN.tuned_at, "variants to tune"),
    script:
        "../scripts/search_settings.py"


rule race_denoisers:
    "Race the denoisers of one model on one device with one backend against the reference's."
    input:
        manifest="<results>/models/{model}.json",
        model=ancient(model_if_it_fits),
        graphs=graphs_of(raced_with_references),
        settings=settings_of(raced),
        environment_file=environment_file,
    output:
        # The records lie next to it, as those of measure_sweep do.
        index="<results>/races/{model}/{device}/{backend}/index.json",
    conda:
        "../envs/{backend}.yaml" if PLAN.races else "../envs/pytorch.yaml"
    threads: cores_of_device
    resources:
        # Two processes at a time, the reference and what is raced against it.
        **ON_DEVICE | {"mem_mb": memory_for_racers},
        runtime=growing(240),
    params:
        # Not that of rules/defaults.smk: the two sides of a race may have two backends.
        code=race_code,
        pairs=as_dicts(PLAN.races_at, "races"),
        measuring=vars(Racing.of(config["measuring"])),
    script:
        "../scripts/race_denoisers.py"


rule measure_peak_throughput:
    "Measure what a device can do at best: matrix products in each precision, and a copy."
    input:
        environment_file=in_workflow("envs/pytorch.yaml"),
    output:
        "<results>/peak_throughput/{device}.json",
    conda:
        "../envs/pytorch.yaml"
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(30),
    params:
        # What of a device's entry in the config can move a measurement.
        device=lambda wildcards: vars(PLAN.config.devices[wildcards.device]),
        watching=vars(Watching.of(config["measuring"])),
    script:
        "../scripts/measure_peak_throughput.py"


PROFILE = f"{VARIANT}/batch-{{batch_size}}"


rule profile_case:
    "Profile one call of any case of PyTorch. Ask for its table: no other rule needs it."
    input:
        model_folder=ancient(profiled_model),
    output:
        table=f"<results>/profile/{PROFILE}.csv",
        trace=f"<results>/profile/{PROFILE}.trace.json.gz",
    wildcard_constraints:
        batch_size="[1-9][0-9]*",
    conda:
        "../envs/pytorch.yaml"
    threads: cores_of_device
    resources:
        **ON_DEVICE,
        runtime=growing(60),
    params:
        case=profiled_case,
    script:
        "../scripts/profile_case.py"
