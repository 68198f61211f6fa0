"""Compare the pictures of a variant with those of the reference."""

from pathlib import Path

from sdbench.runtime.files import write_beside_seal
from sdbench.tables.image_comparison import compare_series, save_triptychs

import pandas as pd


def compare_quality(reference: Path, other: Path, table: Path, pictures: Path) -> None:
    """Write a row for each mode and step, and every picture beside its reference.

    Args:
        reference: pictures of the reference (.npz).
        other: pictures of the variant (.npz).
        table: CSV to write.
        pictures: folder to write the PNGs to.
    """
    compared = pd.DataFrame(compare_series(reference, other)).to_csv(index=False)
    write_beside_seal(table, compared.encode())
    pictures.mkdir(parents=True, exist_ok=True)
    save_triptychs(reference, other, pictures)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(
        snakemake,
        compare_quality,
        table=Path(snakemake.output.table),
        pictures=Path(snakemake.output.pictures),
    )
