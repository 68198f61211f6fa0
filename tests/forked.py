"""Work in a process forked from one that has imported what it needs. Of each of Snakemake's dry
runs a second is saved, and there are a hundred and fifty.

Nothing of this project may be imported here: a clone's Snakefile imports its own.
"""

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 120


class Run(NamedTuple):
    """What a run of Snakemake said, how it ended, and the seconds of processor time it took."""

    stdout: str
    stderr: str
    returncode: int | None
    seconds: float


def dry_run(folder: Path, *args: str) -> Run:
    """Run `snakemake -n` in a folder, in the environment of this process."""
    context = multiprocessing.get_context("forkserver")
    # `__main__`, or each process would import pytest.
    context.set_forkserver_preload(["__main__", "snakemake.cli", "requests", "smart_open"])
    seconds = context.Value("d", 0.0)
    with tempfile.TemporaryDirectory() as name:
        said = [Path(name, stream) for stream in ("stdout", "stderr")]
        command = ["snakemake", "-n", "--cores", "1", *args]
        process = context.Process(
            target=_enter, args=(command, folder, dict(os.environ), said, seconds)
        )
        process.start()
        process.join(TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
        stdout, stderr = (path.read_text(errors="replace") for path in said)
    return Run(stdout, stderr, process.exitcode, seconds.value)


def _enter(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    said: Sequence[Path],
    seconds: Any,
) -> None:
    """Run Snakemake's command line."""
    for descriptor, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[:] = command
    from snakemake.cli import main

    begin = resource.getrusage(resource.RUSAGE_SELF)
    try:
        main()
    finally:
        end = resource.getrusage(resource.RUSAGE_SELF)
        seconds.value = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        sys.stdout.flush()
        sys.stderr.flush()


def serve(asked: Connection) -> None:
    """Call each function that comes with its arguments in a fork of this process, one after the
    other, and send with which status that ended; until nobody asks any more."""
    with contextlib.suppress(EOFError):
        while True:
            work, args = asked.recv()
            process = multiprocessing.get_context("fork").Process(target=work, args=args)
            process.start()
            process.join()
            asked.send(process.exitcode)
