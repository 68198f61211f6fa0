"""Download from a hub into a folder that is whole or not there."""

import os
from collections.abc import Mapping
from pathlib import Path

from sdbench.models.folders import written_whole


def download_whole(
    repository: str,
    revision: str,
    folder: Path,
    is_judge: bool = False,
    tokenizer: Mapping[str, str] | None = None,
) -> None:
    """Download a model in the diffusers layout; or, if it is a judge of images, a CLIP model, or
    ImageReward with its tokenizer, of a `hub` and `revision` of its own.

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
    from sdbench.models import hub

    layout = hub.IMAGE_REWARD if tokenizer else hub.CLIP if is_judge else hub.DIFFUSERS
    token = hub.find_token()
    with written_whole(folder, resume=True) as part:
        hub.fetch(repository, revision, token, part, layout)
        if tokenizer:
            place = part / "tokenizer"
            hub.fetch(tokenizer["hub"], tokenizer["revision"], token, place, hub.BERT)
    print(f"{folder}: {repository} at {revision}")
