"""Download the model that judges images at a pinned revision."""

from collections.abc import Mapping
from pathlib import Path

from sdbench.models.downloads import download_whole
from sdbench.runtime.failures import write_failure
from sdbench.runtime.job import run_script


def fetch_judge(
    repository: str, revision: str, tokenizer: Mapping[str, str] | None, folder: Path
) -> None:
    """Write a judge of a hub to `folder`, as `download_whole` says."""
    download_whole(repository, revision, folder, is_judge=True, tokenizer=tokenizer)


if __name__ == "__main__":
    run_script(snakemake, fetch_judge, write_failure)
