"""Set each claim of the post against the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.analysis.findings.claims import CLAIMS
from sdbench.analysis.findings.estimates import Row
from sdbench.analysis.findings.rows import Tables, numbered
from sdbench.analysis.findings.text import findings_text
from sdbench.records.image_archive import MODES, read_images
from sdbench.runtime.files import write_whole
from sdbench.tables.files import read_table, write_table
from sdbench.tables.schemas import FINDINGS, PUBLISHED, QUALITY, RACES, RESULTS

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandera.pandas import DataFrameSchema


def write_findings(
    results: Path,
    quality: Path,
    races: Path,
    published: Path,
    references: Mapping[str, Path],
    text: Path,
    table: Path,
) -> None:
    """Write the findings as Markdown and as a table.

    Args:
        results: table of schema RESULTS.
        quality: table of schema QUALITY.
        races: table of schema RACES.
        published: table of schema PUBLISHED; of it, what others measured with sdbench.
        references: by model, the archive of the reference's images.
        text: Markdown, written.
        table: of schema FINDINGS, written.
    """
    tables = Tables(
        results=_rows(results, RESULTS),
        quality=_rows(quality, QUALITY),
        races=_rows(races, RACES),
        published=_rows(published, PUBLISHED),
        images={model: _images(path) for model, path in references.items()},
    )
    findings = [(claim, finding) for claim in CLAIMS for finding in claim.findings(tables)]
    rows = [
        {
            "claim": claim.key,
            "statement": claim.statement,
            "subject": finding.subject,
            **(vars(finding.estimate) if finding.estimate else {}),
            "unit": finding.unit,
            "verdict": finding.verdict,
            "reason": finding.reason,
            "figure": finding.figure,
            "rows": finding.rows,
        }
        for claim, finding in findings
    ]
    write_table(pd.DataFrame(rows).replace("", None), table, FINDINGS)
    write_whole(text, findings_text(findings).encode())


def _rows(path: Path, schema: DataFrameSchema) -> list[Row]:
    return numbered(read_table(path, schema), path.name)


def _images(path: Path) -> dict[str, dict[int, NDArray[np.uint8]]]:
    archive = read_images(path)
    return {
        mode: dict(zip(archive[f"{mode}_steps"].tolist(), archive[mode], strict=True))
        for mode in MODES
    }


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        references: Sequence[str] = snakemake.input.references
        write_findings(
            results=Path(snakemake.input.results),
            quality=Path(snakemake.input.quality),
            races=Path(snakemake.input.races),
            published=Path(snakemake.input.published),
            references={
                model: Path(path)
                for model, path in zip(snakemake.params.models, references, strict=True)
            },
            text=Path(snakemake.output.text),
            table=Path(snakemake.output.table),
        )
