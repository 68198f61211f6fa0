"""Compare the images of a variant with those of the reference."""

from pathlib import Path

from sdbench.runtime.files import write_beside_seal
from sdbench.runtime.job import run_script
from sdbench.tables.image_comparison import compare_series, save_triptychs

import pandas as pd


def compare_quality(reference: Path, other: Path, table: Path, images: Path) -> None:
    """Compare two archives of images (.npz): write a row for each mode and step to the CSV `table`,
    and every image next to its reference to the folder `images`."""
    compared = pd.DataFrame(compare_series(reference, other)).to_csv(index=False)
    write_beside_seal(table, compared.encode())
    images.mkdir(parents=True, exist_ok=True)
    save_triptychs(reference, other, images)


if __name__ == "__main__":
    run_script(snakemake, compare_quality)
