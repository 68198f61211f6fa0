"""The latency meter takes as many samples as it is asked for, and times nothing but the call."""

import gc
from dataclasses import replace
from typing import Any

import pytest

from sdbench.measure.latency import sample_latency, time_call
from tests.unit import records_factory
from tests.unit.clock import Clock

MEASURING = replace(
    records_factory.MEASURING,
    warmup_calls=2,
    min_samples=5,
    min_duration_s=1.0,
    max_duration_s=100.0,
)


def test_the_work_that_a_call_leaves_behind_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, call_s=1.0, sync_s=0.25)
    # The synchronise before the call is not the call's; the one after it is.
    assert time_call(clock.call, clock.synchronize) == 1.25


@pytest.mark.parametrize(
    ("call_s", "changes", "samples"),
    [
        (0.5, {}, 5),  # the minimum count decides
        (0.125, {}, 8),  # the minimum duration decides
        (60.0, {}, 3),  # the cap leaves three
        (60.0, {"min_samples": 2}, 2),  # and never more than was asked for
        (300.0, {"min_samples_capped": 1}, 1),
        (0.5, {"min_duration_s": 0, "min_samples": 1}, 1),
    ],
)
def test_samples_until_count_and_duration_are_reached(
    call_s: float, changes: dict[str, Any], samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, call_s)
    found = sample_latency(clock.call, clock.synchronize, replace(MEASURING, **changes))
    assert len(found["samples_s"]) == samples
    assert len(found["warmup_s"]) == 2
    assert clock.calls == 2 + len(found["samples_s"])
    assert found["samples_s"] == pytest.approx([call_s] * len(found["samples_s"]))


def test_no_garbage_is_collected_while_a_sample_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.5)

    def fail() -> None:
        clock.call()
        if clock.calls == 4:
            raise MemoryError

    with pytest.raises(MemoryError):
        sample_latency(fail, clock.synchronize, MEASURING)
    assert gc.isenabled()
    sample_latency(clock.call, clock.synchronize, MEASURING)
    assert clock.collecting == [True, True, False, False, True, True, *[False] * 5]
    assert gc.isenabled()
