"""Calls that would take too long are begun, and projected from a few of their steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.cases.measuring import SETTLED
from sdbench.measure.context import SweepContext
from sdbench.measure.projection import begin_call
from sdbench.measure.sweep import run_sweep
from sdbench.tables.rows import result_rows
from tests.sweeps import GENERATION, MEASURING, indexed, make_case, make_job

LONG = GENERATION | {"steps": 20}
ALWAYS = replace(MEASURING, project_above_s=1e-9)


@pytest.fixture
def projecting(model: Path, tmp_path: Path) -> SweepContext:
    return make_job(tmp_path, model, ALWAYS)


def long_case(batch_size: int = 1) -> Case:
    return replace(make_case(batch_size), generation=LONG)


@pytest.mark.parametrize(("limit_s", "made"), [(0.0, 21), (1e-9, 2), (1e9, 21)])
def test_a_call_is_ended_early_where_it_would_take_too_long(
    limit_s: float, made: int, model: Path
) -> None:
    engine = backends.load(long_case(), model, None)
    calls = []
    denoiser = engine.pipeline.unet
    denoiser.register_forward_hook(lambda *_: calls.append(1))
    call = begin_call(engine, LONG, engine.latents(LONG, 2), limit_s)
    assert len(calls) == made  # PNDM evaluates the denoiser once more than there are steps
    assert call.images is not None
    assert call.images.shape == (2, 64, 64, 3)
    whole = made == 21
    assert call.evaluations == (None if whole else 21)
    assert (call.left_s == 0) == whole


def test_a_projected_case_has_all_that_a_measured_one_has_but_the_image(
    projecting: SweepContext,
) -> None:
    run_sweep([long_case(1), long_case(2)], projecting, {})
    for record in indexed(projecting):
        assert record["status"] == "ok"
        assert record["image"] is None
        assert record["memory"]["resident_peak_bytes"] > 0
        for launch in record["launches"]:
            assert launch["throughput"] is None
            found = launch["projection"]
            assert (found["steps"], found["evaluations"]) == (SETTLED, 21)
            for call, sample in zip(found["calls"], launch["latency"]["samples_s"], strict=True):
                steps = call["step_s"]
                assert len(steps) == SETTLED
                besides = call["call_s"] - sum(steps)
                # The first is warm-up: a later launch has no other.
                assert sample == pytest.approx(besides + 21 * steps[1])
            assert {phase["denoiser_evaluations"] for phase in launch["phases"]} == {21}
            assert len(launch["device_state"]["during"]) == len(found["calls"])
            # And what little lies before the first.
            assert len(launch["usage"]["switches"]) == 1 + len(found["calls"])


def test_rows_say_what_is_projected(projecting: SweepContext, model: Path, tmp_path: Path) -> None:
    whole = make_job(tmp_path / "whole", model, MEASURING)
    for job in (projecting, whole):
        run_sweep([long_case(1)], job, {})
    records = [*indexed(projecting), *indexed(whole)]
    rows = result_rows(records, {"cpu": 1.0}, "USD", 0.02, {"cpu": None})
    assert [row["basis"] for row in rows] == ["projected", "measured"]
    for row in rows:
        assert row["images_per_minute"] == pytest.approx(60 / row["call_s"])
        assert row["cost_per_1000_images"] > 0
        assert row["denoiser_evaluations"] == 21
