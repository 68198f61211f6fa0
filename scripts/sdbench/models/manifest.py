"""Say what a model is: what its folder holds, and the hashes of its files. Needs no torch."""

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.reading import read_folder, read_object
from sdbench.runtime.errors import UserError
from sdbench.runtime.failures import KEY, failure_written
from sdbench.runtime.files import read_json, sha256


def describe(folder: Path, source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the manifest of a model, by its folder and its entry `source` in the config.

    Returns:
        `name`; `source`; `weights`, which are `trained` or `seeded`; `parameters` of each network;
        `components`, what `describe_component` says of each; `found`, what else is known of its
        folder (`Contents`): `variants`, `stored` and `schedule`; `files`, the SHA-256 of each by
        its path in `folder`; and `digest`, which any change of these files changes.

    Raises:
        UserError: as `read_folder` does, or if another file of it is not whole.
    """
    contents = read_folder(folder)
    for path in map(folder.joinpath, fnmatch.filter(contents.files, "*.json")):
        read_object(path, object)
    files = {path: sha256(folder / path) for path in contents.files}
    found = {name: getattr(contents, name) for name in ("variants", "stored", "schedule")}
    return describe_unmade(contents.components, source, name) | {
        "found": found,
        "files": files,
        "digest": digest_files(files),
    }


def describe_unmade(
    components: Mapping[str, Mapping[str, Any]], source: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return what `describe` would of a model that was neither built nor downloaded.

    It has the `components` that such a folder would have, and no files.
    """
    known = {
        "name": name,
        "source": dict(source),
        "weights": "seeded" if "seeded" in source else "trained",
        "parameters": {part: component["parameters"] for part, component in components.items()},
        "components": dict(components),
        "found": {},
        "files": {},
    }
    text = json.dumps(known, sort_keys=True)
    return known | {"digest": hashlib.sha256(text.encode()).hexdigest()}


def check_model(folder: Path, manifest: Path, pattern: str = "*") -> None:
    """Check that the files of a model that match `pattern` are those that its manifest describes.

    Raises:
        UserError: if one was damaged or changed since; it names the file. If the model could not be
            made, it says why.
    """
    described = read_json(manifest)
    if KEY in described:
        raise UserError(described[KEY])
    for file in fnmatch.filter(described["files"], pattern):
        path = folder / file
        if not path.is_file() or sha256(path) != described["files"][file]:
            remedy = f"delete {folder}"
            if "local" in described["source"]:
                remedy = f"download the model again, or delete {manifest} if the change is intended"
            raise UserError(
                f"{path}: damaged, or changed after {manifest} was written: {remedy}, and run again"
            )


def why_unusable(folder: Path | None, manifest: Path) -> str | None:
    """Return why a model cannot be used (`check_model`); None where it can, or was not made."""
    reasons: list[str] = []
    if folder is not None:
        with failure_written(reasons.append):
            check_model(folder, manifest)
    return reasons[0] if reasons else None


def digest_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over relative paths and hashes, as `sha256sum` would list them."""
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
