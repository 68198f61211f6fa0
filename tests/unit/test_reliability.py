"""The page of what is promised: its counts, and what stands around them."""

import re
from pathlib import Path

import pytest

from tests.reliability import MARK, PAGE, TABLES, Tally, main


def read_tables(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table of the page, by what its first column is."""
    tables: dict[str, list[list[str]]] = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            assert tuple(cells[0][1:]) == TABLES[cells[0][0]]
            tables[cells[0][0]] = cells[2:]
    return tables


def test_the_counts_on_the_page_are_those_of_a_run() -> None:
    counts = PAGE.read_text().partition(MARK)[2]
    assert re.search(r"^Last run: \d{4}-\d\d-\d\d\.$", counts, re.M), "run `make test-all`"
    for table, rows in read_tables(counts).items():
        *each, total = [[int(cell) for cell in row[1:]] for row in rows]
        assert total == [sum(column) for column in zip(*each, strict=True)]
        for (row, *_), numbers in zip(rows, each, strict=False):
            assert numbers[0] == sum(numbers[1:]) > 0, f"{table} {row}: some were not survived"


def test_what_tests_counted_is_what_the_page_shows(tmp_path: Path) -> None:
    one, two = Tally(), Tally()
    with one.fault("SIGKILL"):
        pass
    with pytest.raises(OSError), one.fault("SIGKILL"):
        raise OSError
    two.tried("configs", "refused")
    two.tried("configs", "accepted")
    with two.fault("disk full"):
        pass
    for name, tally in (("a.py::one[x]", one), ("b.py::two", two)):
        tally.write(name, tmp_path / "counts")
    page = tmp_path / "page.md"
    page.write_text(f"Promises.\n\n{MARK}\n\nold\n")
    main(page, tmp_path / "counts")
    before, _, after = page.read_text().partition(MARK)
    assert before == "Promises.\n\n"
    assert read_tables(after) == {
        "fault": [["SIGKILL", "2", "1"], ["disk full", "1", "1"], ["**all**", "3", "2"]],
        "input": [["configs", "2", "1", "1"], ["**all**", "2", "1", "1"]],
    }
