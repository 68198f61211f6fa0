"""Download a model at a pinned revision."""

import os
from functools import partial
from pathlib import Path

from sdbench.runtime.failures import write_failure
from sdbench.runtime.job import run_script


def fetch_model(repository: str, revision: str, folder: Path) -> None:
    """Write a model of a Hugging Face hub in the diffusers layout to `folder`, whole or not at all.

    What lies there is replaced. An unfinished download is taken up where it ended. `repository` is
    its id, `owner/name`, and `revision` a commit of it, 40 digits.

    Raises:
        UserError: if the model cannot be had.
    """
    download_whole(repository, revision, folder)


def download_whole(repository: str, revision: str, folder: Path, is_judge: bool = False) -> None:
    """Do the work of `fetch_model`, or of `fetch_judge`."""
    # Set before the client is imported, which reads them then. Plain HTTP resumes what was cut and
    # is the same for every hub and mirror; bars would fill the log.
    os.environ.update(
        HF_HUB_DISABLE_XET="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_VERBOSITY="error",
    )
    from sdbench.models.folders import written_whole
    from sdbench.models.hub import fetch, find_token

    with written_whole(folder, resume=True) as part:
        fetch(repository, revision, find_token(), part, is_judge)
    print(f"{folder}: {repository} at {revision}")


if __name__ == "__main__":
    folder = Path(snakemake.output[0])
    run_script(snakemake, fetch_model, partial(write_failure, folder), folder=folder)
