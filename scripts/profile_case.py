"""Profile one call of one case: which kernels take the time."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.devices.machine import budget_bytes
from sdbench.measure.compiling import compile_anew
from sdbench.measure.latency import time_call
from sdbench.measure.memory import memory_limit
from sdbench.measure.status import is_out_of_memory
from sdbench.runtime.errors import UnsupportedError, UserError
from sdbench.runtime.files import write_whole
from sdbench.runtime.progress import say

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def profile_case(
    case: Mapping[str, Any],
    model_folder: Path,
    table: Path,
    trace: Path,
    granted_bytes: int | None = None,
) -> None:
    """Leave a trace of one call after warm-up, and a table of its kernels as CSV.

    The trace is a compressed Chrome trace (`.json.gz`), which ui.perfetto.dev shows.
    """
    profiled = Case.from_dict(case)
    try:
        with memory_limit(budget_bytes(profiled.device, granted_bytes)):
            _profile(profiled, model_folder, table, trace)
    except UnsupportedError as error:
        raise UserError(f"{table}: unsupported here: {error}: profile another case") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{table}: out of memory: profile a smaller batch") from error


def _profile(case: Case, model_folder: Path, table: Path, trace: Path) -> None:
    engine = backends.load(case, model_folder, None)
    latents = engine.latents(case.generation, case.batch_size)

    def call() -> None:
        engine.generate(case.generation, latents)

    if engine.compile_mode is None:
        call()
    else:
        compile_anew(call, engine.synchronize, engine.device)
    call_s = time_call(call, engine.synchronize)
    on_gpu = engine.device.type == "cuda"
    # It slows down what it looks at: its seconds are no latency.
    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    ) as profiler:
        call()
        engine.synchronize()
    rows = kernel_rows(profiler.key_averages(), on_gpu)
    part = trace.with_name(f"part-{trace.name}")
    profiler.export_chrome_trace(str(part))
    part.replace(trace)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(table, text.getvalue().encode())
    spent_s = sum(row["self_s"] for row in rows)
    say(f"a call without the profiler: {call_s:.3f} s; in kernels, with it: {spent_s:.3f} s")
    for row in rows[:10]:
        say(f"{row['share']:7.1%} {row['calls']:6d} x  {row['kernel']}")


def kernel_rows(events: Iterable[Any], on_gpu: bool) -> list[dict[str, Any]]:
    """Return a row for each kernel of a GPU, or operator that the CPU ran, the slowest first.

    Of the profiler's averages (`key_averages`): `kernel`, `calls`, `self_s` (seconds in it, and in
    nothing that it called) and `share` of the sum of these. Those that took no time are left out.
    """
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    spent = [
        (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event)
        for event in events
        if event.device_type == kind and not event.is_user_annotation
    ]
    total_us = sum(us for us, _ in spent)
    return [
        {"kernel": event.key, "calls": event.count, "self_s": us / 1e6, "share": us / total_us}
        for us, event in sorted(spent, key=lambda entry: -entry[0])
        if us
    ]


if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, run_script

    run_script(snakemake, profile_case, granted_bytes=granted_bytes(snakemake.resources))
