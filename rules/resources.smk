# What a job asks a cluster for. On one machine nothing of this is asked for by anyone, except that
# a measurement takes every core. Partitions are the site's to know and named nowhere here.

from sdbench.cases.kinds import KINDS
from sdbench.models.architectures import load_architecture


def is_submitted():
    "Tell whether jobs go to a cluster; true within such a job as well."
    return workflow.non_local_exec or workflow.remote_exec


def growing(amount):
    "Return a resource that is `amount` at the first attempt, twice that at the second, and so on."

    def grown(wildcards, attempt):
        return attempt * amount

    return grown


def is_last_attempt(wildcards, attempt):
    "Tell (1) whether none follows, by profiles/slurm: what fails then is an output that says so."
    return int(attempt > 2 or not is_submitted())


def memory_to_build(wildcards, attempt):
    "The largest network of a seeded model, of which one is in memory at a time, and Python."
    architecture = load_architecture(Path(architecture_file(wildcards)))
    return attempt * (architecture.largest_bytes * 5 // 4_000_000 + 3000)


def device_of(wildcards):
    return config["devices"][wildcards.device]


def has_node_for_itself(wildcards):
    device = device_of(wildcards)
    return device["exclusive"] and not KINDS[device["kind"]].is_gpu


def cores_of_device(wildcards):
    """
    On one machine all cores that Snakemake has, so that nothing else runs next to a measurement; one
    where it was given none, as with --unlock. On a cluster what the device asks for.
    """
    device = device_of(wildcards)
    if is_submitted() and (device["cpus"] or not has_node_for_itself(wildcards)):
        return device["cpus"] or 4
    # Within a job these are the node's; where it is submitted from, nobody knows how many.
    within = workflow.local_exec or workflow.remote_exec
    return (workflow.resource_settings.cores if within else None) or 1


def cpus_of_device(wildcards):
    "Of a node that a job has for itself it asks for no number of processors, and gets them all."
    asked = device_of(wildcards)["cpus"]
    return -1 if has_node_for_itself(wildcards) and not asked else None


def said_of_device(key):
    return lambda wildcards: device_of(wildcards)[key] or None


def memory_for_device(wildcards, attempt):
    """
    The memory of the machine that runs the networks: half again the CPU's budget, which a
    process may map before an allocation fails, and room for Python. On one machine, 0: there is
    nobody to ask, and a job takes what there is.
    """
    if not is_submitted():
        return 0
    budget_mb = int(1000 * device_of(wildcards)["memory_budget_gb"])
    return attempt * (budget_mb * 3 // 2 + 4000 if budget_mb else 16000)


def memory_for_racers(wildcards, attempt):
    return 2 * memory_for_device(wildcards, attempt)


# What every job asks for that runs networks on a device.
ON_DEVICE = {
    "gpu": lambda wildcards: (
        1 if KINDS[device_of(wildcards)["kind"]].is_gpu else None
    ),
    "gpu_model": said_of_device("gpu_model"),
    "constraint": said_of_device("constraint"),
    "cpus_per_task": cpus_of_device,
    "slurm_extra": lambda wildcards: (
        "--exclusive" if has_node_for_itself(wildcards) else None
    ),
    "mem_mb": memory_for_device,
}
