"""Measure the peaks of one device: product and convolution in each precision, and copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Device, Variant, why_absent
from sdbench.cases.measuring import COMPUTING, COPY, PRODUCT, Watching
from sdbench.cases.options import NONE
from sdbench.devices.device import WEIGHTS, describe_device, probe_contention, threads, torch_device
from sdbench.devices.machine import describe_machine
from sdbench.measure.contention import watch
from sdbench.measure.peak_throughput import convolution_peak, copy_peak, product_peak
from sdbench.measure.status import status_from_error
from sdbench.runtime.files import write_json
from sdbench.runtime.processes import Ended, run_in_subprocess
from sdbench.runtime.progress import say

import torch

Row = dict[str, Any]
Peak = tuple[str, str | None]
"""An operation, and its precision where it has one."""


def measure_peak_throughput(
    name: str,
    device: Device,
    watching: Watching,
    peaks: Path,
    limit_s: float | None = None,
) -> None:
    """Write the peaks of a device as JSON. What cannot be measured has a status and a reason.

    `device` is its name; `contention` what else used it just before; `environment` the machine, as
    to `device_name` and `threads` None where the device is not there; and of `peaks` each has an
    `operation`, `precision`, `status` and `reason`, and what `sdbench.measure` returns.
    """
    # Every precision that a case of this device may have; the model plays no part.
    variants = [Variant("", name, "pytorch", precision, NONE) for precision in WEIGHTS]
    precisions = [v.precision for v in variants if why_absent(v, device.kind) is None]
    wanted: list[Peak] = [(one, precision) for precision in precisions for one in COMPUTING]
    wanted.append((COPY, None))
    ended = ""
    try:
        case = Case(variants[0], 1, {}, device)
        sent = run_in_subprocess(_measure, case, wanted, watching, limit_s=limit_s)
    except Ended as error:
        ended, sent = error.reason("it was measured"), error.args[1]
    facts, *found = sent or [{}]
    rows: list[Row] = [
        {"operation": operation, "precision": precision, "status": "error", "reason": ended}
        | (found[i] if i < len(found) else {})
        for i, (operation, precision) in enumerate(wanted)
    ]
    environment = describe_machine(device) | {"threads": None} | facts.get("environment", {})
    contention = facts.get("contention")
    head = {"device": name, "contention": contention, "environment": environment}
    write_json(peaks, head | {"peaks": rows})
    for row in rows:
        numbers = [f"{row[key]:.4g} {key}" for key in ("tflops", "gb_per_s") if key in row]
        what = f"{name}, {row['operation']} {row['precision'] or ''}".rstrip()
        say(f"{what}: {' '.join(numbers) or row['reason']}")


def _measure(
    send: Callable[[Any], None], case: Case, wanted: list[Peak], watching: Watching
) -> None:
    """Send what is known of the device, then what is of each peak."""
    facts: Row = {}
    failure: Row = {}
    try:
        device = torch_device(case)
        torch.set_num_threads(threads(case))
        seen = watch(lambda: probe_contention(device), watching)
        known = {"threads": torch.get_num_threads(), **describe_device(device)}
        facts = {"contention": seen, "environment": known}
    except Exception as error:
        failure = _failed(error)
    send(facts)
    for operation, precision in wanted:
        try:
            peak = failure or _peak(device, operation, precision)
        except Exception as error:
            peak = _failed(error)
        send({"status": "ok", "reason": None} | peak)


def _peak(device: torch.device, operation: str, precision: str | None) -> Row:
    if precision is None:
        return copy_peak(device)
    computing = product_peak if operation == PRODUCT else convolution_peak
    return computing(device, precision)


def _failed(error: Exception) -> Row:
    return dict(zip(("status", "reason"), status_from_error(error), strict=True))


if __name__ == "__main__":
    from sdbench.runtime.job import logged, time_limit_s

    with logged(snakemake.log[0]):
        measure_peak_throughput(
            snakemake.wildcards.device,
            Device(**snakemake.params.device),
            Watching(**snakemake.params.watching),
            Path(snakemake.output[0]),
            time_limit_s(snakemake.config),
        )
