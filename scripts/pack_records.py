"""Pack all that tables, figures and page are made of into one archive."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.records.archive import pack
from sdbench.runtime.job import run_script
from sdbench.runtime.progress import say


def pack_records(measured: Sequence[Path], config: Mapping[str, Any], archive: Path) -> None:
    """Write the archive of a run.

    Args:
        measured: indexes of records, peaks, operations, models, images.
        config: complete.
        archive: written, into the folder of results.
    """
    count = pack(measured, config, archive)
    size = archive.stat().st_size / 1e6
    say(f"{count} files, {size:.1f} MB in {archive}: `make page RECORDS=...` reads it anywhere")


if __name__ == "__main__":
    run_script(snakemake, pack_records)
