"""The default workflow on a cluster: where its jobs land, and what comes back."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from sdbench.config import Config
from sdbench.figures.catalogue import FIGURES
from sdbench.records import read_indexed
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from tests.conftest import DEFAULT, copy_workflow
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import INDEX, TINY, Workflow

GPUS = {
    "a100": {"kind": "cuda", "gpu_model": "a100"},
    "rtx3090": {"kind": "cuda", "gpu_model": "rtx3090"},
}
NODE_OF = {"cpu": "cpu1", "a100": "a1001", "rtx3090": "rtx1"}
TABLES = [f"results/tables/{name}.csv" for name in ("cases", "results", "quality")]
Started = tuple[Path, "subprocess.Popen[bytes]"]
CASE = ["model", "device", "backend", "precision", "options", "batch_size"]


def short_config(devices: dict[str, Any], backends: list[str]) -> Config:
    """Return the default config of these backends, measured as shortly as can be.

    With the tiny model and few options, and on all these devices what it has for PyTorch: where a
    job lands is the same for all.
    """
    config: Config = yaml.safe_load(DEFAULT.read_text())
    config["models"] = TINY["models"]
    # One thread: nodes that share a machine must not wait for each other's.
    config["devices"]["cpu"] |= {"constraint": "cpu", "threads": 1}
    config["devices"] |= devices
    config["matrix"] = [
        {**block, "model": "tiny", "batch_sizes": block["batch_sizes"][:2]}
        for block in config["matrix"]
        if "options" not in block and set(block["backends"]) <= set(backends)
    ]
    for block in config["matrix"]:
        if block["backends"] == ["pytorch"]:
            block["devices"] = list(config["devices"])
    config["quality"][0] |= {
        "model": "tiny",
        "backends": backends,
        "precisions": ["fp32"],
        "options": ["none", "attention-vanilla"],
        "trajectory_steps": 2,
        "runs": [1, 2],
        "panel_step": 2,
    }
    config["measuring"] = {
        "min_samples": 3,
        "min_duration_s": 0,
        "phase_samples": 1,
        "throughput_duration_s": 0.1,
    }
    return config


@pytest.fixture(scope="module")
def jobs(workflow: Workflow) -> dict[str, dict[str, str]]:
    """All jobs of the run, by what SLURM knows of them."""
    run = workflow.log.read_text().partition("SLURM run ID: ")[2].split()[0]
    jobs = workflow.cluster.jobs("all")
    return {id_: job for id_, job in jobs.items() if job["name"] == run}


@pytest.fixture(scope="module")
def started_locally(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """What PyTorch does on this machine, beside the cluster's run."""
    folder = copy_workflow(tmp_path_factory.mktemp("local"))
    (folder / "mine.yaml").write_text(yaml.safe_dump(short_config({}, ["pytorch"])))
    command = ["snakemake", *TABLES, "--cores", "all", "--configfile", "mine.yaml"]
    with (folder / "snakemake.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    yield folder, process
    process.kill()
    process.wait(timeout=10)


@pytest.fixture(scope="module")
def workflow(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, started_locally: Started
) -> Workflow:
    """The default workflow after its run on the cluster."""
    (cluster.folder / "sacct.calls").unlink(missing_ok=True)
    workflow = Workflow(
        tmp_path_factory.mktemp("cluster"), cluster, short_config(GPUS, ["pytorch", "onnxruntime"])
    )
    status = workflow.finish(workflow.start(), timeout=900)
    assert status == 0, workflow.said()
    return workflow


@pytest.fixture(scope="module")
def local(started_locally: Started) -> Path:
    """The folder of the local run, after it."""
    folder, process = started_locally
    assert process.wait(timeout=600) == 0, (folder / "snakemake.log").read_text()[-4000:]
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "results/records").rglob("batch-*.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_every_job_landed_on_the_node_of_its_device(jobs: dict[str, dict[str, str]]) -> None:
    measuring = [job for job in jobs.values() if "measure_" in job["comment"]]
    # Sweeps with two backends on the CPU and one on each GPU, and the ceilings of all three.
    assert len(measuring) == 4 + 3
    for job in measuring:
        device = next(name for name in NODE_OF if f"_{name}_" in f"{job['comment']}_")
        assert job["node"] == NODE_OF[device], job
        assert job["gpus"] == ("N/A" if device == "cpu" else f"gres:gpu:{device}:1"), job
    assert all(job["name"].startswith("sdbench_") for job in jobs.values())


def test_nobody_asked_for_accounts(workflow: Workflow) -> None:
    """So it works without accounting, and while its database is down."""
    assert not (workflow.cluster.folder / "sacct.calls").exists()


def test_light_rules_were_no_jobs(jobs: dict[str, dict[str, str]]) -> None:
    rules = {job["comment"].partition("_wildcards_")[0] for job in jobs.values()}
    assert rules == {
        "rule_build_model",
        "rule_export_onnx",
        "rule_measure_sweep",
        "rule_measure_ceilings",
        "rule_draw_images",
    }


def test_the_record_says_which_node_and_gpu_it_ran_on(
    workflow: Workflow, jobs: dict[str, dict[str, str]]
) -> None:
    found = records(workflow.folder)
    assert {record["case"]["variant"]["device"] for record in found} == set(NODE_OF)
    for record in found:
        device, environment = record["case"]["variant"]["device"], record["environment"]
        assert environment["slurm_node"] == NODE_OF[device]
        assert jobs[environment["slurm_job"]]["node"] == NODE_OF[device]
        # One GPU of the node, as SLURM counts them, and none for a CPU.
        assert environment["cuda_visible_devices"] in ({None} if device == "cpu" else {"0", "1"})


def test_what_torch_does_not_find_is_unsupported(workflow: Workflow) -> None:
    on_gpus = [r for r in records(workflow.folder) if r["case"]["variant"]["device"] != "cpu"]
    assert {record["status"] for record in on_gpus} == {"unsupported"}


def test_the_rows_are_those_of_a_local_run(workflow: Workflow, local: Path) -> None:
    def rows(folder: Path, name: str, schema: Any, columns: list[str]) -> pd.DataFrame:
        table = read_table(folder / f"results/tables/{name}.csv", schema)
        same = table[(table["device"] == "cpu") & (table["backend"] == "pytorch")]
        return same[columns].reset_index(drop=True)

    told = ("results", schemas.RESULTS, [*CASE, "status", "reason"])
    pd.testing.assert_frame_equal(rows(workflow.folder, *told), rows(local, *told))
    # Where the processor has no bf16, that is unsupported here and there.
    assert set(rows(local, *told)["status"]) in ({"ok"}, {"ok", "unsupported"})
    drawn = ("quality", schemas.QUALITY, list(schemas.QUALITY.columns))
    pd.testing.assert_frame_equal(rows(workflow.folder, *drawn), rows(local, *drawn))


def test_the_pictures_are_those_of_a_local_run(workflow: Workflow, local: Path) -> None:
    """Of a model with the same weights, built there and here from a seed."""
    drawn = sorted(path.relative_to(local) for path in (local / "results/quality").rglob("*.npz"))
    assert len(drawn) == 2
    for path in drawn:
        with np.load(local / path) as here, np.load(workflow.folder / path) as there:
            for mode in ("runs", "trajectory"):
                assert np.array_equal(here[mode], there[mode]), path
            assert len(here["runs"]) == (2 if here["status"] == "ok" else 0)


def test_every_figure_came_back(workflow: Workflow) -> None:
    assert (workflow.folder / "results/checks.txt").exists()
    made = {path.stem for path in (workflow.folder / "results/figures").glob("*.*")}
    assert made == set(FIGURES)
    assert (workflow.folder / "results/report.html").exists()


def test_a_model_that_no_device_has_room_for_is_not_made(cluster: Cluster, tmp_path: Path) -> None:
    """The node plans as the machine does that the job was sent from."""
    devices = {
        name: device | {"memory_budget_gb": 0.001} for name, device in TINY["devices"].items()
    }
    config = {**TINY, "devices": devices}
    workflow = Workflow(tmp_path, cluster, config, until=["measure_sweep"])
    assert workflow.finish(workflow.start()) == 0, workflow.said()
    found = [record for _, record in read_indexed(workflow.folder / INDEX)]
    assert {record["status"] for record in found} == {"unsupported"}
    assert found[0]["reason"].endswith("GB, and the memory budget is 0.001 GB")
    assert found[0]["environment"]["slurm_node"] == NODE_OF["cpu"]
    assert not (workflow.folder / "results/models/tiny").exists()
