"""What is known of exported networks: `<folder>.json`, next to the folder with one for each."""

from pathlib import Path
from typing import Any

from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json, sha256_of_all


def describe_files(network: Path) -> dict[str, Any]:
    """Return the identity of an exported network's files: `sha256` of all, and `file_bytes`."""
    files = [file for file in network.iterdir() if file.is_file()]
    return {
        "sha256": sha256_of_all(files),
        "file_bytes": sum(file.stat().st_size for file in files),
    }


def identify(record: Path) -> str:
    """Return the identity of exported networks: how long the export took is no part of it."""
    networks = read_json(record).values()
    return digest([{k: v for k, v in network.items() if k != "export_s"} for network in networks])


def exported_beside(record: Path) -> Path:
    """Return the folder that a record is of; `UserError` if its files are not those exported."""
    folder = record.with_suffix("")
    for name, network in read_json(record).items():
        if network["status"] != "ok":
            continue
        files = folder / name
        if not files.is_dir() or describe_files(files)["sha256"] != network["sha256"]:
            raise UserError(
                f"{files}: damaged, or changed after the export: delete {record} and run again"
            )
    return folder
