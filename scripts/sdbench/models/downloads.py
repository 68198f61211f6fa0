"""Download from a hub into a folder that is whole or not there."""

import os
from pathlib import Path

from sdbench.models.folders import written_whole


def download_whole(repository: str, revision: str, folder: Path, is_judge: bool = False) -> None:
    """Download a model in the diffusers layout, or a CLIP model, if it is a judge of images.

    What lies in `folder` is replaced. An unfinished download is taken up where it ended.
    `repository` is its id, `owner/name`, and `revision` a commit of it, 40 digits.

    Raises:
        UserError: if it cannot be had.
    """
    # Set before the client is imported, which reads them then. Plain HTTP resumes what was cut and
    # is the same for every hub and mirror; bars would fill the log.
    os.environ.update(
        HF_HUB_DISABLE_XET="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_VERBOSITY="error",
    )
    from sdbench.models.hub import fetch, find_token

    with written_whole(folder, resume=True) as part:
        fetch(repository, revision, find_token(), part, is_judge)
    print(f"{folder}: {repository} at {revision}")
