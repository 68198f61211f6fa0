"""The folder of the workflow, also where Snakemake reads it from a repository: `github(...)`,
`gitlab(...)`, `gitfile(...)`, or `-s git+file://...`.

Snakemake then caches single files, and neither a package nor a folder of models is one. Nothing of
this project can be imported here, since this finds where it is.
"""

import io
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def folder_of(source: Any, cache: Path) -> Path:
    """Return the folder in which one of Snakemake's source files lies.

    What is in a repository is checked out once for each commit, into Snakemake's cache.
    """
    from snakemake.sourcecache import HostingProviderFile, LocalGitFile, LocalSourceFile

    if isinstance(source, LocalSourceFile):
        return Path(source.path).absolute().parent
    if isinstance(source, HostingProviderFile):
        repository = source.hosted_repo.repo
    elif isinstance(source, LocalGitFile):
        from git import Repo

        repository = Repo(source.repo_path)
    else:
        sys.exit(
            f"error: {source}: a single file was found; this workflow is a repository: use "
            'github("owner/name", path="Snakefile", tag=...), or clone it and give the path'
        )
    commit = repository.commit(source.ref)
    folder = cache / "sdbench" / str(commit)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        archive = io.BytesIO()
        repository.archive(archive, str(commit))
        archive.seek(0)
        with TemporaryDirectory(dir=folder.parent) as made, tarfile.open(fileobj=archive) as files:
            files.extractall(made, filter="data")
            try:
                Path(made).rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster
                    raise
    return folder.joinpath(source.path).parent
