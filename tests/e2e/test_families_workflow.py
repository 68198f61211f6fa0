"""The tiny twins of all families through the whole DAG, from their description to the page."""

from pathlib import Path

import pytest
import yaml

from sdbench.config import Config
from sdbench.tables.files import read_table
from sdbench.tables.schemas import EXPORTS, FITS, QUALITY, RACES, RESULTS
from tests.conftest import ROOT, copy_workflow, run_snakemake

PRESET = yaml.safe_load((ROOT / "config/presets/families-tiny.yaml").read_text())
NOT_EXPORTED = {**PRESET["matrix"][0], "model": "tiny-pixart-sigma", "backends": ["onnxruntime"]}
TOO_LARGE = "flux.1-dev"
ONE_OF_ALL = [
    {**PRESET["matrix"][0], "model": TOO_LARGE, "devices": ["small"], **asked}
    for asked in (
        {},
        {"backends": ["onnxruntime"], "options": ["none", "tuned"]},
        {"options": ["int8-weights"]},
    )
]


@pytest.fixture(scope="module")
def config() -> Config:
    """The preset, with rows that ask for exported networks of a family that has none; and a model
    at full size, of which all that there is is asked for, on a device that has no room for it."""
    generation = PRESET["models"]["tiny-flux-dev"]["generation"]
    race = {"model": TOO_LARGE, "device": "small", "sizes": [64], "variants": [{"options": "none"}]}
    return {
        **PRESET,
        "models": PRESET["models"]
        | {TOO_LARGE: {"source": {"seeded": TOO_LARGE}, "generation": generation}},
        # Two threads would wait for each other whenever another test takes a core.
        "devices": {
            "cpu": {"kind": "cpu", "threads": 1},
            "small": {"kind": "cpu", "threads": 1, "memory_budget_gb": 8},
        },
        "matrix": [*PRESET["matrix"], NOT_EXPORTED, *ONE_OF_ALL],
        "quality": [
            {
                "model": TOO_LARGE,
                "reference": {"device": "small"},
                "devices": ["small"],
                "backends": ["pytorch", "onnxruntime"],
                "precisions": ["fp32"],
                "options": ["none"],
                "trajectory_steps": 2,
                "runs": [1, 2],
                "panel_step": 2,
            }
        ],
        "races": [race],
    }


@pytest.fixture(scope="module")
def results(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the config."""
    folder = copy_workflow(tmp_path_factory.mktemp("clone"))
    file = folder / "twins.yaml"
    file.write_text(yaml.safe_dump(config))
    run = run_snakemake(folder, "--cores", "2", "--configfile", str(file), timeout=1500)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return folder / "results/families-tiny"


def test_every_family_is_measured(results: Path) -> None:
    table = read_table(results / "tables/results.csv", RESULTS)
    rows = table[(table["backend"] == "pytorch") & (table["model"] != TOO_LARGE)]
    assert set(rows["model"]) == set(PRESET["models"])
    assert len(rows) == 2 * len(PRESET["models"])
    assert (rows["status"] == "ok").all(), rows["reason"].tolist()
    assert (rows["denoiser_evaluations"] == 2).all()
    assert (rows["tflop_per_image"] > 0).all()


def test_what_cannot_be_exported_says_why(results: Path) -> None:
    """What is exported, tests/e2e/test_families.py draws with."""
    table = read_table(results / "tables/results.csv", RESULTS)
    rows = table[(table["backend"] == "onnxruntime") & (table["model"] != TOO_LARGE)]
    assert list(rows["status"]) == ["unsupported"] * 2
    assert rows["reason"].str.contains("cannot be exported: its transformer").all()
    assert read_table(results / "tables/exports.csv", EXPORTS).empty


def test_what_fits_is_said_of_every_family(results: Path) -> None:
    fits = read_table(results / "tables/fits.csv", FITS)
    assert set(fits["model"]) == {*PRESET["models"], TOO_LARGE}
    # By its weights alone, nothing of it was measured: 33.8 GB in half precision.
    half = fits[(fits["model"] == TOO_LARGE) & (fits["precision"] == "bf16")]
    plain = half[half["options"] == "none"].set_index("memory_gb")["fits"].to_dict()
    assert plain == dict.fromkeys((8, 12, 16, 24), "no") | dict.fromkeys((48, 80), "unknown")


def test_what_no_device_has_room_for_is_not_made(results: Path) -> None:
    """Nothing was built, exported or searched; every row says what it takes and what there is."""
    named = {path.relative_to(results).parts[0] for path in results.rglob(f"{TOO_LARGE}*")}
    assert named - {"logs", "benchmarks"} == {"models", "records", "races", "quality"}
    assert not (results / "models" / TOO_LARGE).exists()
    tables = {"results": RESULTS, "races": RACES}
    for name, schema in tables.items():
        rows = read_table(results / f"tables/{name}.csv", schema)
        rows = rows[rows["model"] == TOO_LARGE]
        assert set(rows["status"]) == {"unsupported"}, name
        said = rows["reason"].str.removeprefix("the reference: ")
        assert said.str.fullmatch(
            r"the weights take [\d.]+ GB, and the memory budget is 8 GB"
        ).all(), said.tolist()
    quality = read_table(results / "tables/quality.csv", QUALITY)
    assert set(quality["status"]) == {"unsupported"}


def test_the_page_has_every_family(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert all(model in page for model in (*PRESET["models"], TOO_LARGE))
