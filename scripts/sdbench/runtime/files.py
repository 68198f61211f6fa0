"""Files that are whole or absent, and that show when they were changed."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError

_MAKE_WRITABLE = "make it writable, or set another folder in pathvars.results"
_STORAGE = {
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free space within your quota",
    errno.EROFS: _MAKE_WRITABLE,
    errno.EACCES: _MAKE_WRITABLE,
    errno.EPERM: _MAKE_WRITABLE,
    errno.EIO: "check the disk",
}
"""What to do where the system refuses to write or read, by its number of error."""


class StorageError(UserError):
    """A disk that is full, read-only or broken: no case's fault, and nothing can go on."""


@contextlib.contextmanager
def storage_named(what: object) -> Iterator[None]:
    """Have what the disk or its rights refuse told in one line, by a `StorageError`.

    `what` is the file or folder that it is about; or words, where only the system knows which.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            number = error.errno
        else:  # safetensors and tokenizers, in Rust, write the system's number into their text
            told = re.search(r"\(os error (\d+)\)", str(error))
            number = int(told[1]) if told else None
        if number not in _STORAGE:
            raise
        file = what if isinstance(what, Path) else getattr(error, "filename", None) or what
        raise StorageError(
            f"{file}: {os.strerror(number)}: {_STORAGE[number]} and run again; finished results "
            "are kept"
        ) from error


def check_writable(folder: Path) -> None:
    """Raise `StorageError` if files cannot be written to a folder, which need not be there."""
    whole = folder.absolute()
    nearest = next(path for path in (whole, *whole.parents) if path.exists())
    with storage_named(folder), tempfile.TemporaryFile(dir=nearest):
        pass


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` next to `path`, then give it that name: a reader never sees a part of it, and
    of what the disk does not take (`StorageError`) nothing is left behind."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with storage_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with a `checksum` of all else in it, which only its writer knows to make."""
    # As JSON gives it back, where every key is a text.
    plain = json.loads(json.dumps(dict(data), allow_nan=False))
    plain.pop("checksum", None)
    return {**data, "checksum": digest(plain)}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write built-in types as JSON, sealed, whole or not at all. NaN and infinity are refused."""
    text = json.dumps(sealed(data), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, (text + "\n").encode())


def parse_json(text: str) -> Any:
    """Return what JSON stands for; `ValueError` if it is none, is too deep to be read, or has a
    number that is not finite, or is whole and has more than 64 bits."""
    try:
        return json.loads(text, parse_constant=_number, parse_float=_number, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return float(text)


def _whole(text: str) -> int:
    if int(text).bit_length() > 63:
        raise ValueError(f"{text[:20]}... has more than 64 bits")
    return int(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, the seal apart; `UserError` names a file that is gone, damaged
    or changed."""
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}): delete it and run again") from error
    if data.pop("checksum", None) != sealed(data)["checksum"]:
        raise UserError(f"{path}: changed after it was written: delete it and run again")
    return data


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def write_beside_seal(path: Path, content: bytes) -> None:
    """Write a file that has no room for a seal, and its SHA-256 next to it as `sha256sum` does."""
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    write_whole(_seal_of(path), line.encode())
    write_whole(path, content)


def check_seal(path: Path, remedy: str) -> None:
    """Raise `UserError`, with the `remedy`, if a file is not what the seal next to it was made of.
    One without a seal came from elsewhere, and passes."""
    seal = _seal_of(path)
    if seal.exists() and seal.read_text(encoding="utf-8").split()[:1] != [sha256(path)]:
        raise UserError(f"{path}: changed after it was written: {remedy}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256 for the names and contents of files, wherever they lie, in any order."""
    each = sorted((path.name, sha256(path)) for path in paths)
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()
