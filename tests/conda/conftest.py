"""A conda, a channel for it, and Snakemake installed alone: what the proof stands on."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conda.channel import make_channel, pip, wanted
from tests.conda.standin import install_standin
from tests.conftest import ROOT
from tests.environments import ENVS

CACHE = ROOT / ".cache" / "conda"
TIMEOUT_S = 1200


class Bench(NamedTuple):
    """Where Snakemake stands alone, with a conda in front that knows the channel only."""

    folder: Path
    variables: dict[str, str]

    def snakemake(self, clone: Path, *args: str) -> str:
        """Run it in a clone with --use-conda; return all that it printed, its status last."""
        run = subprocess.run(
            # The command `timeout` ends the jobs too.
            ["timeout", str(TIMEOUT_S), "snakemake", "--cores", "1", "--use-conda", *args],
            cwd=clone,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return f"{run.stdout}\nended with {run.returncode}"


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    # Gigabytes, so not in pytest's own folders, which outlive three runs.
    with tempfile.TemporaryDirectory(prefix="sdbench-conda-") as name:
        folder = Path(name)
        try:
            channel = cached_channel()
            alone = install_snakemake_alone(folder / "alone")
        except subprocess.CalledProcessError as error:
            _give_up(error.stderr)
        real = shutil.which("conda")
        conda = Path(real).parent if real else install_standin(folder / "conda")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        yield Bench(
            folder,
            {
                **kept,
                "PATH": os.pathsep.join([str(alone), str(conda), os.defpath]),
                "CONDA_CHANNEL_ALIAS": channel.parent.as_uri(),
                "CONDA_PKGS_DIRS": str(folder / "packages"),
                # What is imported is compiled then; the rest of a gigabyte need not be.
                "PIP_NO_COMPILE": "1",
            },
        )


def _give_up(reason: str) -> None:
    """End the proof where wheels cannot be had: skipped at home, failed in CI."""
    say = pytest.fail if os.environ.get("CI") else pytest.skip
    say(f"run this where pip finds the wheels of envs/*.yaml; it said: {reason}")


def cached_channel() -> Path:
    """Return the channel for the environment files as they are; it is made once for each state."""
    requirements = wanted(ENVS)
    input_digests = [
        *requirements,
        (ROOT / "constraints.txt").read_text(),
        Path(make_channel.__code__.co_filename).read_text(),
        sys.version,
        sys.base_prefix,
        platform.machine(),
    ]
    state = hashlib.sha256("\n".join(input_digests).encode()).hexdigest()[:16]
    channel = CACHE / state / "conda-forge"
    if not channel.exists():
        shutil.rmtree(CACHE, ignore_errors=True)  # the states before
        CACHE.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            made = Path(name) / state / channel.name
            make_channel(made, requirements)
            made.parent.rename(channel.parent)
    return channel


def install_snakemake_alone(folder: Path) -> Path:
    """Install Snakemake, and what it cannot be without, where nothing else is, not even pip; return
    the folder of its command."""
    venv.EnvBuilder().create(folder)
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    (version,) = [line for line in requirements if line.startswith("snakemake==")]
    constraints = f"--constraint={ROOT / 'constraints.txt'}"
    python = str(folder / "bin" / "python")
    pip("--python", python, "install", "--no-compile", constraints, version)
    return folder / "bin"
