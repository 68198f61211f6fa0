"""The tiny twins of all families through the whole DAG, from their description to the page."""

from pathlib import Path

import pytest
import yaml

from sdbench.tables.schemas import EXPORTS, FITS, LATENCY, read_table
from tests.conftest import ROOT, copy_workflow, run_snakemake

PRESET = yaml.safe_load((ROOT / "config/presets/families-tiny.yaml").read_text())
GRAPHS = {**PRESET["matrix"][0], "backends": ["onnxruntime"]}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the preset, with a row that asks for the exported networks of a family."""
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    config = folder / "twins.yaml"
    config.write_text(yaml.safe_dump({**PRESET, "matrix": [*PRESET["matrix"], GRAPHS]}))
    run = run_snakemake(folder, "--cores", "2", "--configfile", str(config), timeout=1500)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return folder / "results/families-tiny"


def test_every_family_is_measured(results: Path) -> None:
    latency = read_table(results / "tables/latency.csv", LATENCY)
    rows = latency[latency["backend"] == "pytorch"]
    assert set(rows["model"]) == set(PRESET["models"])
    assert len(rows) == 2 * len(PRESET["models"])
    assert (rows["status"] == "ok").all(), rows["reason"].tolist()
    assert (rows["denoiser_evaluations"] == 2).all()
    assert (rows["tflop_per_image"] > 0).all()


def test_what_is_not_exported_says_so(results: Path) -> None:
    latency = read_table(results / "tables/latency.csv", LATENCY)
    rows = latency[latency["backend"] == "onnxruntime"]
    assert len(rows) == 2 and (rows["status"] == "unsupported").all()
    assert rows["reason"].str.contains("are exported so far").all()
    assert read_table(results / "tables/exports.csv", EXPORTS).empty


def test_what_fits_is_said_of_every_family(results: Path) -> None:
    fits = read_table(results / "tables/fits.csv", FITS)
    assert set(fits["model"]) == set(PRESET["models"])


def test_the_page_has_every_family(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert all(model in page for model in PRESET["models"])
