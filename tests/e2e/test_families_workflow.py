"""Two tiny twins through the DAG, from their description to the tables."""

from pathlib import Path

import pandas as pd
import yaml

from sdbench.tables.schemas import EXPORTS, LATENCY, read_table
from tests.conftest import ROOT, copy_workflow, run_snakemake

TWINS = ("tiny-flux-dev", "tiny-z-image")
TABLES = "results/families-tiny/tables"


def test_twins_go_from_description_to_tables(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    preset = yaml.safe_load((ROOT / "config/presets/families-tiny.yaml").read_text())
    preset["matrix"] = [block for block in preset["matrix"] if block["model"] in TWINS]
    preset["matrix"].append({**preset["matrix"][0], "backends": ["onnxruntime"]})
    (tmp_path / "twins.yaml").write_text(yaml.safe_dump(preset))
    run = run_snakemake(
        folder,
        "--cores",
        "2",
        "--configfile",
        str(tmp_path / "twins.yaml"),
        "--",
        f"{TABLES}/latency.csv",
        f"{TABLES}/exports.csv",
        timeout=540,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    latency = read_table(folder / TABLES / "latency.csv", LATENCY)
    torch, graphs = (latency[latency["backend"] == b] for b in ("pytorch", "onnxruntime"))
    assert set(torch["model"]) == set(TWINS)
    assert (torch["status"] == "ok").all(), torch["reason"].tolist()
    assert (torch["denoiser_evaluations"] == 2).all()
    assert (torch["tflop_per_image"] > 0).all()
    assert (graphs["status"] == "unsupported").all()
    assert graphs["reason"].str.contains("are exported so far").all()
    exports = read_table(folder / TABLES / "exports.csv", EXPORTS)
    assert isinstance(exports, pd.DataFrame) and exports.empty
