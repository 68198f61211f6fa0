"""The archive of a variant's images over the number of steps (.npz): written, and read back."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_whole

import numpy as np
from numpy.typing import NDArray

MODES = ("runs", "trajectory")
_ENTRIES = {"status", "reason", *MODES, *(f"{mode}_steps" for mode in MODES)}


def save_images(path: Path, status: str, reason: str, **series: Any) -> None:
    """Write the series of a variant, sealed, whole or not at all.

    Args:
        path: the .npz file.
        status: as in a record; other than `ok` the series are empty and `reason` says why.
        reason: empty for `ok`.
        series: `runs`, `trajectory` (8 bits, shape (count, height, width, 3)), and `runs_steps`,
            `trajectory_steps` (integers, shape (count,)).
    """
    entries = {"status": np.array(status), "reason": np.array(reason), **series}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **entries, checksum=np.array(_checksum(entries)))
    write_whole(path, buffer.getvalue())


def read_images(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save_images` wrote, the seal apart.

    Raises:
        UserError: if the file is gone, damaged or changed; it names the file.
    """
    remedy = "delete it and run again"
    try:
        with np.load(path) as archive:
            entries = dict(archive)
        seal = str(entries.pop("checksum", ""))
        if set(entries) != _ENTRIES:
            raise ValueError("not an archive of images")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}): {remedy}") from error
    if seal != _checksum(entries):
        raise UserError(f"{path}: changed after it was generated: {remedy}")
    return entries


def _checksum(entries: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of names, types, shapes and contents, 64 hexadecimal digits."""
    total = hashlib.sha256()
    for name, entry in sorted(entries.items()):
        total.update(f"{name} {entry.dtype.str} {entry.shape}\n".encode())
        total.update(np.ascontiguousarray(entry).tobytes())
    return total.hexdigest()
