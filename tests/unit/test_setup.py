"""Which Python and which PyTorch `make setup` takes, with doubles of both; what it refuses."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdbench.runtime.environment import LEAST, refuse_old_libraries
from sdbench.runtime.errors import UserError
from setup import bundle, system_torch
from tests.conftest import ROOT

PYTHON = """#!/bin/sh
case "$*" in
*version_info*) echo {version} ;;
--version) echo Python {version}.0 ;;
*ensurepip*) {ensurepip} ;;
*"-m venv"*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo made with {name} >&2 ;;
*"pip config"*) [ -z "${{PIP_CONF-}}" ] || echo "$PIP_CONF" ;;
*"-m pip"*) echo "pip user=$PIP_USER path=${{PYTHONPATH-unset}} $*" >&2
    env | grep "^[PU][IV]" >&2 ;;
*system_torch*) echo "{name} path=${{PYTHONPATH-}} $*" >&2; {torch} ;;
esac
"""


class Machine:
    """A folder of commands, of which only those that were put there are found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "commands"
        self.bin.mkdir()
        for tool in ("sh", "dirname", "env", "grep", "sed", "uname", "mkdir", "cp"):
            (self.bin / tool).symlink_to(Path("/usr/bin", tool))
        (folder / "setup").symlink_to(ROOT / "setup")
        (folder / "requirements.txt").write_text("torch==2.13.0\n")

    def command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(
        self, name: str, version: str, *, torch: str = "true", ensurepip: str = "true"
    ) -> None:
        self.command(
            name, PYTHON.format(name=name, version=version, torch=torch, ensurepip=ensurepip)
        )

    def setup(self, **variables: str) -> tuple[int, str]:
        """Return the status, and all that was said."""
        run = subprocess.run(
            ["/bin/sh", "setup/setup.sh", ".venv", "uv==1"],
            cwd=self.folder,
            env={"PATH": str(self.bin), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return run.returncode, run.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3": "3.12", "python3.11": "3.11"}, "python3"),
        ({"python3": "3.10", "python3.11": "3.11", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.14", "python": "3.12"}, "python"),
    ],
)
def test_the_first_python_that_suits_is_taken(
    machine: Machine, there: dict[str, str], taken: str
) -> None:
    for name, version in there.items():
        machine.python(name, version)
    status, said = machine.setup()
    assert status == 0 and f"made with {taken}\n" in said
    assert (machine.folder / ".venv/.ready").read_text() == "\n"


def test_what_is_set_for_other_work_does_not_reach_pip(machine: Machine) -> None:
    machine.python("python3", "3.12")
    others = ("PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT", "UV_PYTHON", "UV_SYSTEM_PYTHON")
    status, said = machine.setup(
        PIP_USER="1", PYTHONPATH="/module", CONDA_PREFIX="/conda", **dict.fromkeys(others, "1")
    )
    lines = [line for line in said.splitlines() if line.startswith("pip ")]
    assert status == 0
    assert {line.split()[1] for line in lines} == {"user=0"}
    assert {line.split()[2] for line in lines} == {"path=unset"}
    assert "PIP_USER=0\n" in said and not any(f"{other}=" in said for other in others)
    # Of what stands in a pip.conf, no variable takes this back.
    status, said = machine.setup(PIP_CONF="global.target='/other'")
    assert status == 1 and "pip.conf: found global.target='/other'; allowed is no" in said


def test_uv_is_used_where_it_is_and_pip_where_it_fails(machine: Machine) -> None:
    machine.python("python3", "3.12")
    venv = 'mkdir -p "$7/bin"; [ "$1" = python ] || echo "uv $*"'
    machine.command("uv", f"#!/bin/sh\n{venv}\n".replace('mkdir -p "$7/bin"; ', "mkdir -p .venv; "))
    status, said = machine.setup()
    assert status == 0 and "uv pip install" in said and "made with" not in said
    assert f"--python {machine.bin / 'python3'} .venv" in said  # `python3` could be any for uv
    assert "--torch-backend cpu torch==2.13.0" in said
    machine.command("uv", "#!/bin/sh\nexit 2\n")
    status, said = machine.setup()
    assert status == 0 and "uv failed" in said and "made with python3" in said


def test_without_a_driver_the_small_wheel_is_taken_unless_the_large_one_is_asked_for(
    machine: Machine,
) -> None:
    machine.python("python3", "3.12")
    assert "torch==2.13.0+cpu" in machine.setup()[1]
    assert "torch==2.13.0\n" in machine.setup(CUDA="1")[1]
    machine.command("nvidia-smi", "#!/bin/sh\n")
    assert "torch==2.13.0\n" in machine.setup()[1]


def test_the_machines_own_pytorch_is_linked_and_none_is_installed(machine: Machine) -> None:
    machine.python("python3", "3.12")
    status, said = machine.setup(TORCH="system", PYTHONPATH="/module")
    assert status == 0 and "torch==" not in said
    for step in ("check", "link .venv"):
        assert f"python3 path=/module setup/system_torch.py {step}" in said
    assert (machine.folder / ".venv/.ready").read_text() == "system\n"


ONE_LINE = [
    ({}, {"python3": "3.10"}, "found Python 3.10.0; allowed is Python 3.11, 3.12 or 3.13"),
    ({}, {}, "found no python3; allowed is Python 3.11, 3.12 or 3.13"),
    ({"PYTHON": "python3"}, {"python3": "3.14"}, "PYTHON=python3: found 3.14; allowed is"),
    ({"PYTHON": "python9"}, {"python3": "3.12"}, "PYTHON=python9: found no Python; allowed is"),
    ({"TORCH": "mine"}, {"python3": "3.12"}, "TORCH: found mine; allowed is system"),
]


@pytest.mark.parametrize(("variables", "there", "line"), ONE_LINE)
def test_what_cannot_be_is_refused_in_one_line(
    machine: Machine, variables: dict[str, str], there: dict[str, str], line: str
) -> None:
    for name, version in there.items():
        machine.python(name, version)
    status, said = machine.setup(**variables)
    assert status == 1 and said.startswith(f"make setup: {line}") and said.count("\n") == 1
    assert not (machine.folder / ".venv").exists()


def test_a_python_without_venv_says_what_to_install(machine: Machine) -> None:
    machine.python("python3", "3.12", ensurepip="false")
    status, said = machine.setup()
    assert status == 1 and said.splitlines()[-1].endswith(
        "python3 has no ensurepip: install python3.12-venv (Debian, Ubuntu), or uv"
    )


def bundled(machine: Machine, system: str) -> None:
    (machine.folder / "wheels").mkdir()
    (machine.folder / "wheels/bundle").write_text(system + "\n")


def test_a_bundle_takes_its_own_wheels_and_the_machines_pytorch(machine: Machine) -> None:
    machine.python("python3", "3.12")
    machine.python("python3.13", "3.13")
    bundled(machine, f"3.13 {platform.system()} {platform.machine()}")
    status, said = machine.setup()
    assert status == 0 and "made with python3.13" in said
    (install,) = [line for line in said.splitlines() if line.startswith("pip ")]
    assert "--no-index --find-links wheels --require-hashes" in install
    assert install.endswith("-r wheels/requirements.lock")
    assert "system_torch.py link" in said


@pytest.mark.parametrize(
    ("system", "line"),
    [
        ("3.12 Linux riscv", "this bundle is for Linux on riscv: make one with `make bundle FOR="),
        (f"3.11 {platform.system()} {platform.machine()}", "allowed is Python 3.11: load that one"),
    ],
)
def test_a_bundle_for_another_machine_is_refused_in_one_line(
    machine: Machine, system: str, line: str
) -> None:
    machine.python("python3", "3.12")
    bundled(machine, system)
    status, said = machine.setup()
    assert status == 1 and line in said and said.count("\n") == 1


@pytest.mark.parametrize("wanted", ["3.12", "3.10-x86_64", "3.12-arm", "", "3.12-x86_64-x"])
def test_a_bundle_for_what_is_not_supported(wanted: str) -> None:
    with pytest.raises(SystemExit, match=r"FOR: found .*; allowed are 3\.11-x86_64"):
        bundle.parse_target(wanted)


def distribution(folder: Path, name: str, version: str, *requires: str) -> None:
    """Make what looks installed: a package, and a list of its files."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"__version__ = {version!r}\n")
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    (info / "METADATA").write_text(about)
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n../../bin/x,,\n")


@pytest.mark.parametrize(
    ("name", "version", "fault"),
    [
        ("diffusers", "0.30.3", "diffusers: found 0.30.3; allowed is 0."),
        ("transformers", "4.57.6", "transformers: found 4.57.6; allowed is 5."),
        ("torch", "2.8.0+cu129", "torch: found 2.8.0+cu129; allowed is 2.9 or later"),
        ("diffusers", "99.0.dev0", ""),
    ],
)
def test_a_library_older_than_any_that_was_run_is_refused_in_one_line(
    name: str, version: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, name, version)
    monkeypatch.syspath_prepend(tmp_path)
    if fault:
        with pytest.raises(UserError, match=rf"^{re.escape(fault)}"):
            refuse_old_libraries()
    else:
        refuse_old_libraries()
    assert LEAST["torch"] == system_torch.OLDEST


def run_link(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", str(ROOT / "setup/system_torch.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("works", "left"), [("pass", True), ("raise ImportError", False)])
def test_torchao_is_left_out_where_this_pytorch_is_too_old_for_it(
    tmp_path: Path, works: str, left: bool
) -> None:
    """With it in place diffusers could not be imported at all."""
    venv = tmp_path / "venv"
    own = venv / f"lib/python3.{sys.version_info[1]}/site-packages"
    (own / "torchao").mkdir(parents=True)
    (own / "torchao/__init__.py").touch()
    (own / "torchao/quantization.py").write_text(works)
    (own / "torchao-0.18.0.dist-info").mkdir()
    (venv / "bin").mkdir()
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={own} exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    system_torch.leave_out_torchao(venv)
    assert any(own.iterdir()) == left


def test_a_linked_environment_is_not_emptied(machine: Machine) -> None:
    machine.python("python3", "3.12")
    (machine.bin / "readlink").symlink_to("/usr/bin/readlink")
    (machine.folder / "elsewhere").mkdir()
    (machine.folder / "elsewhere/kept").touch()
    (machine.folder / ".venv").symlink_to(machine.folder / "elsewhere")
    status, said = machine.setup()
    assert status == 1
    assert ".venv: found a link to" in said and said.count("\n") == 1
    assert (machine.folder / "elsewhere/kept").exists()


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        (None, "has no PyTorch: load the module"),
        ("2.8.0+cu129", "found PyTorch 2.8.0+cu129; allowed is 2.9 or later"),
        ("1.13", "found PyTorch 1.13; allowed is 2.9 or later"),
        ("2.9.0a0+50eac811a6.nv25.09", ""),
        ("2.10.1", ""),
        ("3.0", ""),
    ],
)
def test_the_machines_pytorch_must_be_there_and_recent(
    tmp_path: Path, version: str | None, fault: str
) -> None:
    if version:
        distribution(tmp_path, "torch", version)
    run = run_link(tmp_path, "check")
    assert run.returncode == bool(fault)
    assert fault in run.stderr and run.stderr.count("\n") == bool(fault)


def test_pytorch_and_what_it_requires_is_linked_and_nothing_else(tmp_path: Path) -> None:
    system, venv = tmp_path / "system", tmp_path / "venv"
    own = venv / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    distribution(system, "torch", "2.9.1", "sympy>=1", "Filelock", "gone", 'opt; extra == "x"')
    for name in ("sympy", "filelock", "opt", "flash_attn", "triton"):
        distribution(system, name, "1.0")
    distribution(own, "filelock", "2.0")
    run = run_link(system, "link", str(venv))
    assert run.returncode == 0, run.stderr
    links = {path.name for path in own.iterdir() if path.is_symlink()}
    assert links == {"torch", "sympy", "triton"}
    # A list of files would have pip follow the links.
    assert sorted(path.parent.name for path in own.glob("*/RECORD")) == ["filelock-2.0.dist-info"]
    assert system_torch.normal("Typing_Extensions") == "typing-extensions"
    code = "from importlib.metadata import version; import torch; print(version('torch'))"
    seen = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(own)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout == "2.9.1\n"
