"""The job that began last may write, and the one before it no more."""

from pathlib import Path

import pytest

from sdbench.job import logged
from sdbench.ownership import TakenOver, claim


def test_the_last_claim_holds_and_the_one_before_does_not(tmp_path: Path) -> None:
    first = claim(tmp_path / "owner")
    first.assert_held()
    second = claim(tmp_path / "owner")
    second.assert_held()
    with pytest.raises(TakenOver, match="another job has taken over"):
        first.assert_held()


def test_it_is_no_failed_case(tmp_path: Path) -> None:
    """What makes a row of every exception must not make one of this."""
    first = claim(tmp_path / "owner")
    claim(tmp_path / "owner")
    with pytest.raises(TakenOver):
        try:
            first.assert_held()
        except Exception:
            pytest.fail("caught as a failure of the case")


def test_a_job_that_was_taken_over_ends_with_one_line_and_no_failure(tmp_path: Path) -> None:
    """Its Snakemake would remove the output of a failed job, which is the successor's by now."""
    first = claim(tmp_path / "owner")
    claim(tmp_path / "owner")
    with logged(str(tmp_path / "log")):
        first.assert_held()
    assert (tmp_path / "log").read_text().startswith("another job has taken over")


def test_an_orphan_does_not_write_into_its_successors_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logged(str(log)):
        print("the orphan begins", flush=True)
        with logged(str(log)):
            print("the successor", flush=True)
        print("the orphan goes on", flush=True)
    assert log.read_text() == "the successor\n"
