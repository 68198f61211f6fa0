"""Which campaigns of published results there are. Needs no pandas: the Snakefile asks."""

import csv
from pathlib import Path


def known_campaigns(published: Path) -> list[str]:
    """Return the names of the campaigns in a table of schema PUBLISHED, in its order."""
    with published.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["campaign"] for row in csv.DictReader(file)))
