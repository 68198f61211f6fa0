"""Records that no measurement wrote: refused in one line, or taken and all rows made of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.records.record import (
    INDEX,
    REFERENCE,
    is_reusable,
    read_indexed,
    read_record,
    record_path,
)
from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import sha256, write_json
from sdbench.tables.rows import noise_row, result_rows
from sdbench.tables.schemas import QUALITY_SET
from tests.fuzz import refusal
from tests.fuzz.configs import VALUES, at, mutated, paths, places
from tests.reliability import Tally
from tests.unit.records_factory import (
    OPERATIONS,
    make_case,
    make_launch,
    make_peaks,
    make_record,
)
from tests.unit.tables_factory import write_rows

CASE = make_case()


def write(path: Path, record: Any) -> None:
    """Write a record as whoever knows how to seal it would: JSON of Python's kind."""
    if isinstance(record, dict):
        kept = {key: value for key, value in record.items() if key != "checksum"}
        record = kept | {"checksum": record.get("checksum") or digest(kept)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


def outcome(path: Path, *parts: str) -> str:
    """Return `accepted`, if rows can be made of a record, or `refused` in one line."""
    try:
        record = read_record(path)
    except UserError as error:
        refusal.assert_one_line(str(error), f"{path}: ", "delete this file", *parts)
        assert not is_reusable(path, "0" * 64)
        return "refused"
    device = record["case"]["variant"]["device"]
    result_rows([record], {device: 1.0}, "USD", 0.02, {device: 0.05})
    noise_row(record, [[1.0], [1.0]])
    return "accepted"


TEXTS: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "nothing": (lambda text: "", "damaged record"),
    "cut in half": (lambda text: text[: len(text) // 2], "damaged record"),
    "cut by one": (lambda text: text.strip()[:-1], "damaged record"),
    "doubled": (lambda text: text + text, "damaged record"),
    "one bit": (lambda text: text.replace('"ok"', '"on"'), ""),
    "another number": (lambda text: text.replace("0.9", "0.8"), "changed after it was measured"),
    "not a number": (lambda text: text.replace("0.9", "NaN"), "damaged record"),
    "infinity": (lambda text: text.replace("0.9", "-Infinity"), "damaged record"),
    "a number beyond all": (lambda text: text.replace("0.9", "1e999"), "damaged record"),
    "a number of many digits": (lambda text: text.replace("0.9", "9" * 400), "damaged record"),
    "an endless number": (lambda text: text.replace("0.9", "9" * 5000), "damaged record"),
    "a list": (lambda text: f"[{text}]", "schema_version: found None"),
    "a number": (lambda text: "3", "schema_version: found None"),
    "a text": (lambda text: '"ok"', "schema_version: found None"),
    "deep": (lambda text: "[" * 100_000, "damaged record"),
    "binary": (lambda text: bytes(range(256)), "damaged record"),
    "UTF-16": (lambda text: text.encode("utf-16"), "damaged record"),
    "YAML": (lambda text: "status: ok\n", "damaged record"),
    "HTML": (lambda text: "<html></html>", "damaged record"),
    "no checksum": (lambda text: text.replace('"checksum"', '"sum"'), ""),
}
"""What becomes of the file, and what the line says."""


def damaged(name: str, folder: Path) -> Path:
    path = record_path(folder, CASE)
    write(path, make_record(CASE))
    return refusal.write(path, TEXTS[name][0](path.read_text()))


@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    assert outcome(damaged(name, tmp_path), TEXTS[name][1]) == "refused"
    tally.tried("records", "refused")


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "an older version": ({"schema_version": 6}, "schema_version: found 6; allowed is 7"),
    "a later version": ({"schema_version": 8}, "schema_version: found 8; allowed is 7"),
    "a version as text": ({"schema_version": "3"}, "schema_version"),
    "an endless version": ({"schema_version": ["x" * 10_000]}, "schema_version"),
    "a foreign field": ({"colour": "red"}, "colour"),
    "the id of another case": ({"case_id": make_case(2).id}, "case_id: found"),
    "a kind of device that there is not": (
        {"case": make_case().as_dict() | {"device": {"kind": "tpu"}}},
        "case.device.kind: found tpu",
    ),
    "another case": ({"case": make_case(2).as_dict()}, "case_id: found"),
    "ok with a reason": ({"reason": "why not"}, "reason"),
    "ok without launches": ({"launches": []}, "launches"),
    "ok without any launch": ({"launches": None}, "launches"),
    **{
        f"ok without {what}": ({"launches": [make_launch([0.1]) | {part: empty}]}, where)
        for what, part, empty, where in (
            ("samples", "latency", {"warmup_s": [], "samples_s": []}, "latency.samples_s"),
            ("latency", "latency", None, "latency"),
            ("calls", "throughput", {"intervals_s": [], "energy": None}, "intervals_s"),
            ("parts", "phases", [], "phases"),
        )
    },
    "ok without memory": ({"memory": None}, "memory"),
    "an error without a reason": ({"status": "error"}, ""),
    "a negative time": (
        {"launches": [make_launch([0.1], latency={"warmup_s": [0.1], "samples_s": [-1]})]},
        "samples_s",
    ),
    "memory below nothing": ({"memory": {"resident_peak_bytes": -1}}, "resident_peak_bytes"),
    "an image elsewhere": ({"image": {"file": "../x.png", "sha256": "0" * 64}}, "image.file"),
    "an image that is a folder": ({"image": {"file": "..", "sha256": "0" * 64}}, "image.file"),
    "a checksum of another": ({"checksum": "0" * 64}, "changed after it was measured"),
    "a field that cannot be seen": ({"a\u202eb\n": 1}, "unexpected"),
}
"""What is changed in a record, which is then sealed again, and what the line says."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_cannot_be_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    changes, said = CHANGES[name]
    path = record_path(tmp_path, CASE)
    write(path, make_record(CASE) | changes)
    assert outcome(path, said) == "refused"
    tally.tried("records", "refused")


@pytest.mark.parametrize("name", [n for n, v in VALUES.items() if n != "half a surrogate pair"])
def test_a_value_in_the_place_of_every_other(name: str, tmp_path: Path, tally: Tally) -> None:
    record = make_record(CASE)
    path = record_path(tmp_path, CASE)
    for place in places(name, record):
        changed = mutated(record, place, VALUES[name])
        if place[0] == "case":
            changed["case_id"] = digest(changed["case"])[:16]
        write(path, changed)
        tally.tried("records", outcome(path))


def test_a_missing_field_of_each(tmp_path: Path, tally: Tally) -> None:
    record = make_record(CASE)
    path = record_path(tmp_path, CASE)
    for place in paths(record):
        changed = mutated(record, place, None)
        target = at(changed, place[:-1])
        del target[place[-1]]
        write(path, changed)
        tally.tried("records", outcome(path))


INDEXES: dict[str, tuple[Any, str]] = {
    "no records": ({}, "records: found None"),
    "records as a list": ({"records": ["a.json"]}, "records: found"),
    "a record elsewhere": ({"records": {"../../x.json": "0" * 64}}, "allowed is a file in its"),
    "a record at the root": ({"records": {"/etc/passwd": "0" * 64}}, "allowed is a file in its"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_names_others_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    index, said = INDEXES[name]
    write_json(tmp_path / INDEX, index)
    with pytest.raises(UserError) as caught:
        read_indexed(tmp_path / INDEX)
    refusal.assert_one_line(str(caught.value), said)
    tally.tried("records", "refused")


def test_the_log_has_one_line(tmp_path: Path, tally: Tally) -> None:
    path = damaged("another number", tmp_path)
    key = path.relative_to(tmp_path).as_posix()
    write_json(tmp_path / INDEX, {"largest": [], "records": {key: sha256(path)}})
    write_json(tmp_path / REFERENCE, {"blocks": [[1.0]]})
    write_json(tmp_path / "peaks.json", make_peaks({"fp32": 1.0}))
    write_json(tmp_path / "shapes.json", OPERATIONS)
    write_rows([], tmp_path / "dropped.csv", QUALITY_SET)
    tables = ("results", "largest", "peak_throughput", "noise", "exports")
    call = (
        f"indexes=[here / {INDEX!r}], device_peaks=[here / 'peaks.json'], "
        "model_operations=[here / 'shapes.json'], prices={'cpu': 0}, currency='USD', "
        "gate={'min_ssim': 0.9, 'min_psnr_db': 20}, precision=0.02, "
        "graphs=[], quality_set=here / 'dropped.csv', "
        + ", ".join(f"{table}=here / '{table}.csv'" for table in tables)
    )
    refusal.refused_in_log("collect_records", call, tmp_path, path.name, TEXTS["another number"][1])
    tally.tried("records", "refused")
