# Tables from records. A table can be made again without touching a device.

from sdbench.cases.expansion import matrix_rows

TABLES = """
    cases results largest peak_throughput noise races exports predicted_memory quality quality_set
    quality_pairs
""".split()


rule collect_cases:
    "List every cell of the matrix, those that cannot exist with the reason."
    output:
        table("cases"),
    conda:
        "../envs/tables.yaml"
    params:
        rows=matrix_rows(PLAN.cases, PLAN.absent),
    script:
        "../scripts/collect_cases.py"


rule collect_records:
    "Make the tables of results, largest batches, peak throughput, noise and exported networks."
    input:
        indexes=INDEXES,
        device_peaks=peaks_of(PLAN.cases_at),
        model_operations=OPERATIONS,
        graphs=graph_records(PLAN.measured_or_raced),
        quality_set="<results>/tables/quality_set.csv",
    output:
        results=table("results"),
        largest=table("largest"),
        peak_throughput=table("peak_throughput"),
        noise=table("noise"),
        exports=table("exports"),
    conda:
        "../envs/tables.yaml"
    params:
        prices=PRICES,
        currency=config["currency"],
        gate=config["quality_gate"],
        precision=config["measuring"]["precision"],
    script:
        "../scripts/collect_records.py"


rule collect_races:
    "Make the table of races: those run here, and those of other machines."
    input:
        indexes=RACE_INDEXES,
        device_peaks=peaks_of(PLAN.races_at),
        operations=RACE_OPERATIONS,
        dropped_in=RACES_DROPPED_IN,
    output:
        table=table("races"),
    conda:
        "../envs/tables.yaml"
    params:
        max_busy_cores=config["measuring"]["max_busy_cores"],
    script:
        "../scripts/collect_races.py"


rule compare_quality:
    "Compare the images of one variant with the reference's."
    input:
        reference=lambda wildcards: REFERENCES[wildcards.model],
        other=f"<results>/quality/{VARIANT}.npz",
    output:
        table=f"<results>/quality/{VARIANT}.csv",
        images=directory(f"<results>/quality/{VARIANT}"),
    conda:
        "../envs/quality.yaml"
    script:
        "../scripts/compare_quality.py"


rule collect_quality:
    "Make the table of how far images are from the reference's."
    input:
        comparisons=[
            f"<results>/quality/{VARIANT.format(**vars(other))}.csv"
            for _, other in PLAN.compared
        ],
        manifests=manifests_of(REFERENCES),
    output:
        table=table("quality"),
    conda:
        "../envs/tables.yaml"
    params:
        pairs=[
            {
                "variant": vars(other),
                "reference": vars(reference),
                # And not the prompt, which is anybody's text: Snakemake's report has parameters in
                # a script, as they are.
                "settings": generated_as(
                    other.model, "width", "height", "scheduler", "guidance"
                ),
            }
            for reference, other in PLAN.compared
        ],
    script:
        "../scripts/collect_quality.py"


rule collect_quality_set:
    "Make the tables of what sets of images say, and of their pairs."
    input:
        judgements=collect("<results>/quality/{model}/judged.json", model=PLAN.sets),
        manifests=manifests_of(PLAN.sets),
        archives=[images_of(v) for found in PLAN.sets.values() for v in found.variants],
    output:
        verdicts=table("quality_set"),
        # Not in Snakemake's report: prompts are anybody's text.
        pairs="<results>/tables/quality_pairs.csv",
    conda:
        "../envs/tables.yaml"
    params:
        sets=[
            {
                "reference": vars(found.reference),
                "others": [vars(other) for other in found.others],
                "margin": found.entry.margin,
                "settings": generated_as(
                    model, "width", "height", "steps", "scheduler", "guidance"
                ),
            }
            for model, found in PLAN.sets.items()
        ],
        gate=config["quality_gate"],
    script:
        "../scripts/collect_quality_set.py"


rule collect_published:
    "Make the table of what others published and measured, which figures show next to these results."
    input:
        literature=resource("published.csv"),
        dropped_in=DROPPED_IN,
    output:
        table=table("published"),
    conda:
        "../envs/tables.yaml"
    params:
        campaigns=config["published"],
    script:
        "../scripts/collect_published.py"


rule export_results:
    "Export the results for other machines to show. Put the table into their resources/."
    input:
        **tables("results", "races"),
    output:
        table="<results>/exported.csv",
        races_table="<results>/exported_races.csv",
    conda:
        "../envs/tables.yaml"
    params:
        campaign=config["campaign"],
        version=VERSION,
    script:
        "../scripts/export_results.py"


rule check_results:
    "Check that every case has its row, that no number is impossible, and that nothing failed."
    input:
        **tables(*TABLES),
        images=[*map(images_of, PLAN.images)],
        judged=collect("<results>/quality/{model}/judged.json", model=PLAN.sets),
        made=[
            *manifests_of([*MODELS, *REFERENCES, *PLAN.sets]),
            *unique(OPERATIONS + RACE_OPERATIONS),
            *graph_records(sorted(PLAN.variants)),
        ],
        # Last of all: a failed case must not keep figures and page from being made.
        files=[
            *(
                f"<results>/figures/{name}.{figure.formats[0]}"
                for name, figure in SHOWN_FIGURES.items()
            ),
            "<results>/findings.md",
            "<results>/tables/choices.csv",
            "<results>/tables/fits.csv",
            "<results>/report.html",
        ],
    output:
        report="<results>/checks.txt",
    conda:
        "../envs/tables.yaml"
    script:
        "../scripts/check_results.py"
