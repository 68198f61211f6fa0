"""Write a model's folder so that it is either whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def part_folder(folder: Path) -> Path:
    """Return where the files of `folder` lie until all are there: a hidden folder next to it."""
    return folder.with_name(f".{folder.name}.part")


@contextlib.contextmanager
def written_whole(folder: Path, resume: bool = False) -> Iterator[Path]:
    """Give a folder to write to, and rename it to `folder` when everything in it is done.

    What lies at `folder` is replaced then. With `resume`, what a failed attempt leaves behind is
    kept for the next one to go on with.
    """
    part = part_folder(folder)
    if not resume:
        shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, exist_ok=True)
    try:
        yield part
    except BaseException:
        if not resume:
            shutil.rmtree(part, ignore_errors=True)
        raise
    # Files get the mode that others have: safetensors writes its own for the owner alone.
    mask = os.umask(0)
    os.umask(mask)
    for path in part.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~mask)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
