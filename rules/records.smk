# One archive of what was measured here, for a machine that makes tables, figures and page of it.


rule pack_records:
    "Pack all that tables, figures and page are made of. `make page RECORDS=...` reads it."
    input:
        measured=unique(
            [
                *INDEXES,
                *RACE_INDEXES,
                *peaks_of([*PLAN.cases_at, *PLAN.races_at]),
                *manifests_of(variant.model for variant in sorted(PLAN.variants)),
                *OPERATIONS,
                *RACE_OPERATIONS,
                *graph_records(PLAN.measured_or_raced),
                *map(images_of, PLAN.images),
                *collect("<results>/quality/{model}/judged.json", model=PLAN.sets),
            ]
        ),
    output:
        archive="<results>/records.tar.gz",
    conda:
        "../envs/pytorch.yaml"
    params:
        config=config,
    script:
        "../scripts/pack_records.py"
