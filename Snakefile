# What does it take to run a text-to-image model? See README.md.
#
#   config -> cases -> model -> ONNX export -> measure -> records -> tables -> figures -> page

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.12")

sys.path.insert(
    0, workflow.current_basedir.join("scripts").get_path_or_uri(secret_free=True)
)

from sdbench.config.files import refuse_unreadable

own_config = workflow.current_basedir.join("config/config.yaml").get_path_or_uri(True)


# That of the working directory (--directory, or use as a module), or else the workflow's own.
config_file = (
    "config/config.yaml" if Path("config/config.yaml").exists() else own_config
)
if not workflow.modifier.skip_configfile:
    refuse_unreadable([config_file])


configfile: config_file


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


wildcard_constraints:
    model="[^/]+",
    device="[^/]+",
    backend="[a-z]+",
    precision="[a-z0-9]+",
    options="[a-z0-9+-]+",


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/resources.smk"


# With records of another machine, what they were made from is not here, and nothing is measured.
if not config["records_only"]:

    include: "rules/models.smk"
    include: "rules/export.smk"
    include: "rules/measure.smk"
    include: "rules/quality.smk"
    include: "rules/records.smk"


include: "rules/tables.smk"
include: "rules/answers.smk"
include: "rules/figures.smk"
include: "rules/page.smk"
include: "rules/shapes.smk"
include: "rules/code.smk"


rule all:
    default_target: True
    input:
        "<results>/checks.txt",
