"""Search for the largest batch of a variant on its device."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sdbench.cases import Case, digest
from sdbench.errors import UserError
from sdbench.files import read_json, write_json
from sdbench.measurement import Sweep, empty_allocator, load, name
from sdbench.meters.largest_batch import find_largest, predict_largest
from sdbench.meters.memory import budget_bytes, is_out_of_memory, memory_limit
from sdbench.processes import Ended, run_apart
from sdbench.records import Record, read_record, record_path

import torch


def search_largest(cases: list[Case], cap: int, sweep: Sweep) -> dict[str, Any]:
    """Search for the largest batch of a variant, or return what was found before.

    Args:
        cases: the variant's cases, all of which have their record.
        cap: the largest batch to try.
        sweep: what is the same for all cases of the job.

    Returns:
        `variant`, `cap`, `largest_batch` (0 if none runs), `probes` with `batch_size` and `fits`,
        and where it was searched `predicted_batch` and `limit_bytes`. `reason` is None, or says why
        the search ended early; it is then tried again the next time.
    """
    records = {case.batch_size: read_record(record_path(sweep.folder, case)) for case in cases}
    known = {n: [record["status"], _peak(record)] for n, record in records.items()}
    wanted = digest([sweep.fingerprint(cases[0]), sorted(known.items()), cap])
    path = record_path(sweep.folder, cases[0]).parent / f"largest-{wanted[:8]}.json"
    with contextlib.suppress(UserError):  # not there, or damaged: search again
        return read_json(path)
    runs = max((n for n, record in records.items() if record["status"] == "ok"), default=0)
    found: dict[str, Any] = {"largest_batch": min(runs, cap), "probes": [], "reason": None}
    broken = [r["reason"] for r in records.values() if r["status"] in ("error", "unsupported")]
    if broken:
        found["reason"] = broken[0]
    elif runs < cap:
        try:
            found |= run_apart(_search, cases[0], cap, records, sweep)[0]
        except Ended as error:
            found["reason"] = f"the search ended early: {error.args[0]}"
    found = {"variant": asdict(cases[0].variant), "cap": cap, **found}
    if found["reason"] is None:
        sweep.assert_owner()
        write_json(path, found)
    return found


def _search(
    send: Callable[[Any], None],
    case: Case,
    cap: int,
    records: Mapping[int, Record],
    sweep: Sweep,
) -> None:
    """Search for the largest batch of the variant of `case`, and send what was found."""
    runs = max((n for n, record in records.items() if record["status"] == "ok"), default=0)
    fails = min((n for n, record in records.items() if record["status"] == "oom"), default=cap + 1)
    budget = budget_bytes(case.device, sweep.granted_bytes)
    with memory_limit(budget):
        engine, _, _ = load(case, sweep)
        limit = budget or torch.cuda.mem_get_info(engine.device)[1]
        peaks = {n: peak for n, record in records.items() if (peak := _peak(record)) is not None}
        predicted = predict_largest(peaks, limit)

        def fits(batch_size: int) -> bool:
            try:
                # Memory does not depend on the number of steps: one is enough.
                engine.draw(case.generation, engine.latents(case.generation, batch_size), steps=1)
                engine.synchronize()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                empty_allocator(engine)
                print(f"{name(case)}: a batch of {batch_size} does not fit", flush=True)
                return False
            print(f"{name(case)}: a batch of {batch_size} fits", flush=True)
            return True

        largest, probes = find_largest(fits, predicted, runs, min(fails, cap + 1))
    send(
        {
            "largest_batch": largest,
            "predicted_batch": predicted,
            "limit_bytes": limit,
            "probes": probes,
        }
    )


def _peak(record: Record) -> int | None:
    """Return the bytes that decide whether a batch fits."""
    if record["memory"] is None:
        return None
    peak: int | None = record["memory"].get("peak_reserved_bytes")
    return record["memory"].get("resident_peak_bytes") if peak is None else peak
