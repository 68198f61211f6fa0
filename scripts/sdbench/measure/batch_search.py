"""Search for the largest batch of a variant on its device."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sdbench.cases.case import Case
from sdbench.devices.machine import budget_bytes
from sdbench.measure.batch_prediction import (
    beyond_allocator,
    deciding_counter,
    find_largest,
    predict_largest,
)
from sdbench.measure.context import SweepContext
from sdbench.measure.launch import load
from sdbench.measure.memory import measure_memory, memory_limit, refuse_above
from sdbench.measure.status import is_out_of_memory
from sdbench.records.record import read_record, record_path
from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json, write_json
from sdbench.runtime.processes import Ended, run_in_subprocess
from sdbench.runtime.progress import say

BEGIN_ONLY_S = 1e-9
"""A limit above which every call is: whether a batch fits is known after its first steps."""


def search_largest(cases: list[Case], cap: int, sweep: SweepContext) -> dict[str, Any]:
    """Search for the largest batch of a variant up to `cap`, or return what was found before. The
    `cases` are all of the variant, and have their records.

    Returns:
        `variant`, `cap`, `largest_batch` (0 if none runs), `probes` as `find_largest` gives them,
        and where it was searched `predicted_batch` and `limit_bytes`. `reason` is None, or says why
        the search ended early; it is then tried again the next time.
    """
    case = cases[0]
    records = {one.batch_size: read_record(record_path(sweep.folder, one)) for one in cases}
    statuses = {n: record["status"] for n, record in records.items()}
    peaks = {n: _peak(record["memory"]) for n, record in records.items()}
    known = sorted((n, [status, peaks[n]]) for n, status in statuses.items())
    wanted = digest([sweep.fingerprint(case), known, cap])
    path = record_path(sweep.folder, case).parent / f"largest-{wanted[:8]}.json"
    with contextlib.suppress(UserError):  # not there, or damaged: search again
        return read_json(path)
    runs = max((n for n, status in statuses.items() if status == "ok"), default=0)
    fails = min((n for n, status in statuses.items() if status == "oom"), default=cap + 1)
    broken = [r["reason"] for r in records.values() if r["status"] in ("error", "unsupported")]
    found: dict[str, Any] = {"largest_batch": min(runs, cap), "probes": [], "reason": None}
    if broken:
        found["reason"] = broken[0]
    elif runs and peaks[runs] is None:
        found["reason"] = "the device has no memory counter for the search"
    elif runs < cap:
        # The bytes that `_peak` may reach on the device of a case that ran.
        limit = budget_bytes(case.device, sweep.granted_bytes) if runs else 0
        if limit is None:
            total: int = records[runs]["environment"]["gpu"]["memory_bytes"]
            limit = total - beyond_allocator(records[runs]["memory"])
        counted = {n: peak for n, peak in peaks.items() if peak}

        def try_batch(batch_size: int) -> int | None:
            # In a process of its own: after a failure, or another batch, memory is not what it was.
            larger = replace(case, batch_size=batch_size)
            peak: int | None = run_in_subprocess(_probe, larger, sweep, limit_s=sweep.limit_s)[0]
            fits = "does not fit" if peak is None else "fits"
            say(f"{case.variant.key}: a batch of {batch_size} {fits}")
            return peak

        try:
            largest, probes = find_largest(try_batch, counted, limit, runs, min(fails, cap + 1))
            predicted = predict_largest(counted, limit)
            found |= {"largest_batch": largest, "predicted_batch": predicted}
            found |= {"limit_bytes": limit, "probes": probes}
        except Ended as error:
            found["reason"] = f"the search ended early: {error.args[0]}"
    found = {"variant": case.variant.as_dict(), "cap": cap, **found}
    if found["reason"] is None:
        sweep.assert_owner()
        write_json(path, found)
    return found


def _probe(send: Callable[[Any], None], case: Case, sweep: SweepContext) -> None:
    """Generate one batch and send its peak in bytes, or None if it does not fit."""
    budget = budget_bytes(case.device, sweep.granted_bytes)
    with memory_limit(budget):
        try:
            loaded = load(case, sweep, BEGIN_ONLY_S)
            loaded.compile_for(case)
            engine = loaded.engine
            latents = engine.latents(case.generation, case.batch_size)
            # Memory does not depend on the number of steps: one is enough.
            memory = measure_memory(
                lambda: engine.generate(case.generation, latents, steps=1),
                engine.device,
                loaded.loaded_bytes,
            )
            refuse_above(budget, memory)
            peak = _peak(memory)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            peak = None
        send(peak)


def _peak(memory: Mapping[str, int | None] | None) -> int | None:
    """Return the bytes that decide whether a batch fits, of what `measure_memory` counted."""
    counter = deciding_counter(memory or {})
    return memory[counter] if memory and counter else None
