"""The record: everything that is known of one measured case, or of one race, as JSON."""

import datetime
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Case, Pair
from sdbench.cases.kinds import KINDS
from sdbench.cases.measuring import Racing
from sdbench.cases.options import parse_options
from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError, plain
from sdbench.runtime.files import parse_json, read_json, sealed, sha256, write_json, write_whole

import numpy as np
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from numpy.typing import NDArray
from PIL import Image

SCHEMA_VERSION = 7
RACE_VERSION = 2
INDEX = "index.json"
REFERENCE = "reference.json"
"""The fixed work that was timed in each block in which the records of a folder were measured."""

LOADED_BY_NAME = "{name}.schema.yaml"
_REMEDY = f"delete this file and the {INDEX} above it, and run the workflow again"

Record = dict[str, Any]
Measured = Case | Pair
"""What a record is of."""


@functools.cache
def record_validator(name: str = "record") -> Draft202012Validator:
    """Return the validator of records; their schema stands next to this file."""
    text = Path(__file__).with_name(LOADED_BY_NAME.format(name=name)).read_text(encoding="utf-8")
    return Draft202012Validator(yaml.safe_load(text))


def _kind_of(record: Mapping[str, Any]) -> tuple[str, int]:
    """Return the name of the schema of a record, and its version."""
    return ("race", RACE_VERSION) if "reference" in record else ("record", SCHEMA_VERSION)


def fingerprint(measured: Measured, measuring: Racing, input_digests: Mapping[str, str]) -> str:
    """Return what a record must carry to be reused for a case or a race, 64 hexadecimal digits.

    `input_digests` are of all else that decides the numbers: model, code, environment file.
    """
    data = measured.as_dict()
    return digest([_kind_of(data)[1], data, measuring.decisive(), dict(input_digests)])


def record_path(folder: Path, measured: Measured) -> Path:
    """Return where a record lies below the folder of its model, device and backend. The id is in
    the name: a changed setting makes a new record, and going back to the old one finds its own."""
    case = measured.case if isinstance(measured, Pair) else measured
    size = "" if case is measured else f"{case.generation['width']}px-"
    name = f"{size}batch-{case.batch_size}-{digest(measured.as_dict())[:8]}.json"
    return folder / case.variant.key / name


def write_image(folder: Path, case: Case, image: NDArray[np.uint8]) -> dict[str, str]:
    """Write an image of shape (height, width, 3) next to the record of `case`, as PNG; return its
    `file` name and `sha256`, for the record to hold."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    path = record_path(folder, case).with_suffix(".png")
    write_whole(path, buffer.getvalue())
    return {"file": path.name, "sha256": sha256(path)}


def has_its_image(path: Path, record: Mapping[str, Any]) -> bool:
    """Tell whether a record has no image, or the one that was generated for it."""
    generated = record.get("image")  # a race has none
    image = path.with_name(generated["file"]) if generated else path
    return not generated or (image.is_file() and sha256(image) == generated["sha256"])


def now() -> str:
    """Return the time in UTC, in ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_record(folder: Path, measured: Measured, record: Record) -> None:
    """Write a record, whole or not at all. What it lacks of its schema is None; if it contradicts
    it, that is a fault of ours (`jsonschema.ValidationError`)."""
    kind, version = _kind_of(record)
    validator = record_validator(kind)
    schema: Any = validator.schema
    whole = dict.fromkeys(schema["required"]) | {"schema_version": version} | record
    validator.validate(sealed(whole))
    write_json(record_path(folder, measured), whole)


def read_record(path: Path) -> Record:
    """Read a record of a case or a race; `UserError` names a file that is damaged, changed or of
    another version."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged record ({error}): {_REMEDY}") from error
    record: Record = found if isinstance(found, dict) else {}
    fault = _fault(record)
    if fault:
        raise UserError(f"{path}: {fault}: {_REMEDY}")
    return record


def _fault(record: Record) -> str | None:
    """Say what is wrong with a record; None if nothing is."""
    schema, allowed = _kind_of(record)
    version = record.get("schema_version")
    if version != allowed:
        return f"schema_version: found {plain(version)}; allowed is {allowed}"
    fault = best_match(record_validator(schema).iter_errors(record))
    if fault is not None:
        where = ".".join(map(str, fault.absolute_path)) or "the record"
        return f"{plain(where)}: {plain(fault.message, 120)}"
    case = record["case"]
    if case["device"]["kind"] not in KINDS:
        return f"case.device.kind: found {plain(case['device']['kind'])}"
    if record != sealed(record):
        return "changed after it was measured"
    for variant in filter(None, (case["variant"], record.get("reference"))):
        if variant["backend"] not in BACKENDS:
            return f"backend: found {plain(variant['backend'])}"
        try:
            parse_options(variant["options"])
        except ValueError as error:
            return f"options: {plain(error)}"
    wanted = digest(case)[:16]
    if schema == "record" and record["case_id"] != wanted:
        return f"case_id: found {record['case_id']}; allowed is the id of its case, {wanted}"
    return None


def is_reusable(path: Path, wanted: str) -> bool:
    """Tell whether the record at `path` can stand for a measurement with fingerprint `wanted`.

    A damaged record cannot, nor one without its image. Status `error` or `unsupported` is tried
    again, and so is memory that did not suffice while another process used the GPU too.
    """
    try:
        record = read_record(path)
    except UserError:
        return False
    crowded = bool(record["contention"] and record["contention"]["gpu_processes"])
    kept = ("ok",) if crowded else ("ok", "oom")
    holds = record["complete"] and record["fingerprint"] == wanted and record["status"] in kept
    return holds and has_its_image(path, record)


def write_index(
    folder: Path, measured: Iterable[Measured], searches: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write which records belong to the config, with their checksums, and what searches found."""
    paths = [record_path(folder, one) for one in measured]
    records = {path.relative_to(folder).as_posix(): sha256(path) for path in paths}
    write_json(folder / INDEX, {"largest": list(searches), "records": records})


def read_indexed(index: Path) -> list[tuple[Path, Record]]:
    """Read the records that an index names, in its order, each with its path; `UserError` names one
    that is missing, damaged, or not the one that was indexed."""
    named, folder = read_json(index).get("records"), index.parent

    def refuse(found: object, allowed: str) -> UserError:
        what = f"records: found {plain(found)}; allowed is {allowed}"
        return UserError(f"{index}: {what}: delete it and run again")

    if not isinstance(named, dict):
        raise refuse(named, "a mapping")
    records = []
    for name, checksum in named.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise refuse(name, "a file in its folder")
        if not path.exists():
            raise UserError(f"{path}: the record is missing: delete {index} and run again")
        record = read_record(path)
        if sha256(path) != checksum:
            raise UserError(f"{path}: changed after it was measured: {_REMEDY}")
        records.append((path, record))
    return records
