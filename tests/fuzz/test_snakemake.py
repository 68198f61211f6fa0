"""The same through Snakemake, as a user sees it: the line, the exit status, what is left behind."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import copy_workflow
from tests.forked import Run, dry_run
from tests.fuzz.configs import ACCEPTED_FILES, REFUSED_FILES
from tests.fuzz.refusal import assert_one_line, write
from tests.reliability import Tally

LIMIT_S = 5.0


def sampled(names: Iterable[str]) -> list[Any]:
    """Return all names; every fourth is for each test run, the others take too long."""
    slow = pytest.mark.slow
    return [n if i % 4 == 0 else pytest.param(n, marks=slow) for i, n in enumerate(names)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("workflow"))


def plan(folder: Path, content: str | bytes) -> Run:
    """Run `snakemake -n` with a file of a config."""
    write(folder / "mine.yaml", content)
    return dry_run(folder, "--configfile", "mine.yaml")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder, with what changes when it is written."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            name = path.relative_to(folder).as_posix()
            if path.is_file() and "__pycache__" not in name and name != "mine.yaml":
                found[name] = (status.st_mtime_ns, status.st_size)
    return found


@pytest.mark.parametrize("name", sampled(REFUSED_FILES))
def test_a_wrong_config_gets_one_line_and_no_more(name: str, folder: Path, tally: Tally) -> None:
    content, said = REFUSED_FILES[name]
    before = tree(folder)
    run = plan(folder, content)
    assert run.returncode not in (0, None)
    output = run.stdout + run.stderr
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert_one_line(line, "mine.yaml", said)
    # What Snakemake says itself: its profile, and which file it extends.
    others = [line for line in output.splitlines() if not line.startswith("error: ")]
    assert all(re.match("Using|Config file ", line) for line in others if line), output
    assert tree(folder) == before
    assert run.seconds < LIMIT_S
    tally.tried("configs, through Snakemake", "refused")


@pytest.mark.parametrize("name", sampled(ACCEPTED_FILES))
def test_a_config_that_is_taken_is_planned(name: str, folder: Path, tally: Tally) -> None:
    before = tree(folder)
    run = plan(folder, ACCEPTED_FILES[name])
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^measure_sweep +\d+$", run.stdout, re.M)
    written = {path for path in tree(folder) if path not in before}
    assert all(path.startswith(".snakemake/") for path in written)
    assert run.seconds < LIMIT_S
    tally.tried("configs, through Snakemake", "accepted")
