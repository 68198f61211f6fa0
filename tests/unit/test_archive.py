"""The archive of records: same bytes for same contents, and nothing of others' but records."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbench.records import archive as archives
from sdbench.records.archive import CONFIG, MANIFEST, VERSIONS, pack, unpack
from sdbench.records.record import read_indexed, write_image, write_index, write_record
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_json
from tests.unit.records_factory import make_case, make_record


def measured(results: Path) -> list[Path]:
    """Make what a run leaves, and return what the rule is given."""
    folder = results / "records/shapes/cpu/pytorch"
    cases = [make_case(size) for size in (1, 2)]
    for case in cases:
        image = write_image(folder, case, np.zeros((8, 8, 3), np.uint8))
        write_record(folder, case, make_record(case, image=image))
    write_record(folder, make_case(4), make_record(make_case(4)))  # no longer in the config
    write_index(folder, cases)
    write_json(folder / "reference.json", {"blocks": []})
    write_json(results / "peak_throughput/cpu.json", {"device": "cpu"})
    return [folder / "index.json", results / "peak_throughput/cpu.json"]


CONFIGURED = {"pathvars": {"results": "results"}, "models": {"shapes": {"prompt": "größer"}}}


def packed(folder: Path) -> Path:
    archive = folder / "records.tar.gz"
    pack(measured(folder), CONFIGURED, archive)
    return archive


def test_the_same_contents_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = (packed(tmp_path / name) for name in ("one", "other"))
    os.utime(other.parent / "peak_throughput/cpu.json", (0, 0))
    (other.parent / "peak_throughput/cpu.json").chmod(0o600)
    pack(measured(other.parent)[::-1], dict(reversed(CONFIGURED.items())), other)
    assert one.read_bytes() == other.read_bytes()


def test_it_holds_what_the_indexes_name_and_opens_as_results(tmp_path: Path) -> None:
    archive = packed(tmp_path / "results")
    opened = tmp_path / "home"
    config = json.loads(unpack(archive, opened).read_text())
    assert config == CONFIGURED | {
        "records_only": True,
        "pathvars": {"results": opened.as_posix()},
    }
    index = "records/shapes/cpu/pytorch/index.json"
    assert read_indexed(opened / index)[0][1] == read_indexed(archive.parent / index)[0][1]
    files = [path for path in opened.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".png"]) == 2
    assert len(files) == 4 + len(("index", "reference", "peaks", "config", "manifest"))


def test_images_of_seeded_weights_stay_behind(tmp_path: Path) -> None:
    folder, case = tmp_path / "records/shapes/cpu/pytorch", make_case()
    image = write_image(folder, case, np.zeros((8, 8, 3), np.uint8))
    write_record(folder, case, make_record(case, image=image, weights="seeded"))
    write_index(folder, [case])
    pack([folder / "index.json"], CONFIGURED, tmp_path / "records.tar.gz")
    with tarfile.open(tmp_path / "records.tar.gz") as opened:
        assert not [name for name in opened.getnames() if name.endswith(".png")]


def test_a_changed_record_is_not_packed(tmp_path: Path) -> None:
    files = measured(tmp_path)
    (record, *_) = sorted(files[0].parent.rglob("batch-1*.json"))
    record.write_text(record.read_text().replace("A CPU", "a GPU"))
    with pytest.raises(UserError, match="changed after it was measured"):
        pack(files, CONFIGURED, tmp_path / "records.tar.gz")
    assert not (tmp_path / "records.tar.gz").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 2) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def written(path: Path, *members: Any, versions: Any = VERSIONS) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        manifest = json.dumps({"sdbench": "9.9", "versions": versions}).encode()
        tar.addfile(member(MANIFEST, size=len(manifest)), io.BytesIO(manifest))
        tar.addfile(member(CONFIG), io.BytesIO(b"{}"))
        for info in members:
            tar.addfile(info, io.BytesIO(b"{}" + bytes(max(info.size - 2, 0))))
    return path


HOSTILE = [
    *(
        member(name)
        for name in (
            "../evil.json",
            "/etc/evil.json",
            "records/../../evil.json",
            "records/./a.json",
            "records/a.py",
            "records/.hidden.json",
            "records/a\n.json",
            "records//a.json",
            "tables/results.csv",
            "records/" + "a/" * 9 + "b.json",
            "records\\..\\a.json",
            "config.json/a.json",
        )
    ),
    member("records/a.json", tarfile.SYMTYPE, "/etc/passwd"),
    member("records/a.json", tarfile.LNKTYPE, "../../evil.json"),
    member("records/a.json", tarfile.CHRTYPE),
    member("records/a.json", tarfile.FIFOTYPE),
    member("records", tarfile.DIRTYPE),
]


@pytest.mark.parametrize("info", HOSTILE, ids=lambda info: f"{info.name[:24]!r}-{info.type!r}")
def test_a_hostile_member_is_refused_and_nothing_is_written(tmp_path: Path, info: Any) -> None:
    archive = written(tmp_path / "a.tar.gz", info)
    with pytest.raises(UserError, match="allowed are files of records") as refused:
        unpack(archive, tmp_path / "inside/home")
    assert "\n" not in str(refused.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize(
    ("limit", "value"), [("MOST_MEMBERS", 2), ("MOST_BYTES", 9), ("MOST_BYTES_OF_ONE", 1)]
)
def test_an_archive_is_no_larger_than_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    archive = written(tmp_path / "a.tar.gz", member("records/a.json"))
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(UserError, match="more than"):
        unpack(archive, tmp_path / "home")


def test_records_of_another_version_are_refused_by_the_name_of_what_made_them(
    tmp_path: Path,
) -> None:
    archive = written(tmp_path / "a.tar.gz", member("records/a.json"), versions={"record": 1})
    with pytest.raises(UserError, match=r"of sdbench 9\.9; allowed are .*: open it with"):
        unpack(archive, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_config(_: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(member(MANIFEST), io.BytesIO(b"{}"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        without_config,
        lambda content: b"",
        lambda content: b"text",
        lambda content: gzip.compress(b"text"),
        lambda content: content[:40] + b"xxxx" + content[44:],
    ],
)
def test_what_is_no_archive_gets_one_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = packed(tmp_path / "results")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UserError, match="name an archive that `make records` left") as refused:
        unpack(archive, tmp_path / "home")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory: name an archive"):
        unpack(tmp_path / "gone.tar.gz", tmp_path / "home")
