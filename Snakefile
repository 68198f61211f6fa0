# What does it take to run a text-to-image model? See README.md.
#
#   config -> cases -> model -> ONNX export -> measure -> records -> tables -> figures -> page

import runpy
import sys

from snakemake.utils import min_version

min_version("9.12")

# In a repository, as with `github(...)`, there is no folder to import from: this makes one.
here = workflow.included_stack[-1]
checkout = here.replace_suffix(["Snakefile"], "scripts/sdbench/runtime/checkout.py")
folder_of = runpy.run_path(workflow.sourcecache.get_path(checkout))["folder_of"]
WORKFLOW = folder_of(here, workflow.sourcecache.cache_path)
sys.path.insert(0, str(WORKFLOW / "scripts"))

from sdbench.config.files import find_path, refuse_unreadable

config_file = find_path("config/config.yaml", WORKFLOW)
if not workflow.modifier.skip_configfile:
    refuse_unreadable([config_file])


configfile: config_file


pathvars:
    logs="<results>/logs",


wildcard_constraints:
    model="[^/]+",
    device="[^/]+",
    backend="[a-z]+",
    precision="[a-z0-9]+",
    options="[a-z0-9+-]+",


include: WORKFLOW / "rules/common.smk"
include: WORKFLOW / "rules/inputs.smk"
include: WORKFLOW / "rules/resources.smk"


# With records of another machine, what they were made from is not here, and nothing is measured.
if not config["records_only"]:

    include: WORKFLOW / "rules/models.smk"
    include: WORKFLOW / "rules/export.smk"
    include: WORKFLOW / "rules/measure.smk"
    include: WORKFLOW / "rules/quality.smk"
    include: WORKFLOW / "rules/records.smk"


include: WORKFLOW / "rules/tables.smk"
include: WORKFLOW / "rules/answers.smk"
include: WORKFLOW / "rules/figures.smk"
include: WORKFLOW / "rules/page.smk"
include: WORKFLOW / "rules/shapes.smk"
include: WORKFLOW / "rules/defaults.smk"


rule all:
    default_target: True
    input:
        "<results>/checks.txt",
