"""Outputs that say "failed, because".

A model that cannot be made, counted or exported must not keep tables, figures and page from being
made for the others. `check_results` ends such a run non-zero.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from sdbench.runtime.errors import UnsupportedError, UserError, explain
from sdbench.runtime.files import StorageError, write_whole
from sdbench.runtime.ownership import TakenOver
from sdbench.runtime.progress import say

FILES = {"error": "failed.txt", "unsupported": "unsupported.txt"}
"""In a folder, by status: why what it should hold is not there."""
KEY = "failed"
"""In a JSON file: why there is nothing else."""


@contextlib.contextmanager
def failure_written(write: Callable[[str], None]) -> Iterator[None]:
    """Give the reason of what fails inside to `write`, which makes an output of it.

    What a disk refuses fails the job itself: then nothing else can go on either.
    """
    try:
        yield
    except (StorageError, TakenOver):
        raise
    except Exception as error:
        reason = explain(error)
        say(f"failed: {reason}")
        write(reason)


def write_failure(folder: Path, reason: str, file: str = FILES["error"]) -> None:
    """Leave the reason why in a folder, which holds nothing else."""
    write_whole(folder / file, reason.encode())


def raise_failure(folder: Path) -> None:
    """Raise why there is nothing in a folder: `UserError`, or `UnsupportedError` where it cannot
    be; do nothing if it was made."""
    for status, kind in (("error", UserError), ("unsupported", UnsupportedError)):
        file = folder / FILES[status]
        if file.exists():
            raise kind(file.read_text(encoding="utf-8"))


def forget_failures(results: Path) -> None:
    """Remove the outputs that say that they failed, so that a run that begins makes them again.

    Nothing where Snakemake's lock says that another run goes on here.
    """
    if any(Path(".snakemake/locks").glob("*")):
        return
    for made in ("models", "judges"):
        for reason in results.glob(f"{made}/*/{FILES['error']}"):
            shutil.rmtree(reason.parent)
    for pattern in ("models/*.json", "operations/*/*.json", "onnx*/*.json", "openvino*/*.json"):
        for path in results.glob(pattern):
            if _failed(path):
                path.unlink()


def _failed(path: Path) -> bool:
    """Tell whether a manifest, what was counted, or a record of exported networks says so."""
    with contextlib.suppress(OSError, ValueError):  # what is wrong with it, its readers say
        found = json.loads(path.read_text(encoding="utf-8"))
        networks = [one for one in found.values() if isinstance(one, dict)]
        return KEY in found or any(one.get("status") == "error" for one in networks)
    return False
