"""Tables that users drop into resources/: taken and right, or refused in one line."""

from pathlib import Path

import pandas as pd
import pytest

from collect_published import collect_published
from sdbench.runtime.errors import UserError
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED
from tests.conftest import ROOT
from tests.fuzz.refusal import assert_one_line, refused_in_log, write
from tests.fuzz.tables import RIGHT_CELLS, WHOLE, WRONG_CELLS
from tests.reliability import Tally

PUBLISHED_TABLE = ROOT / "resources/published.csv"
ROW = {
    **{"campaign": "lab", "source": "measured with sdbench 0.1.0", "model": "sd-v1-4"},
    **{"device_name": "A GPU", "device_kind": "cuda", "backend": "pytorch", "options": "none"},
    **{"backend_version": "2.13.0", "precision": "fp16", "tf32_convolutions": "False"},
    **{"attention": "sdpa", "batch_size": "1", "width": "512", "height": "512", "steps": "50"},
    **{"scheduler": "pndm", "guidance": "7.5", "status": "ok", "n": "20", "latency_s": "2.5"},
    "basis": "measured",
}


def text(**changes: str) -> str:
    """Return a table of two rows, the first with other cells."""
    columns = list(PUBLISHED.columns)
    rows = [ROW | changes, ROW | {"batch_size": "2"}]
    table: str = pd.DataFrame(rows, columns=pd.Index(columns)).fillna("").to_csv(index=False)
    return table


def collect(content: str | bytes, folder: Path) -> pd.DataFrame:
    """Collect published results with this table among what users dropped in."""
    dropped = write(folder / "dropped.csv", content)
    table = folder / "published_table.csv"
    collect_published(PUBLISHED_TABLE, [dropped], [], table)
    return read_table(table, PUBLISHED)


def test_a_whole_table_is_taken(tmp_path: Path) -> None:
    assert list(collect(text(), tmp_path)["batch_size"]) == [1, 2]


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_table_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    damage, said = WHOLE[name]
    with pytest.raises(UserError) as caught:
        collect(damage(text()), tmp_path)
    assert_one_line(str(caught.value), "dropped.csv", said, "remove it from")
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


@pytest.mark.parametrize("name", ["binary", "a column missing", "a row twice", "columns reversed"])
def test_the_log_has_one_line(name: str, tmp_path: Path, tally: Tally) -> None:
    damage, said = WHOLE[name]
    write(tmp_path / "dropped.csv", damage(text()))
    files = f"Path({str(PUBLISHED_TABLE)!r}), [here / 'dropped.csv'], [], here / 'table.csv'"
    refused_in_log("collect_published", files, tmp_path, "dropped.csv", said)
    tally.tried("tables of published results", "refused")
