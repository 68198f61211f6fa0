"""What all tests share."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from sdbench.config.check import Config, check_config, load_schema
from sdbench.runtime.files import write_json
from tests.forked import dry_run
from tests.reliability import Tally

# A shared machine is slow at times, which is no property of the code; and a test that fails in CI
# must fail at home.
hypothesis.settings.register_profile(
    "sdbench",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sdbench")

# Threads that wait for each other by spinning keep the cores from what runs next to them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).parent.parent
BASE = ROOT / "config/presets/shapes-cpu.yaml"
"""The config that tests change: quick to run, and the same on every machine."""


TOGETHER = {
    "tests/slurm": "the cluster",
    "tests/conda": "the environments",
    "tests/e2e/test_default_workflow.py": "the finished run",
    "tests/e2e/test_staleness.py": "the finished run",
}
"""Folders and files whose tests share something that is slow to make. They begin in this order, and
before all others: what is long must not be what is waited for in the end."""


def scope_of(nodeid: str) -> str:
    """Return what the tests share that are given to one worker: else it is their file."""
    file = nodeid.partition("::")[0]
    return next(
        (TOGETHER[name] for name in (file, file.rpartition("/")[0]) if name in TOGETHER), file
    )


class SharedScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives what shares something to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedScheduling:
    return SharedScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what is long first, where there are workers to share it."""
    if hasattr(config, "workerinput"):
        order = [*dict.fromkeys(TOGETHER.values())]
        ranks = {scope: rank for rank, scope in enumerate(order)}
        items.sort(key=lambda item: ranks.get(scope_of(item.nodeid), len(order)))


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    return load_schema(ROOT / "config" / "schema.yaml")


@pytest.fixture
def raw_config() -> Config:
    """The preset of the bundled model as it stands in its file; a test may change it."""
    config: Config = yaml.safe_load(BASE.read_text())
    del config["pathvars"]
    return config


@pytest.fixture
def config(raw_config: Config, schema: dict[str, Any]) -> Config:
    """The preset of the bundled model, complete."""
    return check_config(copy.deepcopy(raw_config), schema, [BASE])


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts what a test does to the workflow, for docs/reliability.md."""
    counted = Tally()
    yield counted
    counted.write(request.node.nodeid)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """Return a folder that one worker of the tests makes, while those that need it wait."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not folder.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    assert done.exists(), f"{name} was not made: the test that was to make it says why"
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the workflow has run; whoever changes it works on a copy (`copy_run`)."""
    from tests.finished import run_workflow  # with all that a page is made of

    return made_once(tmp_path_factory, "finished", run_workflow)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in the diffusers layout; its manifest lies next to it, `tiny.json`."""
    # Not above: `make test-fast` goes without PyTorch.
    from sdbench.models.architectures import load_architecture
    from sdbench.models.manifest import describe
    from sdbench.models.seeded import build_seeded
    from sdbench.models.tokenizer import byte_vocabulary

    folder = tmp_path_factory.mktemp("models") / "tiny"
    architecture = load_architecture(ROOT / "resources/architectures/tiny.yaml")
    build_seeded(architecture, byte_vocabulary(), 0, folder)
    write_json(folder.with_suffix(".json"), describe(folder, {"seeded": "tiny", "seed": 0}, "tiny"))
    return folder


def copy_workflow(target: Path) -> Path:
    """Copy what a clone would hold, uncommitted changes included, to `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


Snakemake = Callable[..., subprocess.CompletedProcess[str]]


def run_snakemake(
    folder: Path, *args: str, timeout: float = 120, command: Sequence[str] = ("snakemake",)
) -> Any:
    """Run Snakemake in `folder` and return the completed process, output as text."""
    return subprocess.run(
        [*command, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_python(program: str, *args: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in another process that can import `scripts` and the tests."""
    path = os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, args)],
        env=os.environ | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def planned(folder: Path, *args: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run in `folder` plans, by rule; none, if nothing."""
    run = dry_run(folder, *args)
    assert run.returncode == 0, run.stdout + run.stderr
    stats = run.stdout.rpartition("Job stats:")[2].partition("\n\n")[0]
    found = re.findall(r"^(\w+) +(\d+)$", stats, re.M)
    return {name: int(count) for name, count in found if name != "total"}
