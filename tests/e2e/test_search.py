"""The search for the largest batch: what it answers was measured, and what it knows is kept."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sdbench.measure import batch_search as search
from sdbench.measure.context import SweepContext
from sdbench.measure.sweep import run_sweep
from sdbench.records.record import read_record, record_path
from tests.sweeps import (
    indexed,
    make_case,
    resident_now,
)


def test_the_largest_batch_runs_and_is_found_again(job: SweepContext) -> None:
    """The limit of the process is real: the answer was measured, and the next one up failed."""
    budget = (resident_now() + 60e6) / 1e9
    cases = [make_case(n, memory_budget_gb=budget) for n in (2, 4, 8)]
    run_sweep(cases, job, {cases[0].variant: 2048})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert found["reason"] is None
    largest = found["largest_batch"]
    tried = {p["batch_size"]: p["fits"] for p in found["probes"]}
    assert 8 < largest < 2048
    last = indexed(job)[-1]
    assert (last["case"]["batch_size"], last["status"]) == (largest, "ok")
    next_up = record_path(job.folder, replace(cases[0], batch_size=largest + 1))
    assert tried.get(largest + 1) is False or read_record(next_up)["status"] == "oom"
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")}
    run_sweep(cases, job, {cases[0].variant: 2048})
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")} == before


def test_the_cap_of_a_search_is_measured(job: SweepContext) -> None:
    run_sweep([make_case(1), make_case(2)], job, {make_case().variant: 5})
    assert [r["case"]["batch_size"] for r in indexed(job)] == [1, 2, 5]
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    (probe,) = found["probes"]
    assert (probe["batch_size"], probe["fits"]) == (5, True)


def test_a_search_that_breaks_keeps_what_is_known_and_is_tried_again(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(1), make_case(2)]

    def break_down(*_: Any) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(search, "_probe", break_down)
    run_sweep(cases, job, {cases[0].variant: 5})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert found["largest_batch"] == 2
    assert "ended early" in found["reason"]
    monkeypatch.undo()
    run_sweep(cases, job, {cases[0].variant: 5})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert (found["largest_batch"], found["reason"]) == (5, None)
