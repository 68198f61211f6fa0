# What the rules share: the checked config, the cases in it, and functions that name files.

import atexit
import functools
import re
import shutil
from collections import defaultdict
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

WORKFLOW = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent

from sdbench import __version__ as VERSION
from sdbench.campaigns import known_campaigns
from sdbench.cases.case import Variant
from sdbench.cases.expansion import (
    Plan,
    expand_matrix,
    expand_quality,
    expand_races,
    expand_searches,
    matrix_rows,
    thread_families,
)
from sdbench.cases.options import INT8_GRAPHS, TUNED, parse_options
from sdbench.config import (
    check_campaigns,
    check_config,
    load_schema,
    name_case,
)
from sdbench.config_files import locate
from sdbench.errors import UserError, refuse
from sdbench.failures import show_failures
from sdbench.files import check_writable
from sdbench.kinds import KINDS
from sdbench.machine import missing_device
from sdbench.meters.measuring import Racing, Watching
from sdbench.models.architectures import (
    find_architecture,
    load_architecture,
    parts_of,
)
from sdbench.models.manifest import model_files
from sdbench.models.room import without_room
from sdbench.models.sources import check_sources
from sdbench.runtime.code import code_digest

ARCHITECTURES = WORKFLOW / "resources/architectures"

# What the name of a file of the workflow begins with: nothing, where it is run from its own folder.
PREFIX = "" if Path.cwd() == WORKFLOW else f"{WORKFLOW}/"


def in_workflow(path):
    "Return a file of the workflow. A path that is absolute stays as it is."
    return path if path.startswith("/") else PREFIX + path


def resource(name):
    return in_workflow(f"resources/{name}")


@functools.cache
def code_of(script, *backends):
    "Return the digest of the code behind a script; of the backends, only those that are given."
    names = {"backend": backends} if backends else {}
    return code_digest(WORKFLOW / "scripts" / script, names)


def conda_is_missing():
    "Tell whether --use-conda was given where no conda is; the jobs of a cluster do not ask again."
    wanted = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    return wanted and workflow.is_main_process and shutil.which("conda") is None


try:
    if conda_is_missing():
        raise UserError(
            "--use-conda: found no `conda` on PATH: install Miniforge, which brings it, "
            "or leave the option out; `make run` needs no conda"
        )
    overriding = [str(file) for file in workflow.overwrite_configfiles or []]
    config_files = sorted(
        map(Path, workflow.configfiles), key=lambda f: str(f) in overriding
    )
    SCHEMA = load_schema(WORKFLOW / "config/schema.yaml")
    config.update(check_config(config, SCHEMA, config_files))
    check_sources(config["models"], WORKFLOW, ARCHITECTURES, config_files)
    PLAN = Plan.of(config)
    CASES, ABSENT = expand_matrix(PLAN)
    PAIRS = expand_quality(PLAN)
    RACES = expand_races(PLAN)
    VARIANTS = {case.variant for case in CASES}.union(
        *([r, *others] for r, others in PAIRS),
        (race.case.variant for race in RACES),
    )
    # Neither built nor downloaded: all that is asked of them is `unsupported`. Which executor will
    # run the jobs, Snakemake says later; that they may go elsewhere, --jobs beside --cores tells.
    UNMADE = without_room(
        config,
        VARIANTS.union(race.reference for race in RACES),
        ARCHITECTURES,
        Path(config["pathvars"]["results"], "models"),
        workflow.remote_exec or workflow.resource_settings.nodes is not None,
    )
    check_campaigns(
        config, known_campaigns(WORKFLOW / "resources/published.csv"), config_files
    )
    if not CASES:
        raise UserError(
            f"{locate(['matrix'], config_files)}: no cell of it can exist; the first is absent because "
            f"{ABSENT[0].reason}: change devices, backends, precisions or options"
        )
except UserError as error:
    refuse(error)


onstart:
    try:
        check_writable(Path(config["pathvars"]["results"]))
    except UserError as error:
        refuse(error)
    # On a cluster the devices are elsewhere, and a job finds out whether its own is there.
    devices = PLAN.devices if workflow.local_exec else {}
    for name, device in devices.items():
        reason = missing_device(device)
        if reason and name in {variant.device for variant in VARIANTS}:
            refuse(f"{locate(['devices', name, 'index'], config_files)}: {reason}")


# Snakemake writes some lines of its own after this: what failed, and why, shall be the last.
onerror:
    atexit.register(show_failures, [Path(file) for file in log])


# Races of other machines: whatever lies there is shown.
RACES_DROPPED_IN = sorted(
    resource(f"races/{file.name}")
    for file in (WORKFLOW / "resources/races").glob("*.csv")
)

FIGURES = [
    "speed.png",
    "devices.png",
    "memory.png",
    "throughput.png",
    "batch_throughput.png",
    "autocast_speed.png",
    "autocast_memory.png",
    "attention.png",
    "parts.png",
    "cold_start.png",
    "speed_quality.png",
    "cost.png",
    "limit.png",
    *(["ladder.png"] if RACES or RACES_DROPPED_IN else []),
    "threads.png",
    "fits.png",
    "quality_steps.png",
    "quality_curve.png",
    "quality_panel.png",
    "quality_animation.gif",
]
