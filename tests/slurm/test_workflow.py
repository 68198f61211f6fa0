"""The workflow on a cluster, until all is measured: where its jobs land, and what comes back."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sdbench.config.check import Config
from sdbench.records.record import read_indexed
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from tests.finished import NOT_EXPORTED, RUNS, finished_config, shorten
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import INDEX, START, TINY, Workflow

GPUS = {
    "a100": {"kind": "cuda", "gpu_model": "a100"},
    "rtx3090": {"kind": "cuda", "gpu_model": "rtx3090"},
}
NODE_OF = {"cpu": "cpu1", "a100": "a1001", "rtx3090": "rtx1"}
RESULTS = "results/tables/results.csv"
IMAGES = "results/quality/shapes/cpu/pytorch/fp32/none.npz"
CASE = ["model", "device", "backend", "precision", "options", "batch_size"]


def cluster_config() -> Config:
    """Return what the finished run measures of a model that takes no time to export, on PyTorch and
    ONNX Runtime, one image at a time, and generates with the bundled one on PyTorch; and on two
    GPUs the same of PyTorch."""
    config = finished_config()
    config["models"] = {name: config["models"][name] for name in ("shapes", NOT_EXPORTED)}
    # One thread: nodes that share a machine must not wait for each other's.
    config["devices"] = {"cpu": {"kind": "cpu", "constraint": "cpu", "threads": 1}, **GPUS}
    (block,) = (block for block in config["matrix"] if block["model"] == NOT_EXPORTED)
    block["batch_sizes"] = [1]
    config["matrix"] = [block, {**block, "devices": [*GPUS], "backends": ["pytorch"]}]
    config["quality"] = [config["quality"][0] | {"backends": ["pytorch"], "precisions": ["fp32"]}]
    config["quality_set"] = []
    config["races"] = []
    return config


@pytest.fixture(scope="module")
def jobs(workflow: Workflow) -> dict[str, dict[str, str]]:
    """All jobs of the run, by what SLURM knows of them."""
    run = workflow.log.read_text().partition("SLURM run ID: ")[2].split()[0]
    jobs = workflow.cluster.jobs("all")
    return {id_: job for id_, job in jobs.items() if job["name"] == run}


@pytest.fixture(scope="module")
def workflow(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The workflow after its run on the cluster."""
    (cluster.folder / "sacct.calls").unlink(missing_ok=True)
    workflow = Workflow(tmp_path_factory.mktemp("cluster"), cluster, cluster_config())
    shorten(workflow.folder)
    status = workflow.finish(workflow.start([*START, RESULTS, IMAGES]), timeout=900)
    assert status == 0, workflow.said()
    return workflow


def test_the_record_says_which_node_and_gpu_it_ran_on(
    workflow: Workflow, jobs: dict[str, dict[str, str]]
) -> None:
    paths = (workflow.folder / "results/records").rglob("batch-*.json")
    found = [json.loads(path.read_text()) for path in paths]
    assert {record["case"]["variant"]["device"] for record in found} == set(NODE_OF)
    for record in found:
        device, environment = record["case"]["variant"]["device"], record["environment"]
        assert environment["slurm_node"] == NODE_OF[device]
        assert jobs[environment["slurm_job"]]["node"] == NODE_OF[device]
        # One GPU of the node, as SLURM counts them, and none for a CPU.
        assert environment["cuda_visible_devices"] in ({None} if device == "cpu" else {"0", "1"})
        # What torch does not find is unsupported.
        assert device == "cpu" or record["status"] == "unsupported"


def test_every_job_landed_on_the_node_of_its_device(jobs: dict[str, dict[str, str]]) -> None:
    measuring = [job for job in jobs.values() if "measure_" in job["comment"]]
    # Sweeps with two backends on the CPU and one on each GPU, and the peaks of all three.
    assert len(measuring) == 4 + 3
    for job in measuring:
        device = next(name for name in NODE_OF if f"_{name}_" in f"{job['comment']}_")
        assert job["node"] == NODE_OF[device], job
        assert job["gpus"] == ("N/A" if device == "cpu" else f"gres:gpu:{device}:1"), job
    assert all(job["name"].startswith("sdbench_") for job in jobs.values())


def test_light_rules_were_no_jobs(workflow: Workflow, jobs: dict[str, dict[str, str]]) -> None:
    rules = {job["comment"].partition("_wildcards_")[0] for job in jobs.values()}
    heavy = ("build_model", "export_onnx", "measure_sweep", "measure_peak_throughput")
    assert rules == {f"rule_{name}" for name in (*heavy, "generate_images")}
    # Nobody asked for accounts: so it works without them, and while their database is down.
    assert not (workflow.cluster.folder / "sacct.calls").exists()


def test_what_jobs_say_is_shown_where_they_were_sent_from(workflow: Workflow) -> None:
    said = workflow.log.read_text()
    assert re.search(r"^sdbench: about ", said, re.M)
    assert re.search(
        rf"^sdbench: {NOT_EXPORTED} on cpu, .*: ok, [\d.]+ s per call \(\d+ of \d+ done, about",
        said,
        re.M,
    )


def test_a_model_that_no_device_has_room_for_is_not_made(cluster: Cluster, tmp_path: Path) -> None:
    """The node plans as the machine does that the job was sent from."""
    config = {**TINY, "devices": {"cpu": TINY["devices"]["cpu"] | {"memory_budget_gb": 0.001}}}
    workflow = Workflow(tmp_path, cluster, config, until=["measure_sweep"])
    assert workflow.finish(workflow.start()) == 0, workflow.said()
    found = [record for _, record in read_indexed(workflow.folder / INDEX)]
    assert {record["status"] for record in found} == {"unsupported"}
    assert found[0]["reason"].endswith("GB, but the memory budget is 0.001 GB")
    assert found[0]["environment"]["slurm_node"] == NODE_OF["cpu"]
    assert not (workflow.folder / "results/models/tiny").exists()


def test_the_rows_and_images_are_those_of_a_local_run(workflow: Workflow, finished: Path) -> None:
    def rows(folder: Path) -> pd.DataFrame:
        table = read_table(folder / RESULTS, schemas.RESULTS)
        own = table[table["device"] == "cpu"]
        return own.set_index(CASE)[["status", "reason"]].sort_index()

    found = rows(workflow.folder)
    pd.testing.assert_frame_equal(found, rows(finished).loc[found.index])
    assert sorted(found["status"]) == ["ok", "unsupported"]
    with np.load(finished / IMAGES) as here, np.load(workflow.folder / IMAGES) as there:
        assert here["status"] == there["status"] == "ok"
        for mode in ("runs", "trajectory"):
            assert np.array_equal(here[mode], there[mode])
        assert len(here["runs"]) == len(RUNS)
