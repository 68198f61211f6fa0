"""With --use-conda the environments are made where Snakemake runs, once, before the first job.

What is in them is the business of tests/conda. Here conda is a stand-in whose environments hold the
Python that runs the tests, and that writes down who called it and how many jobs there were.
"""

import copy
import sys

import pytest

from tests.slurm.conftest import INDEX, START, TINY, Workflow

pytestmark = pytest.mark.slow

CONDA = """\
#!/bin/sh
root={root}
case "$1 $2" in
"--version ") echo conda 24.7.1 ;;
"info --json") echo '{{"conda_prefix": "{root}", "platform": "linux-64"}}' ;;
"config --get") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create")
    while [ "$1" != --prefix ]; do shift; done
    mkdir -p "$2/bin"
    printf '#!/bin/sh\\nexec {python} "$@"\\n' > "$2/bin/python"
    chmod +x "$2/bin/python"
    echo "in job '$SLURM_JOB_ID', $(squeue --noheader | wc -l) jobs" >> $root/created ;;
esac
"""
ACTIVATE = """\
export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


def test_environments_are_made_once_and_before_the_first_job(
    tiny: Workflow, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("conda")
    (root / "bin").mkdir()
    command = root / "bin" / "conda"
    command.write_text(CONDA.format(root=root, python=sys.executable))
    command.chmod(0o755)
    (root / "bin" / "activate").write_text(ACTIVATE)
    config = copy.deepcopy(TINY)
    config["matrix"][0]["options"] = ["none"]
    config["measuring"]["min_duration_s"] = 0
    tiny.write(config)
    path = f"PATH={root}/bin:{tiny.cluster.environment['PATH']}"
    snakemake = tiny.start(["env", path, *START, "--use-conda"])
    assert tiny.finish(snakemake) == 0, tiny.said()
    assert (tiny.folder / INDEX).exists()
    made = list((tiny.folder / ".snakemake/conda").glob("*/bin/python"))
    assert made
    assert (root / "created").read_text() == "in job '', 0 jobs\n" * len(made)
    (job_log,) = (tiny.folder / "results/logs").glob("measure_sweep/**/pytorch.log")
    assert "1 cases" in job_log.read_text()
