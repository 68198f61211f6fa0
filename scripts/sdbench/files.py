"""Files that are whole or absent."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdbench.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, then give it that name: a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write built-in types as JSON, whole or not at all. NaN and infinity are refused."""
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises:
        UserError: if it is gone or damaged; it names the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not whole ({error}): delete it and run again") from error
    return data


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256 for the contents of several files, in whatever order they are given.

    Where they lie plays no part: the same code in another folder has the same digest.
    """
    each = sorted((path.name, sha256(path)) for path in paths)
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()
