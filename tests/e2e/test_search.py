"""The search for the largest batch: what it answers was measured, and what it knows is kept."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sdbench.measure import batch_search as search
from sdbench.measure.context import SweepContext
from sdbench.records.record import read_record, record_path
from tests.sweeps import (
    make_case,
    resident_now,
    run,
)


def found(job: SweepContext) -> Any:
    (largest,) = json.loads((job.folder / "index.json").read_text())["largest"]
    return largest


def test_the_largest_batch_runs_and_is_found_again(job: SweepContext) -> None:
    """The limit of the process is real: the answer was measured, and the next one up failed."""
    budget = (resident_now() + 60e6) / 1e9
    cases = [make_case(n, memory_budget_gb=budget) for n in (2, 4, 8)]
    last = run(job, *cases, largest=2048)[-1]
    assert found(job)["reason"] is None
    largest = found(job)["largest_batch"]
    tried = {p["batch_size"]: p["fits"] for p in found(job)["probes"]}
    assert 8 < largest < 2048
    assert (last["case"]["batch_size"], last["status"]) == (largest, "ok")
    next_up = record_path(job.folder, replace(cases[0], batch_size=largest + 1))
    assert tried.get(largest + 1) is False or read_record(next_up)["status"] == "oom"
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")}
    run(job, *cases, largest=2048)
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")} == before


def test_a_search_that_breaks_keeps_what_is_known_and_its_cap_is_measured_later(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(1), make_case(2)]

    def break_down(*_: Any) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(search, "_probe", break_down)
    run(job, *cases, largest=5)
    assert found(job)["largest_batch"] == 2
    assert "ended early" in found(job)["reason"]
    monkeypatch.undo()
    assert [r["case"]["batch_size"] for r in run(job, *cases, largest=5)] == [1, 2, 5]
    assert (found(job)["largest_batch"], found(job)["reason"]) == (5, None)
    (probe,) = found(job)["probes"]
    assert (probe["batch_size"], probe["fits"]) == (5, True)
