"""What the terminal is told while a run lasts."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbench.runtime import progress
from sdbench.runtime.progress import SAID, Progress, about


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.Logger("snakemake double")
    yield made
    made.handlers.clear()


def start(logger: logging.Logger, number: int, log: Path) -> None:
    logger.info("", extra={"event": "job_info", "jobid": number, "log": [str(log)]})


def end(logger: logging.Logger, number: int) -> None:
    logger.info("", extra={"event": "job_finished", "job_id": number})


@pytest.fixture(autouse=True)
def never_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 3600.0)


def test_lines_that_a_job_says_reach_the_terminal_once(
    logger: logging.Logger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger.addHandler(caplog.handler)
    log = tmp_path / "log"
    log.write_text(f"{SAID}of an earlier run\n")
    Progress(logger, {4: {"a": 10.0, "b": 30.0, "": 2.0}, 5: {"": 20.0}})
    start(logger, 4, log)
    log.unlink()
    log.write_text(f"a warning of a library\n{SAID}measuring a\n{SAID}a: ok\n{SAID}not yet whole")
    end(logger, 4)
    told = [message for message in caplog.messages if message]
    assert told[0] == "sdbench: measuring a"
    assert told[1].startswith("sdbench: a: ok (1 of 2 done, about ")
    assert len(told) == 2


def test_what_is_left_is_scaled_by_what_is_done(
    logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    run = Progress(logger, {1: {"": 100.0}, 2: {"": 100.0}, 3: {"a": 50.0, "b": 50.0}})
    assert run.left_s() == 300.0
    start(logger, 1, tmp_path / "none")
    now += 200.0
    end(logger, 1)
    scale = (200 + progress.PRIOR_S) / (100 + progress.PRIOR_S)
    assert run.left_s() == pytest.approx(200 * scale)
    log = tmp_path / "log"
    start(logger, 3, log)
    now += 30.0
    assert run.left_s() == pytest.approx(200 * scale - 30)
    end(logger, 3)
    end(logger, 7)  # of a job that nobody announced
    assert run.left_s() == pytest.approx(100 * (230 + 20) / (200 + 20))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (44, "40 s"), (90, "2 min"), (610, "10 min"), (5400, "1.5 h")],
)
def test_rough_numbers(seconds: float, text: str) -> None:
    assert about(seconds) == f"about {text}"
