"""Tables that users drop into resources/: taken and right, or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from collect_published import collect_published
from sdbench.runtime.errors import UserError
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED
from tests.conftest import ROOT
from tests.fuzz.refusal import assert_one_line, refused_in_log, write
from tests.reliability import Tally

PUBLISHED_TABLE = ROOT / "resources/published.csv"
ROW = {
    **{"campaign": "lab", "source": "measured with sdbench 0.1.0", "model": "sd-v1-4"},
    **{"device_name": "A GPU", "device_kind": "cuda", "backend": "pytorch", "options": "none"},
    **{"backend_version": "2.13.0", "precision": "fp16", "tf32_convolutions": "False"},
    **{"attention": "sdpa", "batch_size": "1", "width": "512", "height": "512", "steps": "50"},
    **{"scheduler": "pndm", "guidance": "7.5", "status": "ok", "n": "20", "latency_s": "2.5"},
    **{"images_per_minute": "24", "basis": "measured"},
}


WRONG_CELLS = {
    "batch_size": ["", "0", "-1", "1.5", "many", "1e30", "9" * 30, "nan", "inf", "1,0"],
    "width": ["0", "7", "x", "1e400"],
    "steps": ["0", "-5", "true", "2026-01-01"],
    "guidance": ["", "-1", "high", "[]"],
    "latency_s": ["", "-0.1", "fast", "-inf", "inf", "1e400", "nan", "1 s", "0,5"],
    "images_per_minute": ["", "-1", "x"],
    "memory_bytes": ["-1", "8 GB"],
    "ssim": ["-2", "x"],
    "n": ["-1", "x", "1.5"],
    "status": ["", "fine", "OK", "ok "],
    "device_kind": ["", "gpu", "CPU"],
    "tf32_convolutions": ["", "maybe", "2"],
    "contended": ["maybe"],
    "passes_gate": ["perhaps"],
    "campaign": ["", "=1+1", "-x", "a\u202eb", "a\x07b"],
    "source": ["=HYPERLINK(1)", "+1", "-1", "@x", "=cmd|' /C calc'!A0"],
    "device_name": ["=1", "two\nlines"],
    "model": [""],
    "precision": [""],
    "scheduler": [""],
}
"""What stands in a cell of a column in turn: each is refused, and the column named."""

RIGHT_CELLS = {
    "campaign": ["../../etc", "<script>alert(1)</script>", "a;b", "NA", "null", "é日本"],
    "device_name": ["</svg><script>alert(1)</script>", "$x^2$ & co", '"quoted, twice"', "x" * 500],
    "source": ["`touch canary`", "$(touch canary)", "a=b", "1-1"],
    "latency_s": ["0", "1e-300", "1e300", "1"],
    "batch_size": ["1", "4096", "1.0"],
    "memory_counter": ["", "<b>", "a counter"],
}
"""What stands in a cell and is taken as it is."""


def _lines(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(text.splitlines()))


def _columns(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        rows = [line.split(",") for line in text.splitlines()]
        table = pd.DataFrame(rows[1:], columns=pd.Index(rows[0]))
        csv: str = change(table).to_csv(index=False)
        return csv

    return changed


WHOLE: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "nothing": (lambda text: "", "No columns"),
    "only line ends": (lambda text: "\n\n\n", "No columns"),
    "text": (lambda text: "This is no table.\n", "columns missing"),
    "JSON": (lambda text: '{"a": [1, 2]}', "columns missing"),
    "HTML": (lambda text: "<html><body>404</body></html>", "columns missing"),
    "binary": (lambda text: bytes(range(256)), ""),
    "zeros": (lambda text: bytes(1000), ""),
    "UTF-16": (lambda text: text.encode("utf-16"), "utf-8"),
    "an archive": (lambda text: b"PK\x03\x04" + bytes(100), ""),
    "cut": (lambda text: text[: len(text) // 2].rpartition(",")[0] + ',"open', ""),
    "no header": (_lines(lambda lines: lines[1:]), "columns missing"),
    "two headers": (_lines(lambda lines: [lines[0], *lines]), ""),
    "semicolons": (lambda text: text.replace(",", ";"), "found semicolons between columns"),
    "tabs": (lambda text: text.replace(",", "\t"), "found tabs between columns"),
    "too many cells": (_lines(lambda lines: [lines[0], lines[1] + ",1,2,3"]), ""),
    "an open quote": (_lines(lambda lines: [lines[0], '"' + lines[1]]), ""),
    "a column missing": (_columns(lambda t: t.drop(columns="steps")), "steps"),
    "a column more": (_columns(lambda t: t.assign(colour="red")), "colour"),
    "a column twice": (_columns(lambda t: pd.concat([t, t[["steps"]]], axis=1)), "steps"),
    "columns reversed": (_columns(lambda t: t[t.columns[::-1]]), "order"),
    "a column unprintable": (_columns(lambda t: t.rename(columns={"n": "n\u202e\x07"})), "n"),
    "a row twice": (_lines(lambda lines: [lines[0], lines[1], lines[1]]), "a row twice"),
}
"""How a whole table is damaged, and what the line says."""


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


def test_the_log_has_one_line(tmp_path: Path, tally: Tally) -> None:
    damage, said = WHOLE["a column missing"]
    write(tmp_path / "dropped.csv", damage(text()))
    files = f"Path({str(PUBLISHED_TABLE)!r}), [here / 'dropped.csv'], [], here / 'table.csv'"
    refused_in_log("collect_published", files, tmp_path, "dropped.csv", said)
    tally.tried("tables of published results", "refused")
