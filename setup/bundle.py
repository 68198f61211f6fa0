"""Pack the checkout and the wheels that it needs into one archive, for a machine without internet.

    python setup/bundle.py [FOR] [--full] [--cuda]

FOR is a version of Python and a machine, `3.12-x86_64`: those of this Python where it is left out.
The archive is made of contents alone: packed again, it has the same bytes.
"""

import argparse
import hashlib
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = (28, 27, 26, 24, 17, 12, 5)
"""Wheels for glibc 2.28 or older run on whatever is maintained."""
LIMIT_MB = 60
"""Of a bundle without PyTorch: what is sent by mail or kept by a gateway."""


def refuse(message: str) -> None:
    """End with one line."""
    raise SystemExit(f"make bundle: {message}")


def parse_target(wanted: str) -> tuple[str, str]:
    """Return the version of Python and the machine that `3.12-x86_64` names."""
    python, _, machine = wanted.partition("-")
    if python not in PYTHONS or machine not in MACHINES:
        every = ", ".join(f"{p}-{m}" for m in MACHINES for p in PYTHONS)
        refuse(f"FOR: found {wanted!r}; allowed are {every}: use one of these")
    return python, machine


def run_pip(*arguments: str) -> None:
    """Run pip; what it says of a failure is shown, and one line after it."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode:
        refuse(f"pip {arguments[0]} failed: the lines above say why")


def fetch(python: str, machine: str, folder: Path, *what: str) -> None:
    """Put wheels for a Python on a machine with Linux into `folder`."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
    tags += [f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
    platforms = [f"--platform={tag}" for tag in (*tags, f"linux_{machine}")]
    run_pip("download", f"--python-version={python}", *platforms, f"--dest={folder}", *what)
    for source in sorted(folder.glob("*.tar.gz")):  # of what has no wheel
        run_pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(source))
        source.unlink()
    for wheel in folder.glob("*.whl"):
        if wheel.stem.endswith(f"linux_{platform.machine()}") and machine != platform.machine():
            refuse(f"{wheel.name}: it must be compiled: run this on {machine}")


def store(wheel: Path) -> None:
    """Write a wheel again without its compression: the archive's own, over all of them, makes a
    third of what theirs makes."""
    packed = wheel.with_suffix(".packed")
    wheel.rename(packed)
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(wheel, "w") as new:
        for member in old.infolist():
            copy = zipfile.ZipInfo(member.filename, member.date_time)
            copy.external_attr = member.external_attr
            new.writestr(copy, old.read(member))
    packed.unlink()


def write_lock(wheels: list[Path], lock: Path) -> None:
    """Write what is to be installed from `wheels`, by hash, as pip reads it."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    lock.write_text("".join(lines))


def add(archive: tarfile.TarFile, file: Path, name: str, date: int) -> None:
    """Add a file, whoever has it and whenever it was written here."""
    member = archive.gettarinfo(str(file), name)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = date, 0o755 if member.mode & 0o100 else 0o644
    if member.isfile():
        with file.open("rb") as content:
            archive.addfile(member, content)
    else:
        archive.addfile(member)


def git(*arguments: str) -> str:
    """Return what git says of the checkout."""
    run = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if run.returncode:
        refuse(f"{ROOT} is no git checkout: run this in a clone")
    return run.stdout


def pack(target: tuple[str, str], full: bool, cuda: bool) -> Path:
    """Make the bundle for a version of Python and a machine; return where it is."""
    python, machine = target
    files = sorted(file for file in git("ls-files", "-z").split("\0") if (ROOT / file).is_file())
    date = int(git("log", "-1", "--format=%ct"))
    name = f"sdbench-py{python}-linux-{machine}" + "-full" * full
    path = ROOT / f"{name}.tar.xz"
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bundle-") as made:
        wheels = Path(made) / "wheels"
        lock = ROOT / ("requirements.lock" if full else "requirements-measure.lock")
        locked = ["--no-deps", "--require-hashes", f"--requirement={lock}"]
        fetch(python, machine, wheels, *locked)
        own = sorted(wheels.glob("*.whl"))
        if full:
            fetch_torch(python, machine, wheels, cuda)
        every = sorted(wheels.glob("*.whl"))
        for wheel in every:
            store(wheel)
        write_lock(own, wheels / "requirements.lock")
        if full:
            write_lock([wheel for wheel in every if wheel not in own], wheels / "torch.lock")
        (wheels / "bundle").write_text(f"{python} Linux {machine}\n")
        part = Path(made) / path.name
        with tarfile.open(part, "w:xz", format=tarfile.PAX_FORMAT) as archive:
            for file in files:
                add(archive, ROOT / file, f"{name}/{file}", date)
            # By what they are, not by name: alike next to alike.
            for wheel in sorted(wheels.iterdir()):
                add(archive, wheel, f"{name}/wheels/{wheel.name}", date)
        part.replace(path)
    return path


def fetch_torch(python: str, machine: str, wheels: Path, cuda: bool) -> None:
    """Put PyTorch with what it requires next to the other wheels, unless it is there already."""
    (pinned,) = re.findall(r"^torch==.*$", (ROOT / "requirements.txt").read_text(), re.M)
    found = Path(tempfile.mkdtemp(dir=wheels.parent))
    binary = ("--only-binary=:all:", f"--constraint={ROOT / 'constraints.txt'}")
    fetch(python, machine, found, *binary, pinned if cuda else f"{pinned}+cpu")
    has = {wheel.name.split("-")[0].lower() for wheel in wheels.glob("*.whl")}
    for wheel in found.glob("*.whl"):
        if wheel.name.split("-")[0].lower() not in has:
            wheel.rename(wheels / wheel.name)


def main() -> None:
    """Make the bundle that the command line asks for."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"
    parser = argparse.ArgumentParser()
    parser.add_argument("target", nargs="?", default=here)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    asked = parser.parse_args()
    path = pack(parse_target(asked.target), asked.full, asked.cuda)
    megabytes = path.stat().st_size / 1e6
    print(f"{path.name}: {megabytes:.1f} MB")
    if megabytes > LIMIT_MB and not asked.full:
        refuse(f"{path.name}: found {megabytes:.1f} MB; allowed is {LIMIT_MB}: pack less")


if __name__ == "__main__":
    main()
