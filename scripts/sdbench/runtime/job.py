"""What every rule's script does around its work: log, and fail in a way that a person can read."""

import contextlib
import functools
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.runtime.environment import done_without
from sdbench.runtime.errors import explain, plain
from sdbench.runtime.failures import failure_written
from sdbench.runtime.files import storage_named
from sdbench.runtime.ownership import TakenOver
from sdbench.runtime.progress import say


@contextlib.contextmanager
def logged(log: str, outputs: Iterable[str] = ()) -> Iterator[None]:
    """Send everything the job prints to `log` alone, its traceback included; what `progress.say`
    says is shown on the terminal too.

    It is sent there below Python, on the file descriptors: C libraries and child processes print
    too. A job that another has taken over waits for `outputs`. After any failure the job exits with
    status 1, and the log's last line says why after `error: `.
    """
    # Ended by its scheduler, a job must end its own processes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # A new file: an orphaned job that still writes to the log must not write into this one's.
    Path(log).unlink(missing_ok=True)
    with Path(log).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    error: str | None = None
    try:
        _begin_log()
        with storage_named(f"a file of the job that logs to {log}"):
            yield
    except TakenOver as end:
        # No failure, and no end before there is what this job should have made: its Snakemake
        # would miss that, and remove it when its successor writes it. The log is the successor's.
        os.write(saved[1], f"{end}\n".encode())
        for _ in range(24 * 3600):  # a day at most; a scheduler's time limit is shorter
            if all(Path(file).exists() for file in outputs):
                break
            time.sleep(1)
    except Exception as failure:
        error = explain(failure)
    finally:
        try:
            if error is not None:
                print(f"error: {error}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:  # such as a full disk: the terminal has room
            os.write(saved[1], f"error: {error}\n".encode())
        for fd, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, fd)
            os.close(copy)
    if error is not None:
        sys.exit(1)


def _begin_log() -> None:
    # Whatever the locale is: a log is read as UTF-8, and no character may end a job.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if done_without:
        named = ", ".join(f"{name}={value}" for name, value in done_without.items())
        say(f"jobs do without {plain(named, 300)}: the config decides that (docs/method.md)")


def run_script(
    job: Any,
    work: Callable[..., None],
    failed: Callable[..., None] | None = None,
    /,
    **more: Any,
) -> None:
    """Do the work of a rule's script, logged: each input, output and parameter is the argument of
    its name. `failed(*outputs, reason)` makes outputs of the reason why it failed, which is then no
    failure of the job: on a cluster at the last of its attempts, each of which has more memory.

    An input is passed as a path, or as a list of paths where the rule lists files. Left out is what
    is there for Snakemake alone, which runs the job again when it changes (`_FOR_SNAKEMAKE`).
    """
    outputs = {name: Path(path) for name, path in job.output.items()}
    kept: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if failed and job.resources.get("last_attempt", True):
        kept = failure_written(functools.partial(failed, *outputs.values()))
    with logged(job.log[0]), kept:
        arguments: dict[str, Any] = {
            name: Path(given) if isinstance(given, str) else [Path(file) for file in given]
            for name, given in job.input.items()
        } | dict(job.params.items())
        for name in _FOR_SNAKEMAKE:
            arguments.pop(name, None)
        work(**arguments | outputs | more)


_FOR_SNAKEMAKE = ("caption", "code", "environment_file", "exported", "files", "parts", "version")


def optional(files: str | Sequence[str]) -> Path | None:
    """Return the one file of an input of the job's rule, or None where the rule found none."""
    listed = [files] if isinstance(files, str) else files
    return next(map(Path, listed), None)


def granted_bytes(resources: Any) -> int | None:
    """Return the memory that a cluster gives the job; None on one machine, where none is asked."""
    return int(resources.mem_mb) * 10**6 or None


def time_limit_s(config: Mapping[str, Any]) -> float | None:
    """Return the seconds that one piece of work of a job may take; None for any number. No rule has
    it as a parameter: another limit makes nothing that was finished stale."""
    return config["measuring"]["case_time_limit_s"] or None
