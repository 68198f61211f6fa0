"""The same through Snakemake, as a user sees it: the line, the exit status, what is left behind."""

import contextlib
import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import copy_workflow
from tests.fuzz.configs import ACCEPTED_FILES, REFUSED_FILES
from tests.fuzz.refusal import assert_one_line
from tests.reliability import Tally

LIMIT_S = 5.0

SAMPLE = [
    name if i % 2 == 0 else pytest.param(name, marks=pytest.mark.slow)
    for i, name in enumerate(REFUSED_FILES)
]
"""Every other one is quick enough for each test run."""


class Run(NamedTuple):
    """What a run of Snakemake said, how it ended, and the seconds of processor time it took."""

    output: str
    status: int
    seconds: float


def _enter(folder: str, arguments: list[str], said: str, seconds: Any) -> None:
    """Run Snakemake's command line in a process that has imported it already."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    sys.argv[:] = ["snakemake", *arguments]
    from snakemake.cli import main

    begin = resource.getrusage(resource.RUSAGE_SELF)
    try:
        main()
    finally:
        end = resource.getrusage(resource.RUSAGE_SELF)
        seconds.value = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        sys.stdout.flush()
        sys.stderr.flush()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("workflow"))


@pytest.fixture(scope="module")
def dry_run(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str | bytes, str], Run]:
    """Runs `snakemake -n` with a file of a config, each in a process of its own.

    The processes are forked from one that has imported Snakemake: a second of each is saved.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["snakemake.cli"])
    elsewhere = tmp_path_factory.mktemp("said")

    def run(content: str | bytes, *more: str) -> Run:
        (folder / "mine.yaml").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        arguments = ["-n", "--cores", "1", "--configfile", "mine.yaml", *more]
        said, seconds = elsewhere / "said", context.Value("d", 0.0)
        process = context.Process(target=_enter, args=(str(folder), arguments, str(said), seconds))
        process.start()
        process.join(120)
        assert process.exitcode is not None
        return Run(said.read_text(errors="replace"), process.exitcode, seconds.value)

    return run


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


@pytest.mark.parametrize("name", SAMPLE)
def test_a_wrong_config_gets_one_line_and_leaves_nothing(
    name: str, folder: Path, dry_run: Callable[..., Run], tally: Tally
) -> None:
    content, said = REFUSED_FILES[name]
    before = tree(folder)
    run = dry_run(content)
    assert run.status not in (0, None)
    assert "Traceback" not in run.output
    (line,) = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert_one_line(line, "mine.yaml", said)
    # What Snakemake says itself: its profile, and which file it extends.
    others = [line for line in run.output.splitlines() if not line.startswith("error: ")]
    assert all(re.match("Using|Config file ", line) for line in others if line), run.output
    assert tree(folder) == before
    assert run.seconds < LIMIT_S
    tally.tried("configs, through Snakemake", "refused")


@pytest.mark.parametrize("name", ACCEPTED_FILES)
def test_a_config_that_is_taken_is_planned(
    name: str, folder: Path, dry_run: Callable[..., Run], tally: Tally
) -> None:
    before = tree(folder)
    run = dry_run(ACCEPTED_FILES[name])
    assert run.status == 0, run.output
    assert re.search(r"^measure_sweep +\d+$", run.output, re.M)
    written = {path for path in tree(folder) if path not in before}
    assert all(path.startswith(".snakemake/") for path in written)
    assert run.seconds < LIMIT_S
    tally.tried("configs, through Snakemake", "accepted")
