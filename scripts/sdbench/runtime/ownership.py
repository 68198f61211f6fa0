"""Who may write a job's files: the job that began last.

A cluster may lose sight of a job that goes on, and begin another, whose files this orphan must not
overwrite. No lock is taken: locks do not hold on every shared file system, and an orphan's would
keep its successor out.
"""

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from sdbench.runtime.files import write_whole

OWNER = "owner"
"""The file of a folder of records that says which job may write there."""


class TakenOver(SystemExit):
    """Another job has begun the same work: this one has to end, and writes nothing more. It is no
    `Exception`, so that nothing makes a failed case of it."""

    def __init__(self) -> None:
        super().__init__(1)

    def __str__(self) -> str:
        return "another job has taken over these cases: this job stops and writes nothing more"


@dataclass(frozen=True)
class Claim:
    """A file that names the job that began last, and what it says while that is this job."""

    path: Path
    token: str

    def assert_held(self) -> None:
        """Raise `TakenOver` if another job has begun since."""
        # Opened again, a file on NFS is the one that its last writer closed.
        if self.path.read_text(encoding="utf-8") != self.token:
            raise TakenOver


def claim(path: Path) -> Claim:
    """Write into the file at `path` that this job is the last that began."""
    token = f"{socket.gethostname()} {os.getpid()} {time.time()} {secrets.token_hex(8)}\n"
    write_whole(path, token.encode())
    return Claim(path, token)
