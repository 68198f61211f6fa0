# What does it take to run a text-to-image model? See README.md.
#
#   config -> cases -> model -> ONNX export -> measure -> records -> tables -> figures, report

from snakemake.utils import min_version

min_version("9.12")


configfile: "config/config.yaml"


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


wildcard_constraints:
    model="[^/]+",
    device="[^/]+",
    backend="[a-z]+",
    precision="[a-z0-9]+",
    options="[a-z+-]+",


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/resources.smk"
include: "rules/models.smk"
include: "rules/export.smk"
include: "rules/measure.smk"
include: "rules/quality.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/shapes.smk"


rule all:
    default_target: True
    input:
        "<results>/checks.txt",
