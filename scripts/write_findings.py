"""Set each claim of the post against the tables."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.analysis.findings.claims import CLAIMS
from sdbench.analysis.findings.rows import Tables, numbered
from sdbench.analysis.findings.text import findings_text
from sdbench.analysis.question import answer_question
from sdbench.records.image_archive import by_step, read_images
from sdbench.runtime.files import write_whole
from sdbench.runtime.job import run_script
from sdbench.tables.files import Row, read_rows, read_table, write_table
from sdbench.tables.schemas import ADVICE, FINDINGS, PUBLISHED, QUALITY, RACES, RESULTS

import pandas as pd
from pandera.pandas import DataFrameSchema


def write_findings(
    results: Path,
    quality: Path,
    races: Path,
    published: Path,
    advice: Path,
    references: Sequence[Path],
    models: Sequence[str],
    text: Path,
    table: Path,
) -> None:
    """Write the findings as Markdown and as a table.

    Args:
        results: table of schema RESULTS.
        quality: table of schema QUALITY.
        races: table of schema RACES.
        published: table of schema PUBLISHED; of it, what others measured with sdbench.
        advice: table of schema ADVICE.
        references: for each of `models`, the archive of the reference's images.
        models: names.
        text: Markdown, written.
        table: of schema FINDINGS, written.
    """

    def rows(path: Path, schema: DataFrameSchema) -> list[Row]:
        return numbered(read_table(path, schema), path.name)

    images = (by_step(read_images(path)) for path in references)
    tables = Tables(
        rows(results, RESULTS),
        rows(quality, QUALITY),
        rows(races, RACES),
        rows(published, PUBLISHED),
        dict(zip(models, images, strict=True)),
    )
    findings = [(claim, finding) for claim in CLAIMS for finding in claim.findings(tables)]
    said = [
        {"claim": claim.key, "statement": claim.statement, **vars(finding)}
        | (vars(finding.estimate) if finding.estimate else {})
        for claim, finding in findings
    ]
    write_table(pd.DataFrame(said).replace("", None), table, FINDINGS)
    write_whole(text, findings_text(findings, answer_question(read_rows(advice, ADVICE))).encode())


if __name__ == "__main__":
    run_script(snakemake, write_findings)
