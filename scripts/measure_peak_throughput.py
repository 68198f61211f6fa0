"""Measure the peaks of one device: the fastest matrix product in each precision, and copy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Device, Variant, why_absent
from sdbench.cases.measuring import COPY, PRODUCT, Watching
from sdbench.cases.options import NONE
from sdbench.devices.device import WEIGHTS, describe_device, probe_contention, threads, torch_device
from sdbench.devices.machine import describe_machine
from sdbench.measure.contention import watch
from sdbench.measure.peak_throughput import copy_peak, product_peak
from sdbench.measure.status import status_from_error
from sdbench.runtime.files import write_json
from sdbench.runtime.processes import Ended, run_in_subprocess

import torch

Row = dict[str, Any]


def measure_peak_throughput(
    name: str,
    device: Device,
    watching: Watching,
    peaks: Path,
    limit_s: float | None = None,
) -> None:
    """Write the peaks of a device as JSON. What cannot be measured has a status and a reason.

    Args:
        name: of the device.
        device: what is known of it from the config.
        watching: what to do where something else uses the device.
        peaks: written: `device`, its name; `contention`, what else used it just before;
            `environment`, the machine, with `device_name` and `threads` (None where the device is
            not there); and `peaks`, for each an `operation`, `precision`, `status`, `reason`,
            and what `sdbench.measure.peak_throughput` returns.
        limit_s: the seconds that one peak may take; None for any number.
    """
    # Every precision that a case of this device may have; the model plays no part.
    cases = [
        Case(variant, 1, {}, device)
        for variant in (Variant("", name, "pytorch", precision, NONE) for precision in WEIGHTS)
        if why_absent(variant, device.kind) is None
    ]
    ended = ""
    try:
        sent = run_in_subprocess(_measure, cases, watching, limit_s=limit_s)
    except Ended as error:
        ended, sent = error.reason("it was measured"), error.args[1]
    facts, *rows = sent or [{}]
    left = [*((PRODUCT, case.variant.precision) for case in cases), (COPY, None)][len(rows) :]
    rows += [_row(*which, "error", ended) for which in left]
    write_json(
        peaks,
        {
            "device": name,
            "contention": facts.get("contention"),
            "environment": {
                **describe_machine(device),
                "threads": None,
                **(facts.get("environment") or {}),
            },
            "peaks": rows,
        },
    )
    for row in rows:
        numbers = [f"{row[key]:.4g} {key}" for key in ("tflops", "gb_per_s") if key in row]
        what = f"{name}, {row['operation']} {row['precision'] or ''}".rstrip()
        print(f"{what}: {' '.join(numbers) or row['reason']}", flush=True)


def _measure(send: Callable[[Any], None], cases: list[Case], watching: Watching) -> None:
    """Send what is known of the device, then a row for each peak."""
    try:
        device = torch_device(cases[0])
        torch.set_num_threads(threads(cases[0]))
        seen = watch(lambda: probe_contention(device), watching)
        facts = {"threads": torch.get_num_threads(), **describe_device(device)}
        send({"contention": seen, "environment": facts})
    except Exception as error:
        failure = status_from_error(error)
        send({})
        for case in cases:
            send(_row(PRODUCT, case.variant.precision, *failure))
        send(_row(COPY, None, *failure))
        return
    for case in cases:
        precision = case.variant.precision
        send(_attempt(PRODUCT, precision, partial(product_peak, device, precision)))
    send(_attempt(COPY, None, partial(copy_peak, device)))


def _attempt(operation: str, precision: str | None, measure: Callable[[], Row]) -> Row:
    try:
        return {**_row(operation, precision, "ok", None), **measure()}
    except Exception as error:
        return _row(operation, precision, *status_from_error(error))


def _row(operation: str, precision: str | None, status: str, reason: str | None) -> Row:
    return {"operation": operation, "precision": precision, "status": status, "reason": reason}


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
