"""Measure the cases of one model on one device with one backend.

Python and PyTorch start once. Each variant is then measured in a process of its own, forked from
there: its memory is its own, and its crash does not take the others along.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sdbench import backends
from sdbench.cases.case import Case, Variant
from sdbench.devices.device import threads, torch_device
from sdbench.devices.machine import describe_machine
from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.measure.batch_search import search_largest
from sdbench.measure.case import measure_variant
from sdbench.measure.context import SweepContext
from sdbench.measure.latency import time_call
from sdbench.records.record import REFERENCE, now, read_record, record_path, write_index
from sdbench.runtime.errors import UnsupportedError, WrongDeviceError
from sdbench.runtime.files import write_json
from sdbench.runtime.processes import Ended, run_in_subprocess
from sdbench.runtime.progress import say

import torch

WARM_UP, SAMPLES = 3, 15
"""Calls of the fixed work at the least that are not counted, and samples."""
SIDE = 768
"""A product of two square matrices of this side and three convolutions: some 2 GFLOP a call, in
fp32, independent of any model, config or backend. A fast GPU does it in 0.1 ms. Its only purpose is
to show how steady a machine is."""


def run_sweep(cases: list[Case], sweep: SweepContext, searches: Mapping[Variant, int]) -> None:
    """Leave a record for every case and an index of them all in the sweep's folder.

    Records whose fingerprint still holds are kept. A case that fails is a record too. `searches`
    has by variant the cap of the search for its largest batch, which becomes a case too.
    """
    sweep = sweep.claimed()
    for part in sweep.folder.rglob("*.part"):
        part.unlink(missing_ok=True)  # of a job that was killed while it wrote
    with contextlib.suppress(UnsupportedError):  # which loading a variant will say again
        backends.import_backend(cases[0])  # once, before the forks
    reference = sweep.folder / REFERENCE
    pending = [case for case in cases if not sweep.has(case)]
    say(f"{len(cases)} cases, {len(cases) - len(pending)} reused")
    start = None
    if pending or not reference.exists():
        # The same work before and after: what differs between the two is the machine's own noise.
        start = _time_reference_apart(cases[0], sweep)
        sweep.assert_owner()
        write_json(reference, {"start_s": start, "end_s": []})
    for _, group in itertools.groupby(pending, key=lambda case: case.variant):
        _measure_apart(list(group), sweep)
    found, largest = [], []
    for variant, cap in searches.items():
        own = [case for case in cases if case.variant == variant]
        search = search_largest(own, cap, sweep)
        size = _measure_largest(own[0], search["largest_batch"], sweep)
        found.append(search | {"largest_batch": size})
        largest += [replace(own[0], batch_size=size)] if size else []
        say(f"{own[0].variant.key}: the largest batch is {size}")
    if start is not None:
        end = _time_reference_apart(cases[0], sweep)
        sweep.assert_owner()
        write_json(reference, {"start_s": start, "end_s": end})
    sweep.assert_owner()
    write_index(sweep.folder, [*cases, *largest], found)


def _measure_largest(case: Case, size: int, sweep: SweepContext) -> int:
    """Measure a variant at the largest batch that was found; return the largest that ran, since
    measuring takes a little more memory than trying."""
    while size:
        case = replace(case, batch_size=size)
        if not sweep.has(case):
            _measure_apart([case], sweep)
        if read_record(record_path(sweep.folder, case))["status"] != "oom":
            break
        size -= 1
    return size


def _measure_apart(cases: list[Case], sweep: SweepContext) -> None:
    """Measure the cases of one variant in a process of its own, and the rest in another where it
    crashes or can be used no further."""
    while cases:
        try:
            done = len(run_in_subprocess(measure_variant, cases, sweep, limit_s=sweep.limit_s))
        except Ended as error:
            done = len(error.args[1])
            for case in cases[done : done + 1]:
                reason = error.reason("it was measured")
                sweep.write(case, now(), describe_machine(case.device), "error", reason)
            done += 1
        cases = cases[done:]


def _time_reference_apart(case: Case, sweep: SweepContext) -> list[float]:
    """Time the fixed work on the device of `case`, in a process of its own; empty if it fails."""
    with contextlib.suppress(Ended):
        return list(run_in_subprocess(_time_reference, case, limit_s=sweep.limit_s)[0])
    return []


def _time_reference(send: Callable[[Any], None], case: Case) -> None:
    """Send the seconds of a call of the fixed work, `SAMPLES` times, after a warm-up.

    That lasts until the device has raised its clocks (`Platform.ramp_s`), and the samples as long
    together, each the mean of several calls where a fast GPU would be done before that.
    """
    try:
        device = torch_device(case)
    except (UnsupportedError, WrongDeviceError):
        send([])
        return
    torch.set_num_threads(threads(case))
    set_tf32(False)
    platform, generator = platform_of(device), torch.Generator().manual_seed(0)
    matrix = torch.randn(SIDE, SIDE, generator=generator).to(device)
    image = torch.randn(1, 32, 96, 96, generator=generator).to(device)
    kernel = torch.randn(32, 32, 3, 3, generator=generator).to(device)
    calls = 1

    def work() -> None:
        for _ in range(calls):
            torch.mm(matrix, matrix)
            for _ in range(3):
                torch.nn.functional.conv2d(image, kernel, padding=1)

    def seconds() -> float:
        return time_call(work, lambda: platform.synchronize(device))

    with torch.inference_mode():
        warm_up: list[float] = []
        while len(warm_up) < WARM_UP or sum(warm_up) < platform.ramp_s:
            warm_up.append(seconds())
        calls = max(1, math.ceil(platform.ramp_s / SAMPLES / warm_up[-1]))
        send([seconds() / calls for _ in range(SAMPLES)])
