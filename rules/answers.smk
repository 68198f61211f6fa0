# What the results say: the post's claims judged, what to use for a need, and what fits.


rule write_findings:
    "Set each claim of the post against the tables."
    input:
        results="<results>/tables/results.csv",
        quality="<results>/tables/quality.csv",
        races="<results>/tables/races.csv",
        published="<results>/tables/published.csv",
        references=[
            f"<results>/quality/{variant_path(reference)}.npz"
            for reference, _ in PAIRS
        ],
        caption=caption("findings"),
    output:
        table=report(
            "<results>/tables/findings.csv",
            category="Answers",
            caption="../report/findings.rst",
        ),
        text=report(
            "<results>/findings.md",
            category="Answers",
            caption="../report/findings.rst",
        ),
    log:
        "<logs>/write_findings.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        models=[reference.model for reference, _ in PAIRS],
    script:
        "../scripts/write_findings.py"


rule rank_choices:
    "Rank all that was measured or published by what the config says is needed."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("choices"),
    output:
        report(
            "<results>/tables/choices.csv",
            category="Answers",
            caption="../report/choices.rst",
        ),
    log:
        "<logs>/rank_choices.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    params:
        need=config["need"],
    script:
        "../scripts/rank_choices.py"


rule predict_fits:
    "Say for each model, precision and option the largest batch in each size of memory."
    input:
        results="<results>/tables/results.csv",
        largest="<results>/tables/largest.csv",
        manifests=collect(
            "<results>/models/{model}.json",
            model=list(dict.fromkeys(model for model, _, _ in SWEEP_CASES)),
        ),
        caption=caption("fits_table"),
    output:
        report(
            "<results>/tables/fits.csv",
            category="Answers",
            caption="../report/fits_table.rst",
        ),
    log:
        "<logs>/predict_fits.log",
    localrule: True
    conda:
        "../envs/tables.yaml"
    script:
        "../scripts/predict_fits.py"
