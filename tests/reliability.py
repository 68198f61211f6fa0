"""What the tests did to the workflow, counted, and the page that shows it: `make test-all`.

Each test leaves a file of its own in `COUNTS`, so that tests of several processes do not meet.
"""

import collections
import contextlib
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COUNTS = ROOT / ".cache" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"
MARK = "<!-- made from the last run by `make test-all`: do not edit below -->"

TABLES = {"fault": ("injected", "survived"), "input": ("tried", "accepted", "refused")}
"""The tables of the page: what a row is, and what is counted of it."""


class Tally:
    """The counts of one test: by table and row, how often each column's event came."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, dict[str, int]]] = {}

    def add(self, table: str, row: str, *columns: str) -> None:
        """Count one event of each of `columns` in a row of a table of `TABLES`."""
        counter = self.counts.setdefault(table, {}).setdefault(row, {})
        for column in columns:
            if column not in TABLES[table]:
                raise ValueError(f"{table}: no column {column!r}")
            counter[column] = counter.get(column, 0) + 1

    @contextlib.contextmanager
    def fault(self, row: str) -> Iterator[None]:
        """Count a fault as injected, and as survived if what is done within raises nothing."""
        self.add("fault", row, "injected")
        yield
        self.add("fault", row, "survived")

    def tried(self, row: str, outcome: str) -> None:
        """Count an input as tried, and what became of it: `accepted` or `refused`.

        An input that was neither refused cleanly nor right is counted by `add(..., "tried")` alone.
        """
        self.add("input", row, "tried", outcome)

    def write(self, test: str, folder: Path = COUNTS) -> None:
        """Leave the counts of the test of this name, in the place of those of its last run."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", test).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        today = datetime.date.today().isoformat()
        text = json.dumps({"test": test, "date": today, "counts": self.counts}, indent=1)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def render(runs: list[Mapping[str, Any]]) -> str:
    """Return Markdown, a table for each of `TABLES` that has a row, from what tests left."""
    if not runs:
        return "No run has been made.\n"
    parts = [f"Last run: {max(run['date'] for run in runs)}.\n"]
    for table, columns in TABLES.items():
        rows: dict[str, collections.Counter[str]] = {}
        for run in runs:
            for row, counts in run["counts"].get(table, {}).items():
                rows.setdefault(row, collections.Counter()).update(counts)
        if not rows:
            continue
        total = sum(rows.values(), collections.Counter[str]())
        parts.append(
            f"| {table} | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}\n"
            + "".join(_line(row, rows[row], columns) for row in sorted(rows))
            + _line("**all**", total, columns)
        )
    return "\n".join(parts)


def _line(row: str, counts: Mapping[str, int], columns: tuple[str, ...]) -> str:
    return f"| {row} | {' | '.join(str(counts.get(column, 0)) for column in columns)} |\n"


def main(page: Path, folder: Path) -> None:
    """Replace what stands below the mark in `page` by what the tests left in `folder`."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    written = page.read_text(encoding="utf-8").partition(MARK)[0]
    page.write_text(f"{written}{MARK}\n\n{render(runs)}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
