"""The tiny twins of all families through the whole DAG, from their description to the page."""

from pathlib import Path

import pytest
import yaml

from sdbench.tables.schemas import EXPORTS, FITS, LATENCY, read_table
from tests.conftest import ROOT, copy_workflow, run_snakemake

PRESET = yaml.safe_load((ROOT / "config/presets/families-tiny.yaml").read_text())
EXPORTED, NOT_EXPORTED = "tiny-sdxl", "tiny-pixart-sigma"
GRAPHS = [
    {**PRESET["matrix"][0], "model": model, "backends": ["onnxruntime"]}
    for model in (EXPORTED, NOT_EXPORTED)
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the preset, with rows that ask for the exported networks of two families."""
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    config = folder / "twins.yaml"
    config.write_text(yaml.safe_dump({**PRESET, "matrix": [*PRESET["matrix"], *GRAPHS]}))
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


def test_what_is_exported_is_measured_and_what_is_not_says_why(results: Path) -> None:
    latency = read_table(results / "tables/latency.csv", LATENCY)
    rows = latency[latency["backend"] == "onnxruntime"]
    exported, not_exported = (rows[rows["model"] == model] for model in (EXPORTED, NOT_EXPORTED))
    assert list(exported["status"]) == ["ok"] * 2, exported["reason"].tolist()
    assert list(not_exported["status"]) == ["unsupported"] * 2
    assert not_exported["reason"].str.contains("cannot be exported: its transformer").all()
    exports = read_table(results / "tables/exports.csv", EXPORTS)
    assert list(zip(exports["model"], exports["network"], strict=True)) == [
        (EXPORTED, "unet"),
        (EXPORTED, "vae_decoder"),
    ]


def test_what_fits_is_said_of_every_family(results: Path) -> None:
    fits = read_table(results / "tables/fits.csv", FITS)
    assert set(fits["model"]) == set(PRESET["models"])


def test_the_page_has_every_family(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert all(model in page for model in PRESET["models"])
