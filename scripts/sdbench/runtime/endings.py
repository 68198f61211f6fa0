"""The last lines that a run leaves on the terminal: what failed, or the answer."""

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_FAILED = re.compile(
    r"^Error in rule (\w+):\n(?:    .*\n)*?    jobid: (\d+)\n(?:    .*\n)*?    log: ([^\s,]+)", re.M
)
"""How Snakemake's own log tells of a failed job: its rule, its number, and the job's own log."""
_FINISHED = re.compile(r"^Finished jobid: (\d+)", re.M)


ANSWER = "answer: "
"""How a line of a job's log begins that answers what the run was for."""


def failures(snakemake_log: Path) -> Iterator[str]:
    """Yield what each failed job of a run says of its end, a line for each thing that failed.

    A job that failed and went well when it was tried again is left out.
    """
    told = snakemake_log.read_text(encoding="utf-8", errors="replace")
    finished = set(_FINISHED.findall(told))
    for rule, number, log in dict.fromkeys(_FAILED.findall(told)):
        if number not in finished:
            reasons = _lines(Path(log), "failed: ", "error: ")
            yield from reasons or [f"{rule}: no message; see {log}"]


def show_failures(snakemake_logs: Iterable[Path]) -> None:
    """Write what `failures` finds in the logs of a run to the terminal."""
    for log in snakemake_logs:
        for line in failures(log):
            print(line, file=sys.stderr)


def show_answer(log: Path) -> None:
    """Write to the terminal what the log of a job has of the answer."""
    for line in _lines(log, ANSWER):
        print(f"sdbench: {line.removeprefix(ANSWER)}", file=sys.stderr)


def _lines(log: Path, *begin: str) -> list[str]:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.startswith(begin)]
    return []
