"""Compare the images of a variant with those of the reference."""

from pathlib import Path

from sdbench.runtime.files import write_beside_seal
from sdbench.tables.image_comparison import compare_series, save_triptychs

import pandas as pd


def compare_quality(reference: Path, other: Path, table: Path, images: Path) -> None:
    """Write a row for each mode and step, and every image next to its reference.

    Args:
        reference: images of the reference (.npz).
        other: images of the variant (.npz).
        table: CSV to write.
        images: folder to write the PNGs to.
    """
    compared = pd.DataFrame(compare_series(reference, other)).to_csv(index=False)
    write_beside_seal(table, compared.encode())
    images.mkdir(parents=True, exist_ok=True)
    save_triptychs(reference, other, images)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(
        snakemake,
        compare_quality,
        table=Path(snakemake.output.table),
        images=Path(snakemake.output.images),
    )
