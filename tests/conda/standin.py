"""A stand-in for conda, over py-rattler: the commands that Snakemake gives it, and no others.

Where channels and the cache of packages lie, it takes from the variables that conda knows:
CONDA_CHANNEL_ALIAS and CONDA_PKGS_DIRS.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from rattler import Channel, ChannelConfig, Gateway, Subdir, VirtualPackage, install, solve

VERSION = "24.7.1"
"""The oldest conda that Snakemake accepts."""

ACTIVATE = """\
# Sourced by Snakemake with an environment: what is called by name is found there first.
export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


def install_standin(folder: Path) -> Path:
    """Install the stand-in, as conda would lie there; return the folder of the command, for
    PATH."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    command = commands / "conda"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" "$@"\n')
    command.chmod(0o755)
    (commands / "activate").write_text(ACTIVATE)
    return commands


def main(root: str, arguments: list[str]) -> None:
    """Do what a command line of conda says.

    Raises:
        SystemExit: with one line, if it is none that Snakemake gives or if it fails.
    """
    parser = argparse.ArgumentParser("conda")
    parser.add_argument("--version", action="version", version=f"conda {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info").add_argument("--json", action="store_true", required=True)
    config = commands.add_parser("config")
    config.add_argument("--get", choices=["channel_priority"], required=True)
    config.add_argument("--json", action="store_true", required=True)
    create = commands.add_parser("env").add_subparsers(required=True).add_parser("create")
    create.add_argument("--quiet", action="store_true")
    create.add_argument("--no-default-packages", action="store_true")
    create.add_argument("--file", type=Path, required=True)
    create.add_argument("--prefix", type=Path, required=True)
    clean = commands.add_parser("clean")
    clean.add_argument("-y", action="store_true", required=True)
    clean.add_argument("--tarballs", action="store_true", required=True)
    given = parser.parse_args(arguments)
    if given.command == "info":
        print(json.dumps({"conda_prefix": root, "platform": str(Subdir.current())}))
    elif given.command == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif given.command == "env":  # `clean` has nothing to do: the cache is its owner's
        try:
            asyncio.run(create_environment(given.file, given.prefix))
        except Exception as error:
            shutil.rmtree(given.prefix, ignore_errors=True)
            sys.exit(f"conda: {given.file}: {type(error).__name__}: {error}")


async def create_environment(file: Path, prefix: Path) -> None:
    """Make the environment that a file describes: conda's packages first, then pip's."""
    environment = yaml.safe_load(file.read_text())
    alias = ChannelConfig(os.environ["CONDA_CHANNEL_ALIAS"].rstrip("/") + "/")
    cache = Path(os.environ["CONDA_PKGS_DIRS"])
    records = await solve(
        [Channel(name, alias) for name in environment["channels"]],
        [entry for entry in environment["dependencies"] if isinstance(entry, str)],
        gateway=Gateway(cache_dir=cache / "index"),
        virtual_packages=VirtualPackage.detect(),
    )
    await install(records, prefix, cache_dir=cache / "packages", show_progress=False)
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):  # by the environment's pip, as conda does
            listed = prefix / "requirements.txt"
            listed.write_text("\n".join(entry["pip"]))
            pip = [str(prefix / "bin" / "python"), "-m", "pip"]
            command = [*pip, "install", "-U", "-r", str(listed), "--exists-action=b"]
            subprocess.run(command, check=True)
            listed.unlink()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    # Once in some twenty times the threads of py-rattler 0.28.0 crash a Python that tidies up as it
    # ends. All is written by then.
    os._exit(0)
