"""What a person is told of a wrong input."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LONGEST = 1200
"""Characters of a line that says what is wrong, its paths included."""


def assert_one_line(message: str, *parts: str) -> None:
    """Check that a message is one line that a person can read, with a remedy and these parts."""
    assert message.isprintable(), ascii(message)
    assert len(message) <= LONGEST, message
    # The remedy: what follows the last colon tells to do something, or where to look.
    assert re.search(r": [a-z`][^:]{4,}$", message), message
    for part in parts:
        assert part in message, message


def write(path: Path, content: str | bytes) -> Path:
    """Write a wrong input, as bytes or in UTF-8."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused_in_log(script: str, call: str, folder: Path, *parts: str) -> None:
    """Run a rule's script as users see it, by a call with `here`, a folder. Check that it fails,
    writes no table, and that its log is one line with these parts."""
    driver = (
        f"from pathlib import Path\nfrom {script} import {script}\n"
        "from sdbench.runtime.job import logged\n"
        f"here = Path({str(folder)!r})\nwith logged(str(here / 'log')):\n    {script}({call})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", driver],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = (folder / "log").read_text().splitlines()
    assert line.startswith("error: ")
    assert_one_line(line, *parts)
    assert {path.name for path in folder.glob("*.csv")} <= {"dropped.csv"}
