"""Download a model from a Hugging Face hub: only the files that are needed, each one verified."""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from sdbench.models.families import INDEX
from sdbench.models.reading import check_index, check_settings, choose_files
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import sha256
from sdbench.runtime.progress import say

import httpx2
from huggingface_hub import HfApi, constants, errors, get_token, hf_hub_download
from huggingface_hub.hf_api import RepoFile

ATTEMPTS = 3
"""How often a file is begun: the client resumes after a cut by itself, but not after a reset."""


class Token(NamedTuple):
    """A secret, and the name of where it was found, which may be shown."""

    secret: str | None
    name: str


def find_token() -> Token:
    """Return the token from ACCESS_TOKEN, HF_TOKEN or huggingface's own login, in this order."""
    for name in ("ACCESS_TOKEN", "HF_TOKEN"):
        if secret := os.environ.get(name, "").strip():
            return Token(secret, name)
    return Token(get_token(), "the login of huggingface")


class Layout(NamedTuple):
    """What a repository is called, which files it must have, and which are read too."""

    name: str
    must: Collection[str]
    may: Collection[str] = ()


DIFFUSERS = Layout("model in the diffusers layout", (INDEX,))
"""Its index says what else is read."""
CLIP = Layout(
    "CLIP model with safetensors",
    ("config.json", "model.safetensors"),
    ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
)
IMAGE_REWARD = Layout("weights of ImageReward", ("ImageReward.pt",))
BERT = Layout("tokenizer of BERT", ("vocab.txt",))


def fetch(
    repository: str, revision: str, token: Token, folder: Path, layout: Layout = DIFFUSERS
) -> None:
    """Download what is read of a repository of that layout.

    `snapshot_download` is not used: where it cannot reach the hub it returns what an earlier,
    unfinished call has left, and it does not compare what it got with its hash.

    Files in `folder` that are right are kept, all others are removed.

    Raises:
        UserError: if the hub cannot be reached, does not give the model, or gives another, or the
            repository has no weights in safetensors.
    """
    where = f"{repository} at {revision[:12]}"
    with explained(repository, revision, token):
        tree = HfApi(token=token.secret or False).list_repo_tree(
            repository, recursive=True, revision=revision
        )
        files = {file.path: file for file in tree if isinstance(file, RepoFile)}
    if missing := [name for name in layout.must if name not in files]:
        raise UserError(
            f"{where}: the file {missing[0]} is missing: use a complete copy of the {layout.name}"
        )

    def get(path: str) -> None:
        if is_right(folder / path, files[path]):
            return
        (folder / path).unlink(missing_ok=True)
        say(f"downloading {path}, {files[path].size / 1e6:,.1f} MB")
        with explained(repository, revision, token):
            download(repository, revision, token, path, folder)
        if not is_right(folder / path, files[path]):
            (folder / path).unlink()
            raise UserError(
                f"{where}: {path} has another hash than on the Hub, so the download is damaged: "
                "run again; if that does not help, use another mirror"
            )

    def read(path: str) -> bytes:
        get(path)
        return (folder / path).read_bytes()

    wanted = {name for name in (*layout.must, *layout.may) if name in files}
    if layout is DIFFUSERS:
        # The index first: it says what else is wanted, and whether that is worth its gigabytes.
        get(INDEX)
        family = check_index(folder)
        wanted = {*choose_files(files, family, where, read)[0]}
    weights = [path for path in wanted if path.endswith((".safetensors", ".pt"))]
    for path in sorted(wanted.difference(weights)):
        get(path)
    if layout is DIFFUSERS:
        check_settings(folder, family)
    for path in sorted(weights, key=lambda path: files[path].size):
        get(path)
    _keep(wanted, folder)


def _keep(wanted: Collection[str], folder: Path) -> None:
    """Remove all files of a folder but these."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in wanted:
            file.unlink()


def download(repository: str, revision: str, token: Token, path: str, folder: Path) -> None:
    """Download one file to its place in `folder`, resuming when the connection is cut."""
    for attempt in range(ATTEMPTS):
        try:
            hf_hub_download(
                repository, path, revision=revision, token=token.secret or False, local_dir=folder
            )
            return
        except httpx2.ReadError:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(2**attempt)


def is_right(path: Path, file: RepoFile) -> bool:
    """Return whether the file at `path` is there and has the hash that the hub lists.

    Large files are listed with the SHA-256 of their content, small ones with their git blob id.
    """
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return sha256(path) == file.lfs.sha256
    content_and_header = b"blob %d\0" % file.size + path.read_bytes()
    return hashlib.sha1(content_and_header, usedforsecurity=False).hexdigest() == file.blob_id


@contextlib.contextmanager
def explained(repository: str, revision: str, token: Token) -> Iterator[None]:
    """Raise a `UserError` for what the hub's client raises, where there is something to be done."""
    try:
        yield
    except (httpx2.HTTPError, OSError) as error:
        # Where a file is not at hand, the client wraps what has kept it from getting it.
        wrapped = isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__
        reason = _explain(wrapped or error, repository, revision, token)
        if reason is None:
            raise
        raise UserError(f"{repository}: {reason}") from None


def _explain(error: BaseException, repository: str, revision: str, token: Token) -> str | None:
    """Say in one line what went wrong and what to do about it; None if there is nothing to do.

    Nothing of the client's own message is repeated: it can hold addresses with a signature.
    """
    hub = constants.ENDPOINT
    page = f"{hub}/{repository}"
    accept = f"accept the licence of {repository} on its page, {page}, and"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    refused = isinstance(error, errors.GatedRepoError) or status == 403
    what = f"answered {status}" if status else f"was not reached ({type(error).__name__})"
    # The first that applies.
    reasons = {
        f"a licence must be accepted, but no token is set: {accept} set ACCESS_TOKEN": refused
        and token.secret is None,
        f"the token in {token.name} has no access: {accept} give the token access to gated "
        "repositories": refused,
        f"{hub} has no such repository, or it is private: correct `hub`, or set ACCESS_TOKEN to a "
        "token that may read it": isinstance(error, errors.RepositoryNotFoundError),
        f"no revision {revision}: set `revision` to the 40 digits of a commit from "
        f"{page}/commits/main": isinstance(error, errors.RevisionNotFoundError),
        f"{hub} rejects the token in {token.name}: create a new one on {hub}/settings/tokens and "
        "set ACCESS_TOKEN to it": status == 401,
        "HF_HUB_OFFLINE forbids the download: unset it, or download the model on a machine with a "
        "network first": isinstance(error, errors.OfflineModeIsEnabled),
        "the disk is full: free disk space and run again; finished files are kept": (
            isinstance(error, OSError) and error.errno == errno.ENOSPC
        ),
        f"{hub} {what}: check the network and HF_ENDPOINT, and run again; finished files are "
        "kept": status is not None or isinstance(error, httpx2.HTTPError),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)
