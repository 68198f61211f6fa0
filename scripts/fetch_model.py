"""Download a model at a pinned revision."""

from pathlib import Path

from sdbench.models.downloads import download_whole
from sdbench.runtime.failures import write_failure
from sdbench.runtime.job import run_script


def fetch_model(repository: str, revision: str, folder: Path) -> None:
    """Write a model of a hub to `folder`, as `download_whole` says."""
    download_whole(repository, revision, folder)


if __name__ == "__main__":
    run_script(snakemake, fetch_model, write_failure)
