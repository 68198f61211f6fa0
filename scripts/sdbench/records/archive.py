"""One archive of all that tables, figures and page are made of, to be taken to another machine.

python -m sdbench.records.archive FILE    # unpack it, and print the config to run
"""

import gzip
import io
import json
import re
import sys
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sdbench
from sdbench.records.record import INDEX, RACE_VERSION, REFERENCE, SCHEMA_VERSION, read_indexed
from sdbench.runtime.errors import UserError, plain, refuse
from sdbench.runtime.files import parse_json, write_json, write_whole

MANIFEST = "archive.json"
CONFIG = "config.json"
FOLDERS = (
    "records",
    "races",
    "quality",
    "models",
    "operations",
    "peak_throughput",
    "onnx",
    "onnx-int8",
    "openvino",
    "openvino-int8",
)
MEMBER = re.compile(
    rf"{MANIFEST}|{CONFIG}|({'|'.join(FOLDERS)})(/[A-Za-z0-9+][A-Za-z0-9_.+-]{{0,127}}){{1,6}}"
    r"\.(json|png|npz|npz\.sha256)",
    re.ASCII,
)
"""What may be in an archive: letters, digits and no path that leads out of its folder."""
MOST_MEMBERS = 200_000
MOST_BYTES = 8_000_000_000
MOST_BYTES_OF_ONE = 1_000_000_000

VERSIONS = {"record": SCHEMA_VERSION, "race": RACE_VERSION}


def pack(files: Iterable[Path], config: Mapping[str, Any], archive: Path) -> int:
    """Write an archive of `files`, with all records and images that the indexes among them name.

    The same contents make the same bytes. Images of seeded weights mean nothing and stay behind.

    Args:
        files: of the folder of results.
        config: complete.
        archive: written into that folder, whole or not at all.

    Returns:
        How many files it has.

    Raises:
        UserError: if a record is missing, damaged or changed; it names the file.
    """
    found = set(files)
    for index in [file for file in found if file.name == INDEX]:
        found |= {index.with_name(REFERENCE)} & set(index.parent.iterdir())
        for path, record in read_indexed(index):
            # A race has none.
            image = record["weights"] != "seeded" and record.get("image")
            found |= {path, path.with_name(image["file"])} if image else {path}
    found |= {seal for file in found if (seal := file.with_name(f"{file.name}.sha256")).exists()}
    contents = {path.relative_to(archive.parent).as_posix(): path for path in found}
    manifest = {"sdbench": sdbench.__version__, "versions": VERSIONS}
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, MANIFEST, _as_json(manifest))
        _add(tar, CONFIG, _as_json(config))
        for name in sorted(contents):
            _add(tar, name, contents[name].read_bytes())
    write_whole(archive, buffer.getvalue())
    return len(contents)


def _as_json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive of anyone into `folder`, as results that are measured.

    Only regular files with names of ours are written, so nothing outside the folder, no link and
    no program: stricter than tarfile's own filter, which older releases of Python 3.11 lack.

    Returns:
        The config to run the workflow with: that of the archive, with `records_only`, and `folder`
        as its folder of results.

    Raises:
        UserError: if it is not such an archive, is too large, or of another version.
    """
    try:
        with tarfile.open(archive, "r|gz") as tar:
            config = _unpack(archive, tar, folder)
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror or plain(error)}: {_REMEDY}") from None
    except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
        reason = f"not an archive of records ({plain(error)})"
        raise UserError(f"{archive}: {reason}: {_REMEDY}") from None
    config["records_only"] = True
    config["pathvars"] = {"results": folder.as_posix()}
    write_json(folder / MANIFEST, {"archive": archive.name})
    (folder / CONFIG).write_bytes(_as_json(config))
    return folder / CONFIG


_REMEDY = "name an archive that `make records` left"


def _unpack(archive: Path, tar: tarfile.TarFile, folder: Path) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    total = 0
    for number, member in enumerate(tar):
        total += member.size
        if not member.isreg() or not MEMBER.fullmatch(member.name):
            raise UserError(
                f"{archive}: found {plain(member.name)}; allowed are files of records: {_REMEDY}"
            )
        if number >= MOST_MEMBERS or total > MOST_BYTES or member.size > MOST_BYTES_OF_ONE:
            raise UserError(
                f"{archive}: more than {MOST_MEMBERS:,} files or {MOST_BYTES / 1e9:.0f} GB: "
                f"{_REMEDY}"
            )
        opened = tar.extractfile(member)
        assert opened is not None  # it is a regular file
        content = opened.read()
        if member.name in (MANIFEST, CONFIG):
            parsed = parse_json(content.decode())
            if not isinstance(parsed, dict):
                raise ValueError(f"{member.name} is not a mapping")
            found[member.name] = parsed
        else:
            # First of all, so that nothing is written of another version, nor of no archive at all.
            maker = found.get(MANIFEST, {})
            if maker.get("versions") != VERSIONS:
                raise UserError(
                    f"{archive}: found records of versions {plain(maker.get('versions'))}, of "
                    f"sdbench {plain(maker.get('sdbench'))}; allowed are {VERSIONS}: open it with "
                    "the checkout that made it"
                )
            write_whole(folder / member.name, content)
    if CONFIG not in found:
        raise ValueError(f"it has no {CONFIG}")
    return found[CONFIG]


if __name__ == "__main__":
    try:
        if not sys.argv[1]:
            raise UserError(f"RECORDS: found nothing; allowed is a file: {_REMEDY}")
        source = Path(sys.argv[1])
        stem = re.sub(r"[^A-Za-z0-9_-]", "-", source.name.removesuffix(".tar.gz"))
        print(unpack(source, Path("results", f"from-{stem}")))
    except UserError as fault:
        refuse(fault)
