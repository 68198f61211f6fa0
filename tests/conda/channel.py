"""A conda channel on this disk, made of this machine's Python and wheels: conda's side of envs/.

It stands where conda-forge does, so that the environment files stay as users have them. It holds
one version of each package, the one that the files name or that pip chose with it. A package is
the importable half of a wheel: the rules call no command but `python`.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.environments import CONDA_NAMES, dependencies

SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[platform.machine()]
"""What conda calls this kind of machine."""

Entry = tuple[str, dict[str, object]]
"""The name of a package's file, and what the channel's index says of it."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{PYTHON}/site-packages"


def wanted(env_files: Iterable[Path]) -> list[str]:
    """Return what environment files ask of conda, as requirements of pip."""
    names = {conda: pypi for pypi, conda in CONDA_NAMES.items()}
    named = [item for file in env_files for item in dependencies(file).conda.items()]
    return sorted(
        {
            f"{names.get(name, name)}=={version}" if version else name
            for name, version in named
            if name != "python"
        }
    )


def make_channel(channel: Path, requirements: Sequence[str]) -> None:
    """Make a channel, in a folder of its name: Python, the wheels of `requirements` as pip reads
    them, and those that they need.

    Raises:
        subprocess.CalledProcessError: if a wheel cannot be had; its `stderr` says why.
    """
    packages = channel / SUBDIR
    packages.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = _pack_python(folder / "python", packages)
        pip("download", "--only-binary=:all:", f"--constraint={ROOT / 'constraints.txt'}",
            f"--dest={folder / 'wheels'}", *requirements)  # fmt: skip
        with ThreadPoolExecutor() as pool:
            wheels = (folder / "wheels").iterdir()
            packed = pool.map(lambda whl: _pack_wheel(whl, folder / whl.stem, packages), wheels)
            index = dict([python, *packed])
    for subdir, entries in ((SUBDIR, index), ("noarch", {})):
        (channel / subdir).mkdir(exist_ok=True)
        repodata = {"info": {"subdir": subdir}, "packages": entries}
        (channel / subdir / "repodata.json").write_text(json.dumps(repodata))


def pip(*args: str) -> None:
    """Run this Python's pip, its output kept for an error."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *args]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _pack_python(content: Path, packages: Path) -> Entry:
    """Make this machine's Python a package: what a virtual environment has, which finds its home.

    A whole Python could not be moved without being built for it, as conda-forge's is.
    """
    venv.EnvBuilder(symlinks=False).create(content)
    for entry in (*content.glob("bin/*ctivate*"), content / "lib64"):
        entry.unlink()
    (content / SITE / "README.txt").write_text("packages\n")
    return _write_package(content, "python", platform.python_version(), [], packages)


def _pack_wheel(wheel: Path, content: Path, packages: Path) -> Entry:
    site = content / SITE
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # What a wheel has for elsewhere: manual pages. Were it code, the rules would miss it.
    for data in site.glob("*.data"):
        shutil.rmtree(data)
    (info,) = site.glob("*.dist-info")
    described = Distribution.at(info)
    needs = [Requirement(line) for line in described.requires or ()]
    names = [need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    depends = [f"python {PYTHON}.*", *map(_conda_name, names)]
    name = _conda_name(described.metadata["Name"])
    return _write_package(content, name, described.version, depends, packages)


def _conda_name(name: str) -> str:
    canonical = str(canonicalize_name(name))
    return CONDA_NAMES.get(canonical, canonical)


def _write_package(
    content: Path, name: str, version: str, depends: Sequence[str], packages: Path
) -> Entry:
    """Write a folder as a package of conda's first format; return its entry in the index."""
    files = [path for path in sorted(content.rglob("*")) if path.is_symlink() or path.is_file()]
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": depends,
        "subdir": SUBDIR,
    }
    paths = {"paths": [_describe(path, content) for path in files], "paths_version": 1}
    info = content / "info"
    info.mkdir()
    (info / "files").write_text("".join(f"{path.relative_to(content)}\n" for path in files))
    (info / "index.json").write_text(json.dumps(index))
    (info / "paths.json").write_text(json.dumps(paths))
    package = packages / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(package, "w:bz2", compresslevel=1) as archive:
        archive.add(info, "info")
        for path in files:
            archive.add(path, str(path.relative_to(content)), recursive=False)
    packed = package.read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    return package.name, {**index, "sha256": digest, "size": len(packed)}


def _describe(path: Path, content: Path) -> dict[str, object]:
    entry = {"_path": str(path.relative_to(content))}
    if path.is_symlink():
        return {**entry, "path_type": "softlink"}
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {**entry, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(data)}
