"""A record is whole, valid and of its own case, or it is refused by name."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from sdbench.records import record as kept
from sdbench.records.record import Record, record_path, write_record
from sdbench.runtime.errors import UserError
from tests.unit.records_factory import (
    MEASURING,
    make_case,
    make_failed_race,
    make_failure,
    make_pair,
    make_race,
    make_record,
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    case = make_case()
    for record in (make_record(case), make_failure(case, "oom", "out of memory")):
        write_record(tmp_path, case, record)
        read = kept.read_record(record_path(tmp_path, case))
        assert {key: value for key, value in read.items() if key != "checksum"} == record
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "oom", "reason": "too big"},  # with numbers
        {"status": "slow"},
        {"latency": {"warmup_s": [], "samples_s": [0.0]}},
    ],
)
def test_an_impossible_record_is_not_written(changes: dict[str, Any], tmp_path: Path) -> None:
    """Nor read: tests/fuzz/test_records.py."""
    case = make_case()
    with pytest.raises(jsonschema.ValidationError):
        write_record(tmp_path, case, make_record(case, **changes))
    assert not record_path(tmp_path, case).exists()


@pytest.mark.parametrize(
    "made",
    [
        [(case, make_record(case)) for case in (make_case(), make_case(2))],
        [(p, make_race(p, [1.0], [2.0])) for p in (make_pair(), make_pair("channels-last"))],
    ],
    ids=["cases", "races"],
)
def test_an_index_names_records_by_their_checksums(made: list[Any], tmp_path: Path) -> None:
    for measured, record in made:
        write_record(tmp_path, measured, record)
    kept.write_index(tmp_path, [measured for measured, _ in made], [])
    found = [record for _, record in kept.read_indexed(tmp_path / "index.json")]
    assert [record["case"] for record in found] == [record["case"] for _, record in made]
    measured, record = made[0]
    write_record(tmp_path, measured, record | {"weights": "seeded"})
    with pytest.raises(UserError, match="changed after it was measured"):
        kept.read_indexed(tmp_path / "index.json")
    record_path(tmp_path, measured).unlink()
    with pytest.raises(UserError, match="the record is missing"):
        kept.read_indexed(tmp_path / "index.json")


CONTENDED = {"contended": True, "busy_cores": 0.0, "waited_s": 0, "gpu_processes": [{"pid": 7}]}
CASE, PAIR = make_case(), make_pair()
OOM = make_failure(CASE, "oom", "out of memory")


@pytest.mark.parametrize(
    ("measured", "record", "stays"),
    [
        (CASE, make_record(CASE), True),
        (CASE, make_record(CASE, contention=CONTENDED), True),
        (CASE, OOM, True),
        # What may have been mended, or may have had no room for another process, is tried again.
        (CASE, OOM | {"contention": CONTENDED}, False),
        (CASE, make_failure(CASE, "error", "it broke"), False),
        (CASE, make_failure(CASE, "unsupported", "no such provider"), False),
        (PAIR, make_race(PAIR, [1.0] * 3, [2.0] * 3), True),
        (PAIR, make_failed_race(PAIR, "error", "it broke"), False),
        (PAIR, make_failed_race(PAIR, "oom", "out of memory"), True),
    ],
)
def test_what_is_kept_or_tried_again(
    measured: Any, record: Record, stays: bool, tmp_path: Path
) -> None:
    path = record_path(tmp_path, measured)
    assert not kept.is_reusable(path, "0" * 64)
    has_image = bool(record.get("image"))
    if has_image:
        image = kept.write_image(tmp_path, measured, np.zeros((8, 8, 3), np.uint8))
        record = record | {"image": image}
    write_record(tmp_path, measured, record)
    assert kept.is_reusable(path, "0" * 64) == stays
    assert not kept.is_reusable(path, "1" * 64)
    # Nor is one that was changed by hand, or whose image is gone.
    whole = path.read_text()
    path.write_text(whole.replace('"h"', '"i"'))
    assert not kept.is_reusable(path, "0" * 64)
    path.write_text(whole)
    path.with_suffix(".png").unlink(missing_ok=True)
    assert kept.is_reusable(path, "0" * 64) == (stays and not has_image)


@pytest.mark.parametrize(
    ("one", "others"),
    [
        (make_case(), [make_case(batch_size=2), make_case(options="autocast")]),
        (make_pair(), [make_pair(rounds=4), make_pair("channels-last")]),
    ],
)
def test_the_fingerprint_changes_with_all_that_decides_a_number(one: Any, others: Any) -> None:
    decided = {"model": "a", "code": "b"}
    wanted = kept.fingerprint(one, MEASURING, decided)
    assert wanted == kept.fingerprint(copy.deepcopy(one), replace(MEASURING), dict(decided))
    changed = [
        *(kept.fingerprint(other, MEASURING, decided) for other in others),
        kept.fingerprint(one, replace(MEASURING, warmup_calls=2), decided),
        kept.fingerprint(one, replace(MEASURING, min_samples=6), decided),
        kept.fingerprint(one, MEASURING, decided | {"model": "c"}),
        kept.fingerprint(one, MEASURING, decided | {"code": "c"}),
    ]
    assert len({wanted, *changed}) == 1 + len(changed)
    # How long a case may take decides no number.
    assert wanted == kept.fingerprint(one, replace(MEASURING, case_time_limit_s=60), decided)
