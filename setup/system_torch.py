"""Give a virtual environment the PyTorch of the Python that runs this, and nothing else of it.

    python system_torch.py check          # is there one, and recent enough?
    python system_torch.py link FOLDER    # into that virtual environment

`--system-site-packages` would show the environment everything: whatever else a container has
(attention kernels, other versions of transformers, TensorFlow) switches itself on in diffusers and
transformers when it is found, and the same benchmark would measure something else. So only PyTorch
and what it requires is linked. Standard library only: it runs before anything is installed.
"""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

OLDEST = (2, 9)
SEEDS = ("torch", "triton", "pytorch-triton", "pytorch-triton-rocm", "pytorch-triton-xpu")
"""Builds of vendors do not all say that they need Triton, which `compile` does."""


def check() -> str:
    """Return what is wrong with this Python's PyTorch, in one line; empty if nothing is."""
    python = f"Python {sys.version.split()[0]} ({sys.executable})"
    try:
        version = distribution("torch").version
    except PackageNotFoundError:
        return f"{python} has no PyTorch: load the module or activate the environment that has it"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < OLDEST:
        least = ".".join(map(str, OLDEST))
        return f"{python}: found PyTorch {version}; allowed is {least} or later: use a later one"
    return ""


def normal(name: str) -> str:
    """Return a package's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(seeds: tuple[str, ...]) -> dict[str, Distribution]:
    """Return the distributions of these names, and those that they require, as far as installed."""
    found: dict[str, Distribution] = {}
    waiting = list(seeds)
    while waiting:
        name = normal(waiting.pop())
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform, or of nobody's
        if name not in found:
            found[name] = package
            needs = (line for line in package.requires or () if "extra ==" not in line)
            waiting += [need[0] for line in needs if (need := re.match(r"[\w.-]+", line))]
    return found


def entries(name: str, package: Distribution) -> set[Path]:
    """Return the files and folders that a distribution has at the top of site-packages."""
    tops = {Path(file.parts[0]) for file in package.files or () if file.parts[0] != ".."}
    if tops:
        tops.discard(Path("__pycache__"))
        return {Path(str(package.locate_file(top))) for top in tops}
    # Installed without a list of files, as some vendors do.
    folder = Path(str(import_module(name.replace("-", "_")).__file__)).parent
    return {folder} | {folder.with_name(own) for own in ("torchgen", "functorch")}


def link(venv: Path) -> None:
    """Link PyTorch and what it requires into a virtual environment, except what is there."""
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    target = venv / "lib" / python / "site-packages"
    has = {normal(info.name.split("-")[0]) for info in target.glob("*.dist-info")}
    for name, package in required(SEEDS).items():
        if name in has:
            continue
        for entry in entries(name, package):
            if entry.exists() and not entry.name.endswith((".dist-info", ".egg-info")):
                own = target / entry.name
                if not own.exists():  # of `nvidia`, each package has a part
                    own.symlink_to(entry.resolve())
        # Name and version, and no list of files: with one, pip would follow the links and delete
        # the machine's own PyTorch when it is asked to install another.
        info = target / f"{name.replace('-', '_')}-{package.version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {package.version}\n"
        (info / "METADATA").write_text(metadata)
        (info / "INSTALLER").write_text("sdbench\n")
    print(f"make setup: PyTorch {distribution('torch').version} of {sys.executable}")


def leave_out_torchao(venv: Path) -> None:
    """Remove torchao where it does not work with this PyTorch: diffusers imports it where it is
    installed, and would fail with it. Options that need it then say that it is not there."""
    found = list(venv.glob("lib/python*/site-packages/torchao*"))
    command = [str(venv / "bin/python"), "-c", "import torchao.quantization"]
    if found and subprocess.run(command, capture_output=True, check=False).returncode:
        for folder in found:
            shutil.rmtree(folder)
        print("make setup: left out torchao, which does not work with this PyTorch")


if __name__ == "__main__":
    fault = check()
    if fault:
        raise SystemExit(f"make setup: TORCH=system: {fault}")
    if sys.argv[1] == "link":
        link(Path(sys.argv[2]))
        leave_out_torchao(Path(sys.argv[2]))
