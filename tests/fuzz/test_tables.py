"""Tables that users drop into resources/: taken and right, or refused in one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from collect_published import collect_published
from sdbench.runtime.errors import UserError
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED
from tests.conftest import ROOT
from tests.fuzz.refusal import assert_one_line
from tests.fuzz.tables import RIGHT_CELLS, WHOLE, WRONG_CELLS
from tests.reliability import Tally

ROW = {
    "campaign": "lab",
    "source": "measured with sdbench 0.1.0",
    "model": "sd-v1-4",
    "device_name": "A GPU",
    "device_kind": "cuda",
    "backend": "pytorch",
    "backend_version": "2.13.0",
    "precision": "fp16",
    "tf32_convolutions": "False",
    "options": "none",
    "attention": "sdpa",
    "batch_size": "1",
    "width": "512",
    "height": "512",
    "steps": "50",
    "scheduler": "pndm",
    "guidance": "7.5",
    "status": "ok",
    "n": "20",
    "latency_s": "2.5",
}


def text(**changes: str) -> str:
    """Return a table of two rows, the first with other cells."""
    columns = list(PUBLISHED.columns)
    rows = [ROW | changes, ROW | {"batch_size": "2"}]
    table: str = pd.DataFrame(rows, columns=pd.Index(columns)).fillna("").to_csv(index=False)
    return table


def collect(content: str | bytes, folder: Path) -> pd.DataFrame:
    """Collect published results with this table among what users dropped in."""
    dropped = folder / "dropped.csv"
    dropped.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = folder / "published_table.csv"
    collect_published(ROOT / "resources/published.csv", [dropped], [], table)
    return read_table(table, PUBLISHED)


def test_a_whole_table_is_taken(tmp_path: Path) -> None:
    assert list(collect(text(), tmp_path)["batch_size"]) == [1, 2]


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_table_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    damage, said = WHOLE[name]
    with pytest.raises(UserError) as caught:
        collect(damage(text()), tmp_path)
    assert_one_line(str(caught.value), "dropped.csv", said)
    assert not (tmp_path / "published_table.csv").exists()
    tally.tried("tables of published results", "refused")


@pytest.mark.parametrize("column", WRONG_CELLS)
def test_a_wrong_cell_is_refused(column: str, tmp_path: Path, tally: Tally) -> None:
    for cell in WRONG_CELLS[column]:
        with pytest.raises(UserError) as caught:
            collect(text(**{column: cell}), tmp_path)
        assert_one_line(str(caught.value), "dropped.csv", column)
        tally.tried("tables of published results", "refused")


@pytest.mark.parametrize("column", RIGHT_CELLS)
def test_a_right_cell_is_taken_as_it_is(column: str, tmp_path: Path, tally: Tally) -> None:
    for cell in RIGHT_CELLS[column]:
        found = collect(text(**{column: cell}), tmp_path)[column].iloc[0]
        if cell == "":
            assert pd.isna(found)
        else:
            assert found == (cell if isinstance(found, str) else float(cell))
        tally.tried("tables of published results", "accepted")


DRIVER = """
import sys
from pathlib import Path
from collect_published import collect_published
from sdbench.runtime.job import logged
with logged(sys.argv[1]):
    collect_published(Path(sys.argv[2]), [Path(sys.argv[3])], [], Path(sys.argv[4]))
"""


def as_users_see_it(damage: Callable[[str], str | bytes], folder: Path) -> str:
    """Run a rule's script with a damaged table, and return its log."""
    content = damage(text())
    (folder / "dropped.csv").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    log = folder / "collect.log"
    files = [log, ROOT / "resources/published.csv", folder / "dropped.csv", folder / "table.csv"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *files],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert not (folder / "table.csv").exists()
    return log.read_text()


@pytest.mark.parametrize("name", ["binary", "a column missing", "a row twice", "columns reversed"])
def test_the_log_has_one_line(name: str, tmp_path: Path, tally: Tally) -> None:
    (line,) = as_users_see_it(WHOLE[name][0], tmp_path).splitlines()
    assert line.startswith("error: ")
    assert_one_line(line, "dropped.csv", WHOLE[name][1])
    tally.tried("tables of published results", "refused")
