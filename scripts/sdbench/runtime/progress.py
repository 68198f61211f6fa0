"""What the terminal is told while a run lasts: what runs now, and how long the rest will take.

Jobs print into their own logs; a line that begins with `SAID` is for the terminal too. The process
of Snakemake follows the logs of running jobs, also those that a cluster's nodes write, and hands
such lines to Snakemake's logger, which knows how to write next to a progress bar.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SAID = "> "
"""How a line of a job's log begins that is for the terminal too."""
LOOK_S = 0.5
"""Seconds between two looks at the logs."""


def say(line: str) -> None:
    """Print a line into the log of the job, for the terminal too."""
    print(f"{SAID}{line}", flush=True)


class Followed:
    """A running job: its log, and what of it is done."""

    def __init__(self, log: Path | None, parts: Mapping[str, float]) -> None:
        self.log, self.left = log, dict(parts)
        self.began = self.part_began = time.monotonic()
        self._read, self._rest = 0, ""
        # The log of an earlier run is there until the job begins its own.
        self._stale = self._seen()

    def lines(self) -> Iterator[str]:
        """Yield what the job said since it was last asked."""
        seen = self._seen()
        if self.log is None or seen is None or seen == self._stale:
            return
        self._stale = None
        with self.log.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._read)
            text = file.read()
            self._read = file.tell()
        *lines, self._rest = (self._rest + text).split("\n")
        yield from (line.removeprefix(SAID) for line in lines if line.startswith(SAID))

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = self.log.stat() if self.log else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_mtime_ns)


class Progress(logging.Handler):
    """Follows a run by Snakemake's own events, and logs what its jobs say.

    Args:
        logger: Snakemake's.
        expected_s: by the number of each job that will run, the seconds that it is thought to take;
            where a job does several things, by name: it says a line that begins with the name when
            one is done.
    """

    def __init__(
        self, logger: logging.Logger, expected_s: Mapping[int, Mapping[str, float]]
    ) -> None:
        super().__init__()
        self._logger = logger
        self._waiting = dict(expected_s)
        self._said: set[str] = set()
        self._running: dict[int, Followed] = {}
        self._parts = sum(1 for parts in expected_s.values() for part in parts if part)
        self._done, self._expected_s, self._spent_s = 0, 0.0, 0.0
        self._changing = threading.Lock()
        threading.Thread(target=self._follow, daemon=True).start()
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job that starts or ends."""
        event: Any = getattr(record, "event", None)
        number: Any = getattr(record, "jobid", getattr(record, "job_id", None))
        if event == "job_info":
            log = next(iter(getattr(record, "log", None) or ()), None)
            parts = self._waiting.pop(number, {})
            with self._changing:
                self._running[number] = Followed(Path(log) if log else None, parts)
        elif event in ("job_finished", "job_error"):
            self._look()
            with self._changing:
                job = self._running.pop(number, None)
                if job is not None:
                    self._end(job, *list(job.left))

    def _follow(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        with self._changing:
            lines = [
                self._told(job, line) for job in self._running.values() for line in job.lines()
            ]
        # Not above: who logs waits for this handler, which waits for the lock.
        for line in lines:
            if line not in self._said:  # each job says what holds for all of them
                self._said.add(line)
                self._logger.info(f"sdbench: {line}")

    def _told(self, job: Followed, line: str) -> str:
        part = next((name for name in job.left if name and line.startswith(f"{name}: ")), None)
        if part is None:
            return line
        self._done += 1
        self._end(job, part)
        return f"{line} ({self._done} of {self._parts} done, {about(self.left_s())} left)"

    def _end(self, job: Followed, *parts: str) -> None:
        now = time.monotonic()
        self._expected_s += sum(job.left.pop(part) for part in parts)
        self._spent_s += now - job.part_began
        job.part_began = now

    def left_s(self) -> float:
        """Return the seconds that what is left is thought to take: as much longer or shorter than
        expected as what is done."""
        known = self._expected_s > 0
        scale = (self._spent_s + PRIOR_S) / (self._expected_s + PRIOR_S) if known else 1.0
        now = time.monotonic()
        running = sum(
            max(0.0, scale * sum(job.left.values()) - (now - job.part_began))
            for job in self._running.values()
        )
        return running + scale * sum(sum(parts.values()) for parts in self._waiting.values())


PRIOR_S = 20.0
"""Seconds as expected that what is done is weighed against."""


def about(seconds: float) -> str:
    """Return a rough number of seconds in words."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
