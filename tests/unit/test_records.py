"""A record is whole, valid and of its own case, or it is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from sdbench.cases.case import Case
from sdbench.records.record import (
    SCHEMA_VERSION,
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
    record = make_record(case)
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


def test_a_failure_is_a_record_too(tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_failure(case, "oom", "out of memory"))
    assert read_record(record_path(tmp_path, case))["status"] == "oom"


def damage_version(text: str) -> str:
    return text.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')


def damage_tail(text: str) -> str:
    return text[: len(text) // 2]


def damage_status(text: str) -> str:
    return text.replace('"status": "ok"', '"status": "fine"')


@pytest.mark.parametrize("damage", [damage_version, damage_tail, damage_status, lambda t: "[]"])
def test_a_damaged_record_is_refused_by_name(damage: Any, tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_record(case))
    path = record_path(tmp_path, case)
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "delete this file" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not is_reusable(path, "0" * 64)


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


def generate(folder: Path, case: Case) -> dict[str, str]:
    return write_image(folder, case, np.zeros((8, 8, 3), np.uint8))


def test_only_a_record_with_the_wanted_fingerprint_is_kept(tmp_path: Path) -> None:
    case = make_case()
    path = record_path(tmp_path, case)
    assert not is_reusable(path, "0" * 64)
    write_record(tmp_path, case, make_record(case, image=generate(tmp_path, case)))
    assert is_reusable(path, "0" * 64)
    assert not is_reusable(path, "1" * 64)


def test_a_record_without_the_image_that_was_generated_is_not_kept(tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_record(case, image=generate(tmp_path, case)))
    path = record_path(tmp_path, case)
    assert is_reusable(path, "0" * 64)
    path.with_suffix(".png").unlink()
    assert not is_reusable(path, "0" * 64)


def test_how_long_a_case_may_take_decides_no_number() -> None:
    limited = [
        fingerprint(make_case(), replace(MEASURING, case_time_limit_s=limit), {})
        for limit in (60, 0)
    ]
    assert (
        limited[0] == limited[1] != fingerprint(make_case(), replace(MEASURING, min_samples=4), {})
    )


def test_a_record_changed_by_hand_is_not_kept(tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_record(case))
    path = record_path(tmp_path, case)
    path.write_text(path.read_text().replace("0.1", "0.01"))
    assert not is_reusable(path, "0" * 64)


@pytest.mark.parametrize("status", ["error", "unsupported"])
def test_what_may_have_been_mended_is_tried_again(status: str, tmp_path: Path) -> None:
    case = make_case()
    write_record(tmp_path, case, make_failure(case, status, "no such provider"))
    assert not is_reusable(record_path(tmp_path, case), "0" * 64)


def test_an_error_is_tried_again_and_out_of_memory_is_not(tmp_path: Path) -> None:
    case = make_case()
    path = record_path(tmp_path, case)
    write_record(tmp_path, case, make_failure(case, "error", "it broke"))
    assert not is_reusable(path, "0" * 64)
    write_record(tmp_path, case, make_failure(case, "oom", "out of memory"))
    assert is_reusable(path, "0" * 64)


def test_out_of_memory_beside_another_process_is_tried_again(tmp_path: Path) -> None:
    case = make_case()
    watched = {"contended": True, "busy_cores": 0.0, "waited_s": 0, "gpu_processes": [{"pid": 7}]}
    record = make_failure(case, "oom", "out of memory") | {"contention": watched}
    write_record(tmp_path, case, record)
    assert not is_reusable(record_path(tmp_path, case), "0" * 64)
    write_record(
        tmp_path, case, make_record(case, contention=watched, image=generate(tmp_path, case))
    )
    assert is_reusable(record_path(tmp_path, case), "0" * 64)


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


def test_records_of_different_settings_lie_beside_each_other(tmp_path: Path) -> None:
    assert record_path(tmp_path, make_case(1)) != record_path(tmp_path, make_case(2))
    assert record_path(tmp_path, make_case()) != record_path(
        tmp_path, make_case(options="autocast")
    )
