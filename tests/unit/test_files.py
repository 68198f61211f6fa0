"""Files are whole or absent, and show when they were changed."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sdbench.runtime.errors import UserError
from sdbench.runtime.failures import KEY, forget_failures, raise_failure, write_failure
from sdbench.runtime.files import (
    StorageError,
    check_seal,
    check_writable,
    read_json,
    sealed,
    storage_named,
    write_beside_seal,
    write_json,
    write_whole,
)


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Numbers for keys come back as texts, and do not break the seal."""
    data = {"name": "Größe", "numbers": [0.1, 1e-9, 3], "nothing": None}
    write_json(tmp_path / "a.json", data | {"samples": {10: 1.0, 9: 2.0}})
    assert read_json(tmp_path / "a.json") == data | {"samples": {"10": 1.0, "9": 2.0}}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("[1]", "not a mapping"),
        ('{"a": 1}', "changed after it was written"),
        (json.dumps(sealed({"a": 1}) | {"a": 2}), "changed after it was written"),
    ],
)
def test_json_that_nobody_sealed_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "delete it and run again" in str(caught.value)


def test_a_seal_lies_beside_what_has_no_room_for_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_beside_seal(path, b"a,b\n1,2\n")
    check_seal(path, "delete it")
    path.write_bytes(b"a,b\n1,3\n")
    with pytest.raises(UserError, match=r"a\.csv: changed after it was written: delete it"):
        check_seal(path, "delete it")
    (tmp_path / "a.csv.sha256").unlink()
    check_seal(path, "delete it")  # from elsewhere


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    write_whole(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as caught:
        write_whole(tmp_path / "a", b"new")
    assert str(caught.value).startswith(f"{tmp_path}/a: {os.strerror(number)}: ")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_libraries_say_of_the_disk_is_understood() -> None:
    full = r"^the model: No space left on device: free disk space"
    with pytest.raises(StorageError, match=full), storage_named("the model"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="it broke"), storage_named("the model"):
        raise RuntimeError("it broke")
    with pytest.raises(FileNotFoundError), storage_named("the model"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


def test_a_folder_to_be_made_can_be_written(tmp_path: Path) -> None:
    check_writable(tmp_path / "not/there/yet")
    assert not list(tmp_path.iterdir())


def test_what_failed_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    sound = {"network": "unet", "status": "ok"}
    files: dict[str, dict[str, Any]] = {
        "models/good.json": {"files": {"a": "b"}},
        "models/bad.json": {KEY: "it broke"},
        "operations/good/8x8.json": {"denoiser_flop": 1},
        "operations/bad/8x8.json": {KEY: "it broke"},
        "onnx/good.json": {"unet": sound, "vae": sound | {"status": "unsupported"}},
        "onnx-int8/bad.json": {"unet": sound, "vae": sound | {"status": "error"}},
    }
    for name, content in files.items():
        write_json(tmp_path / name, content)
    write_failure(tmp_path / "models/bad", "it broke")
    with pytest.raises(UserError, match="it broke"):
        raise_failure(tmp_path / "models/bad")
    (tmp_path / "models/damaged.json").write_text("{")
    forget_failures(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {name for name in files if "bad" not in name} | {"models/damaged.json"}
