# Tables from records. A table can be made again without touching a device.

# Tables of the same form that others exported on their machines: whatever lies there is shown.
DROPPED_IN = sorted(
    in_workflow(f"resources/{file.name}")
    for file in (WORKFLOW / "resources").glob("*.csv")
    if file.name != "published.csv"
)

TABLES = [
    "cases",
    "latency",
    "memory",
    "throughput",
    "largest",
    "ceilings",
    "noise",
    "races",
    "exports",
    "quality",
]
FITS_CODE = [
    "cases/absence.py",
    "cases/capabilities.py",
    "cases/case.py",
    "cases/options.py",
    "kinds.py",
    "fits.py",
    "meters/largest_batch.py",
    "models/weights.py",
]
TABLE_CODE = [
    "cases/absence.py",
    "cases/capabilities.py",
    "cases/case.py",
    "cases/options.py",
    "kinds.py",
    "tables/rows.py",
    "tables/files.py",
    "tables/schemas.py",
]


rule collect_cases:
    "List every cell of the matrix, those that cannot exist with the reason."
    output:
        report(
            "<results>/tables/cases.csv",
            category="Tables",
            caption="../report/cases.rst",
        ),
    log:
        "<logs>/collect_cases.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE),
        rows=matrix_rows(CASES, ABSENT),
    script:
        "../scripts/collect_cases.py"


rule collect_records:
    "Make the tables of latency, memory, throughput, largest batch, ceilings and noise."
    input:
        indexes=SWEEP_INDEXES,
        ceilings=collect(
            "<results>/ceilings/{device}.json",
            device=list(dict.fromkeys(device for _, device, _ in SWEEP_CASES)),
        ),
        operations=[
            operations_of(model, config["models"][model]["generation"])
            for model in dict.fromkeys(model for model, _, _ in SWEEP_CASES)
            if model not in UNMADE
        ],
    output:
        latency=report(
            "<results>/tables/latency.csv",
            category="Tables",
            caption="../report/latency.rst",
        ),
        memory=report(
            "<results>/tables/memory.csv",
            category="Tables",
            caption="../report/memory_table.rst",
        ),
        throughput=report(
            "<results>/tables/throughput.csv",
            category="Tables",
            caption="../report/throughput_table.rst",
        ),
        largest=report(
            "<results>/tables/largest.csv",
            category="Tables",
            caption="../report/largest.rst",
        ),
        ceilings=report(
            "<results>/tables/ceilings.csv",
            category="Tables",
            caption="../report/ceilings.rst",
        ),
        noise=report(
            "<results>/tables/noise.csv",
            category="Tables",
            caption="../report/noise.rst",
        ),
    log:
        "<logs>/collect_records.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(
            *TABLE_CODE,
            "limits.py",
            "records.py",
            "tables/quality.py",
            "comparison.py",
        ),
        prices={
            name: device["price_per_hour"]
            for name, device in config["devices"].items()
        },
        currency=config["currency"],
        gate=config["quality_gate"],
    script:
        "../scripts/collect_records.py"


rule collect_races:
    "Make the table of races: those run here, and those of other machines."
    input:
        indexes=RACE_INDEXES,
        ceilings=collect(
            "<results>/ceilings/{device}.json",
            device=list(dict.fromkeys(device for _, device, _ in RACE_PAIRS)),
        ),
        operations=list(
            dict.fromkeys(
                operations_of(race.case.variant.model, race.case.generation)
                for race in RACES
                if race.case.variant.model not in UNMADE
            )
        ),
        dropped_in=RACES_DROPPED_IN,
    output:
        report(
            "<results>/tables/races.csv",
            category="Tables",
            caption="../report/races.rst",
        ),
    log:
        "<logs>/collect_races.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE, "limits.py", "records.py", "tables/races.py"),
        max_busy_cores=config["measuring"]["max_busy_cores"],
    script:
        "../scripts/collect_races.py"


rule collect_exports:
    "Make the table of exported networks."
    input:
        records=list(
            dict.fromkeys(
                record
                for graphs in [*SWEEP_GRAPHS.values(), *RACE_GRAPHS.values()]
                for record in graphs
            )
        ),
    output:
        report(
            "<results>/tables/exports.csv",
            category="Tables",
            caption="../report/exports.rst",
        ),
    log:
        "<logs>/collect_exports.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE),
    script:
        "../scripts/collect_exports.py"


rule collect_quality:
    "Make the table of how far pictures are from the reference's."
    input:
        comparisons=[
            f"<results>/quality/{variant_path(other)}.csv" for _, other in COMPARED
        ],
        manifests=collect(
            "<results>/models/{model}.json",
            model=[reference.model for reference, _ in PAIRS],
        ),
    output:
        report(
            "<results>/tables/quality.csv",
            category="Tables",
            caption="../report/quality.rst",
        ),
    log:
        "<logs>/collect_quality.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE),
        pairs=[
            {
                "variant": vars(other),
                "reference": vars(reference),
                # And not the prompt, which is anybody's text: Snakemake's report has parameters in
                # a script, as they are.
                "settings": {
                    key: config["models"][other.model]["generation"][key]
                    for key in ("width", "height", "scheduler", "guidance")
                },
            }
            for reference, other in COMPARED
        ],
    script:
        "../scripts/collect_quality.py"


rule collect_published:
    "Make the table of what others published and measured, which figures show beside the own."
    input:
        literature=resource("published.csv"),
        dropped_in=DROPPED_IN,
    output:
        report(
            "<results>/tables/published.csv",
            category="Tables",
            caption="../report/published.rst",
        ),
    log:
        "<logs>/collect_published.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE, "published.py"),
        campaigns=config["published"],
    script:
        "../scripts/collect_published.py"


rule export_results:
    "Export the results for other machines to show. Put the table into their resources/."
    input:
        latency="<results>/tables/latency.csv",
        memory="<results>/tables/memory.csv",
        throughput="<results>/tables/throughput.csv",
        races="<results>/tables/races.csv",
    output:
        cases="<results>/exported.csv",
        races="<results>/exported_races.csv",
    log:
        "<logs>/export_results.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of(*TABLE_CODE, "published.py", "tables/joined.py"),
        campaign=config["campaign"],
        kinds=DEVICE_KINDS,
    script:
        "../scripts/export_results.py"


rule check_results:
    "Check that every case has its row, that no number is impossible, and that nothing failed."
    input:
        tables=collect("<results>/tables/{table}.csv", table=TABLES),
        pictures=[f"<results>/quality/{variant_path(variant)}.npz" for variant in DRAWN],
        # Last of all: a failed case must not keep figures and page from being made.
        figures=collect("<results>/figures/{figure}", figure=FIGURES),
        answers=[
            "<results>/findings.md",
            "<results>/tables/choices.csv",
            "<results>/tables/fits.csv",
        ],
        page="<results>/report.html",
    output:
        "<results>/checks.txt",
    log:
        "<logs>/check_results.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        code=code_of("archive.py", "tables/files.py", "tables/schemas.py"),
    script:
        "../scripts/check_results.py"
