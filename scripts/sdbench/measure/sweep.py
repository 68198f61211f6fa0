"""Measure the cases of one model on one device with one backend.

Python and PyTorch start once. Each launch of a variant is then a process of its own, forked from
there: its memory is its own, and its crash does not take the others along. Launches of all variants
take turns.
"""

import contextlib
import itertools
import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sdbench import backends
from sdbench.cases.case import Case, Variant
from sdbench.cases.measuring import LONG_LAUNCHES, LONG_S, Measuring
from sdbench.cases.options import COMPILE
from sdbench.devices.device import threads, torch_device
from sdbench.devices.machine import describe_machine
from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.measure.agreement import expect
from sdbench.measure.batch_search import search_largest
from sdbench.measure.context import SweepContext
from sdbench.measure.latency import time_call
from sdbench.measure.launch import Outcome, measure_launch
from sdbench.records.intervals import launch_interval
from sdbench.records.record import (
    REFERENCE,
    has_its_image,
    now,
    read_record,
    record_path,
    write_index,
)
from sdbench.runtime.errors import UnsupportedError, UserError, WrongDeviceError
from sdbench.runtime.files import read_json, write_json
from sdbench.runtime.processes import Ended, OutOfTime, run_in_subprocess, time_left_s
from sdbench.runtime.progress import say

import torch

WARM_UP, SAMPLES = 3, 15
"""Calls of the fixed work at the least that are not counted, and samples."""
SIDE = 768
"""A product of two square matrices of this side and three convolutions: some 2 GFLOP a call, in
fp32, independent of any model, config or backend. A fast GPU does it in 0.1 ms. Its only purpose is
to show how steady a machine is."""


@dataclass
class Course:
    """How far the measuring of a case has come: its record so far, and what is left to do.

    `repeats`: how often its last launch was repeated because it was disturbed; `is_disturbed`: that
    did not help, so that no other is repeated.
    """

    case: Case
    wanted: int
    record: dict[str, Any] = field(default_factory=dict)
    repeats: int = 0
    is_disturbed: bool = False

    @property
    def launches(self) -> list[dict[str, Any]]:
        """Return the launches that count."""
        return self.record.get("launches") or []

    @property
    def projected(self) -> int | None:
        """Return how many evaluations the denoiser has in a call that is projected."""
        found = (one["projection"] for one in self.launches)
        return next((one["evaluations"] for one in found if one), None)

    def is_done(self, precision: float) -> bool:
        """Tell whether it failed, or has all launches or as many as the precision needs."""
        if self.record.get("status", "ok") != "ok" or len(self.launches) >= self.wanted:
            return True
        medians = [statistics.median(one["latency"]["samples_s"]) for one in self.launches]
        reached = launch_interval(medians).half_width if medians else None
        return bool(precision) and reached is not None and reached <= precision

    def add(self, outcome: Outcome) -> None:
        """Take what a launch found. A disturbed one is left out if it can still be repeated."""
        launch = outcome.pop("launch", None)
        launches = self.launches
        if launch is not None:
            if launch["disturbed"] and self.repeats < MOST_REPEATS and not self.is_disturbed:
                self.repeats += 1
                return
            self.is_disturbed |= bool(launch["disturbed"])
            launches = [*launches, launch | {"repeats": self.repeats}]
            self.repeats = 0
            self.wanted = _wanted(launch, self.wanted)
        else:
            self.repeats = 0
            if launches:
                outcome["reason"] = f"in launch {len(launches) + 1}: {outcome['reason']}"
        earlier = {key: self.record[key] for key in _FIRST if self.record.get(key)}
        self.record = self.record | outcome | earlier
        self.record["launches"] = launches if outcome["status"] == "ok" else None
        if outcome["status"] != "ok":
            self.record |= {"memory": None, "image": None}


MOST_REPEATS = 2
"""Of a launch that was disturbed."""


def _wanted(launch: Mapping[str, Any], launches: int) -> int:
    is_long = launch["seconds"] > LONG_S or launch["projection"]
    return min(launches, LONG_LAUNCHES) if is_long else launches


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
    pending = [case for case in cases if not sweep.has(case)]
    say(f"{len(cases)} cases, {len(cases) - len(pending)} reused")
    timed = _Reference(cases[0], sweep)
    if len(pending) < len(cases) or any(_begun(case, sweep).launches for case in pending):
        timed.keep()
    pending = [] if sweep.write_failed(pending) else pending
    sweep = replace(sweep, expected=expect(pending, sweep))
    _measure_in_turns(pending, sweep, timed)
    found, largest = [], []
    for variant, cap in searches.items():
        own = [case for case in cases if case.variant == variant]
        search = search_largest(own, cap, sweep)
        size = _measure_largest(own[0], search["largest_batch"], sweep, timed)
        found.append(search | {"largest_batch": size})
        largest += [replace(own[0], batch_size=size)] if size else []
        say(f"{own[0].variant.key}: the largest batch is {size}")
    sweep.assert_owner()
    write_index(sweep.folder, [*cases, *largest], found)


class _Reference:
    """The fixed work, timed at the beginning of each block: how unlike two launches are here."""

    def __init__(self, case: Case, sweep: SweepContext) -> None:
        self.case, self.sweep, self.path = case, sweep, sweep.folder / REFERENCE
        self.blocks: list[list[float]] = []

    def keep(self) -> None:
        """Take the blocks of an earlier job, some of whose launches count."""
        with contextlib.suppress(UserError):
            self.blocks = read_json(self.path)["blocks"]

    def time(self) -> None:
        """Time it in a process of its own, and write what is known so far."""
        with contextlib.suppress(Ended):
            limit_s = self.sweep.limit_s
            self.blocks += run_in_subprocess(_time_reference, self.case, limit_s=limit_s)
        self.sweep.assert_owner()
        write_json(self.path, {"blocks": self.blocks})


def _measure_in_turns(cases: list[Case], sweep: SweepContext, timed: _Reference) -> None:
    """Measure cases in blocks: in each, every variant that is not done has a launch, in an order
    drawn by lot, so that what drifts meets all alike."""
    measuring = sweep.measuring
    assert isinstance(measuring, Measuring), "a race has less of it"
    courses = [_begun(case, sweep) for case in cases]
    lot = random.Random(0)
    while True:
        left = [course for course in courses if not course.is_done(measuring.precision)]
        if not left and timed.path.exists():
            return
        timed.time()
        if time_left_s() == 0:
            for course in left:
                if not course.launches:  # else its record is there, and is gone on with
                    machine = describe_machine(course.case.device)
                    sweep.write(course.case, now(), machine, "error", OutOfTime.REASON)
            return
        groups = [list(group) for _, group in itertools.groupby(left, key=lambda c: c.case.variant)]
        lot.shuffle(groups)
        for group in groups:
            _launch(group, sweep, measuring.precision)


def _begun(case: Case, sweep: SweepContext) -> Course:
    """Return the course of a case, with what a job that was stopped has left of it."""
    assert isinstance(sweep.measuring, Measuring)
    course = Course(case, 1 if COMPILE in case.variant.switches else sweep.measuring.launches)
    with contextlib.suppress(UserError):  # not there, or damaged
        path = record_path(sweep.folder, case)
        record = read_record(path)
        holds = record["fingerprint"] == sweep.fingerprint(case) and has_its_image(path, record)
        if holds and record["launches"]:
            course.record = {key: value for key, value in record.items() if key in _KEPT}
            for launch in record["launches"]:
                course.wanted = _wanted(launch, course.wanted)
    return course


_FIRST = ("environment", "contention", "memory", "agreement")
"""Of a record, what its first launch found. The image is the last one that was written: a process
that is the first for another batch size writes it again."""
_KEPT = ("started_at", "status", "reason", "launches", "image", *_FIRST)


def _launch(courses: list[Course], sweep: SweepContext, precision: float) -> None:
    """Have one launch of a variant, for the cases that are not done; repeat it for those that were
    disturbed. Where the process crashes, the case is an error, and the rest has another. Where the
    run must end, what was not measured stays as it was."""
    say(_launching(courses))
    while courses:
        cases = [course.case for course in courses]
        projected = [course.projected for course in courses]
        is_first = any(not course.launches for course in courses)
        begun = now()
        try:
            outcomes = run_in_subprocess(
                measure_launch, cases, sweep, is_first, projected, limit_s=sweep.limit_s
            )
        except Ended as error:
            outcomes = error.args[1][: len(cases)]
            if isinstance(error, OutOfTime):
                courses = courses[: len(outcomes)]
            elif len(outcomes) < len(cases):
                case = cases[len(outcomes)]
                outcomes.append(
                    {
                        "environment": describe_machine(case.device),
                        "contention": None,
                        "status": "error",
                        "reason": error.reason("it was measured"),
                    }
                )
        again: list[Course] = []
        for course, outcome in zip(courses, outcomes, strict=False):
            before = len(course.launches)
            course.record.setdefault("started_at", begun)
            course.add(outcome)
            if course.repeats:
                again.append(course)
            elif len(course.launches) != before or course.record["status"] != "ok":
                sweep.write(course.case, **course.record, complete=course.is_done(precision))
        courses = [*again, *courses[len(outcomes) :]]


def _launching(courses: list[Course]) -> str:
    """Return what the terminal is told of a launch: `measuring ..., batch 1, 2 (launch 2 of 5)`."""
    first = courses[0]
    sizes = "".join(f", {course.case.batch_size}" for course in courses[1:])
    number = len(first.launches) + 1
    which = f" (launch {number} of {first.wanted})" if first.wanted > 1 else ""
    return f"measuring {first.case.title}{sizes}{which}"


def _measure_largest(case: Case, size: int, sweep: SweepContext, timed: _Reference) -> int:
    """Measure a variant at the largest batch that was found; return the largest that ran, since
    measuring takes a little more memory than trying."""
    while size:
        case = replace(case, batch_size=size)
        if not sweep.has(case):
            _measure_in_turns([case], sweep, timed)
        if read_record(record_path(sweep.folder, case))["status"] != "oom":
            break
        size -= 1
    return size


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
