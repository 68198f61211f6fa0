"""A record is whole, valid and of its own case, or it is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from sdbench.records.record import (
    Record,
    fingerprint,
    is_reusable,
    read_indexed,
    read_record,
    record_path,
    write_image,
    write_index,
    write_record,
)
from sdbench.runtime.errors import UserError
from tests.unit.records_factory import MEASURING, make_case, make_failure, make_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    case = make_case()
    for record in (make_record(case), make_failure(case, "oom", "out of memory")):
        write_record(tmp_path, case, record)
        read = read_record(record_path(tmp_path, case))
        assert {key: value for key, value in read.items() if key != "checksum"} == record
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "ok", "reason": "why"},
        {"status": "ok", "latency": None},
        {"status": "oom", "reason": None},
        {"status": "oom", "reason": "too big"},  # with numbers
        {"status": "slow"},
        {"latency": {"warmup_s": [], "samples_s": [-1.0]}},
        {"latency": {"warmup_s": [], "samples_s": [0.0]}},
        {"unknown": 1},
    ],
)
def test_an_impossible_record_is_not_written(changes: dict[str, Any], tmp_path: Path) -> None:
    case = make_case()
    with pytest.raises(jsonschema.ValidationError):
        write_record(tmp_path, case, make_record(case, **changes))
    assert not record_path(tmp_path, case).exists()


def test_a_record_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_record(case))
    write_index(tmp_path, [case], [])
    assert len(read_indexed(tmp_path / "index.json")) == 1
    path = record_path(tmp_path, case)
    record = json.loads(path.read_text())
    record["latency"]["samples_s"] = [0.01, 0.01, 0.01]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="changed after it was measured"):
        read_indexed(tmp_path / "index.json")
    path.unlink()
    with pytest.raises(UserError, match="the record is missing"):
        read_indexed(tmp_path / "index.json")


CONTENDED = {"contended": True, "busy_cores": 0.0, "waited_s": 0, "gpu_processes": [{"pid": 7}]}
OOM = make_failure(make_case(), "oom", "out of memory")


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (make_record(make_case()), True),
        (make_record(make_case(), contention=CONTENDED), True),
        (OOM, True),
        # What may have been mended, or may have had no room for another process, is tried again.
        (OOM | {"contention": CONTENDED}, False),
        (make_failure(make_case(), "error", "it broke"), False),
        (make_failure(make_case(), "unsupported", "no such provider"), False),
    ],
)
def test_what_is_kept_and_what_is_tried_again(record: Record, kept: bool, tmp_path: Path) -> None:
    case = make_case()
    path = record_path(tmp_path, case)
    assert not is_reusable(path, "0" * 64)
    if record["status"] == "ok":
        record |= {"image": write_image(tmp_path, case, np.zeros((8, 8, 3), np.uint8))}
    write_record(tmp_path, case, record)
    assert is_reusable(path, "0" * 64) == kept
    assert not is_reusable(path, "1" * 64)
    # Nor is one that was changed by hand, or whose image is gone.
    whole = path.read_text()
    path.write_text(whole.replace("64", "65"))
    assert not is_reusable(path, "0" * 64)
    path.write_text(whole)
    path.with_suffix(".png").unlink(missing_ok=True)
    assert is_reusable(path, "0" * 64) == (kept and record["status"] != "ok")


def test_the_fingerprint_changes_with_all_that_decides_a_number() -> None:
    case, decided = make_case(), {"model": "a", "code": "b"}
    prints = {
        fingerprint(case, MEASURING, decided),
        fingerprint(make_case(batch_size=2), MEASURING, decided),
        fingerprint(case, replace(MEASURING, min_samples=6), decided),
        fingerprint(case, MEASURING, {**decided, "model": "c"}),
        fingerprint(case, MEASURING, {**decided, "code": "c"}),
    }
    assert len(prints) == 5
    assert fingerprint(make_case(), replace(MEASURING), dict(decided)) in prints
    # How long a case may take decides no number.
    limited = {fingerprint(case, replace(MEASURING, case_time_limit_s=s), decided) for s in (60, 0)}
    assert len(limited) == 1


def test_records_of_different_settings_lie_beside_each_other(tmp_path: Path) -> None:
    assert record_path(tmp_path, make_case(1)) != record_path(tmp_path, make_case(2))
    autocast = make_case(options="autocast")
    assert record_path(tmp_path, make_case()) != record_path(tmp_path, autocast)
