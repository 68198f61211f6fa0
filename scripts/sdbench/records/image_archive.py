"""The archive of a variant's images over the number of steps (.npz): written, and read back."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError
from sdbench.runtime.files import check_seal, write_beside_seal

import numpy as np
from numpy.typing import NDArray

MODES = ("runs", "trajectory")
_ENTRIES = {"status", "reason", *MODES, *(f"{mode}_steps" for mode in MODES)}
_REMEDY = "delete it and run again"


def save_images(path: Path, status: str, reason: str, **series: Any) -> None:
    """Write the series of a variant next to a seal, whole or not at all: `runs` and `trajectory` (8
    bits, shape (count, height, width, 3)), `runs_steps` and `trajectory_steps` (integers, shape
    (count,)). With another status than `ok` the `reason` says why they are not complete."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, status=np.array(status), reason=np.array(reason), **series)
    write_beside_seal(path, buffer.getvalue())


def read_images(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save_images` wrote; `UserError` names a file that is gone, damaged or changed."""
    try:
        check_seal(path, _REMEDY)
        with np.load(path) as archive:
            entries = dict(archive)
        if set(entries) != _ENTRIES:
            raise ValueError("not an archive of images")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}): {_REMEDY}") from error
    return entries
