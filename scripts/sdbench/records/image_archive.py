"""The archive of a variant's images (.npz): over the number of steps, and of a set of prompts."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError
from sdbench.runtime.files import check_seal, write_beside_seal

import numpy as np
from numpy.typing import NDArray

MODES = ("runs", "trajectory")
ImageArray = NDArray[np.uint8]
"""An image of 8 bits, shape (height, width, 3), sRGB."""
Images = Mapping[str, Mapping[int, ImageArray]]
"""By mode and number of steps."""

_ENTRIES = {"status", "reason", *MODES, *(f"{mode}_steps" for mode in MODES)}
_LATER: dict[str, NDArray[Any]] = {
    "spread": np.empty((0, 0, 0, 3), np.uint8),
    "spread_steps": np.empty(0, np.int64),
    "spread_seeds": np.empty(0, np.int64),
    "set": np.empty((0, 0, 0, 3), np.uint8),
    "set_at": np.empty(0, np.int64),
    "set_prompts": np.empty(0, np.str_),
    "set_seeds": np.empty(0, np.int64),
    "set_status": np.array("ok"),
    "set_reason": np.array(""),
}
_REMEDY = "delete it and run again"


def save_images(path: Path, status: str, reason: str, **series: Any) -> None:
    """Write the series of a variant next to a seal, whole or not at all: `runs` and `trajectory` (8
    bits, shape (count, height, width, 3)), `runs_steps` and `trajectory_steps` (integers, shape
    (count,)). With another status than `ok` the `reason` says why they are not complete.

    `spread` are full runs from the latents of other seeds, of the `spread_steps` and the
    `spread_seeds`, counted from that of the series.

    Of a set that was wanted, `set_prompts` and `set_seeds` say what, n of each; `set` are the
    images that came of it, `set_at` which of the n each is, `set_status` and `set_reason` its end.
    """
    buffer = io.BytesIO()
    said: dict[str, Any] = {"status": np.array(status), "reason": np.array(reason)}
    np.savez_compressed(buffer, **said | _LATER | series)
    write_beside_seal(path, buffer.getvalue())


def read_images(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save_images` wrote; `UserError` names a file that is gone, damaged or changed."""
    try:
        check_seal(path, _REMEDY)
        with np.load(path) as archive:
            entries = dict(archive)
        entries = _LATER | entries  # older archives have none
        if set(entries) != _ENTRIES | set(_LATER):
            raise ValueError("not an archive of images")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}): {_REMEDY}") from error
    return entries


def by_step(archive: Mapping[str, NDArray[Any]]) -> Images:
    """Return the images that `read_images` read, by mode and number of steps."""
    return {
        mode: dict(zip(archive[f"{mode}_steps"].tolist(), archive[mode], strict=True))
        for mode in MODES
    }
