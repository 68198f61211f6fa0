# What the rules share: the checked config, the cases in it, and functions that name files.

import atexit
import functools
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from sdbench import __version__ as VERSION
from sdbench.config.check import AUTO, check_config, load_schema
from sdbench.config.files import find_path, locate
from sdbench.runtime.errors import UserError, refuse
from sdbench.runtime.endings import show_answer, show_failures
from sdbench.runtime.failures import forget_failures
from sdbench.runtime.files import check_writable
from sdbench.devices.discovery import found_devices, refuse_auto_elsewhere, torch_build
from sdbench.devices.machine import missing_device
from sdbench.models.duration import Reckoning, summary
from sdbench.models.planning import make_plan
from sdbench.runtime.code import code_digest
from sdbench.runtime.environment import check_installation, leave_out_user_site
from sdbench.runtime.progress import Progress


report: "../report/workflow.rst"


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


# Each rule then has an environment, with a PyTorch of its own, which nobody knows before.
USE_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
if USE_CONDA:
    leave_out_user_site()

try:
    # The jobs of a cluster do not ask again.
    if workflow.is_main_process:
        check_installation(USE_CONDA)
    overriding = [str(file) for file in workflow.overwrite_configfiles or []]
    config_files = sorted(
        map(Path, workflow.configfiles), key=lambda f: str(f) in overriding
    )
    SCHEMA = load_schema(WORKFLOW / "config/schema.yaml")
    is_auto = config.get("devices", AUTO) == AUTO
    FOUND = found_devices(None if USE_CONDA else torch_build()) if is_auto else None
    config.update(
        check_config(config, SCHEMA, config_files, FOUND.devices if FOUND else {})
    )
    if workflow.is_main_process:
        forget_failures(Path(config["pathvars"]["results"]))
    PLAN = make_plan(
        config,
        config_files,
        WORKFLOW,
        Path(config["pathvars"]["results"], "models"),
        # Snakemake says later which executor runs the jobs; --jobs in addition to --cores tells.
        elsewhere=workflow.remote_exec or workflow.resource_settings.nodes is not None,
    )
except UserError as error:
    refuse(error)


onstart:
    try:
        check_writable(Path(config["pathvars"]["results"]))
    except UserError as error:
        refuse(error)
    if FOUND and not workflow.local_exec:
        refuse(refuse_auto_elsewhere(locate(["devices"], config_files)))
    for note in FOUND.notes if FOUND else ():
        print(f"sdbench: {note}", file=sys.stderr, flush=True)
    # On a cluster the devices are elsewhere, and a job finds out whether its own is there.
    here = workflow.local_exec and not config["records_only"]
    devices = PLAN.config.devices if here else {}
    for name, device in devices.items():
        reason = missing_device(device)
        if reason and name in {variant.device for variant in PLAN.variants}:
            refuse(f"{locate(['devices', name, 'index'], config_files)}: {reason}")
    expected = Reckoning(PLAN, config, WORKFLOW).jobs_s(workflow.dag.needrun_jobs())
    print(f"sdbench: {summary(expected.values())}", file=sys.stderr, flush=True)
    Progress(logger, {number: parts for number, (_, parts) in expected.items()})


# Snakemake writes some lines of its own after these: the answer, or what failed, shall be the last.
onsuccess:
    for job in workflow.dag.jobs:
        if job.rule.name == "write_page":
            atexit.register(show_answer, Path(job.log[0]))


onerror:
    atexit.register(show_failures, [Path(file) for file in log])
