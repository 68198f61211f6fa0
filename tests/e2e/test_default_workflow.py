"""What a finished run leaves; then a second run, and a changed config.

The tests that change something stand last, and each goes on from the results of the one before.
"""

import contextlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from sdbench.devices.platforms import computes_natively
from sdbench.records.record import read_indexed, read_record, record_validator
from sdbench.report.figures.catalogue import FIGURES
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from tests.conftest import planned, run_snakemake
from tests.finished import (
    LAUNCHES,
    NOT_EXPORTED,
    PROMPTS,
    RUNS,
    SAID,
    STEPS,
    TOO_LARGE,
    copy_run,
)

CASE = ["model", "device", "backend", "precision", "options", "batch_size"]


def read(folder: Path, name: str) -> pd.DataFrame:
    """Read a table of a run by its own schema."""
    path = folder / f"results/tables/{name}.csv"
    return read_table(path, getattr(schemas, name.upper()))


@pytest.fixture(scope="module")
def records(finished: Path) -> list[dict[str, Any]]:
    indexes = sorted((finished / "results/records").rglob("index.json"))
    return [record for index in indexes for _, record in read_indexed(index)]


@pytest.fixture(scope="module")
def measured(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["status"] == "ok"]


HAS_BF16 = computes_natively("bf16")
"""Without, bf16 and autocast to it are rows with status `unsupported`."""


def expected_status(record: dict[str, Any]) -> str:
    variant = record["case"]["variant"]
    halved = variant["precision"] == "bf16" or variant["options"] == "autocast"
    cannot = variant["model"] == TOO_LARGE or (
        variant["model"] == NOT_EXPORTED and variant["backend"] == "onnxruntime"
    )
    return "unsupported" if cannot or (halved and not HAS_BF16) else "ok"


def test_every_case_has_a_record_that_its_schema_allows(
    finished: Path, records: list[dict[str, Any]]
) -> None:
    cases = read(finished, "cases")
    searched = read(finished, "largest")
    assert list(searched["largest_batch"]) == [8]
    listed = set(cases["case_id"].dropna())
    (found,) = [record for record in records if record["case_id"] not in listed]
    assert found["case"]["variant"]["backend"] == "onnxruntime"
    assert found["case"]["batch_size"] == 8
    assert len(records) == len(listed) + 1
    for record in records:
        record_validator().validate(record)
        assert record["status"] == expected_status(record), record["reason"]


def geometric_mean(values: Iterable[Any]) -> float:
    return float(np.exp(np.mean(np.log([*values]))))


def test_the_results_say_what_the_records_say(
    finished: Path, records: list[dict[str, Any]], measured: list[dict[str, Any]]
) -> None:
    rows = read(finished, "results").set_index(CASE)
    assert len(rows) == len(records)
    for record in measured:
        case = record["case"]
        size, steps = case["batch_size"], case["generation"]["steps"]
        row = rows.loc[(*case["variant"].values(), size)]
        launches = record["launches"]
        assert row["launches"] == len(launches) == LAUNCHES
        samples = [launch["latency"]["samples_s"] for launch in launches]
        assert row["latency_s"] == pytest.approx(geometric_mean(map(np.median, samples)))
        assert row["latency_n"] == sum(map(len, samples)) >= 3  # the least, on a slow machine
        assert np.isnan(row["latency_ci_low_s"]) and np.isnan(row["half_width"])
        # So many steps are as many evaluations, in every phase sample.
        assert {len(phase["step_s"]) for one in launches for phase in one["phases"]} == {steps}
        # Throughput is images over the time of its own calls.
        intervals = [launch["throughput"]["intervals_s"] for launch in launches]
        assert row["throughput_n"] == sum(map(len, intervals)) >= 1
        call_s = geometric_mean(map(np.mean, intervals))
        assert row["images_per_minute"] == pytest.approx(60 * size / call_s)
    assert set(rows.loc["tiny"].query("largest").reset_index()["batch_size"]) == {1, 4, 8}


def test_memory_is_that_of_the_process(finished: Path) -> None:
    table = read(finished, "results")
    table = table[table["status"] == "ok"]
    assert (table["device_kind"] == "cpu").all()
    assert (table["memory_bytes"] == table["resident_peak_bytes"]).all()
    above = table["resident_above_load_bytes"]
    assert (table["resident_peak_bytes"] == table["loaded_bytes"] + above).all()
    assert (table["resident_peak_bytes"] > 50e6).all()
    assert table["peak_allocated_bytes"].isna().all()


def test_every_case_that_ran_is_held_against_its_peak(
    finished: Path, measured: list[dict[str, Any]]
) -> None:
    found = read(finished, "peak_throughput")
    found = found[found["device"] == "cpu"]
    peaks = found.groupby("precision")["tflops"].max()
    assert peaks["fp32"] > 0
    assert (peaks["bf16"] > 0) == HAS_BF16
    assert (found[found["operation"] == "memory copy"]["gb_per_s"] > 0.1).all()
    table = read(finished, "results")
    table = table[table["status"] == "ok"]
    assert len(table) == len(measured)
    assert (table["tflop_per_image"] > 0).all()
    assert (table.groupby("model")["tflop_per_image"].nunique() == 1).all()
    # ONNX Runtime multiplies quantized weights in 8 bits, of which no peak is measured.
    eights = (table["backend"] == "onnxruntime") & (table["options"] == "int8-weights")
    assert eights.sum() == 1 and table["peak_tflops"][eights].isna().all()
    halved = (table["precision"] == "bf16") | (table["options"] == "autocast")
    own = halved.map({True: "bf16", False: "fp32"}).map(peaks)[~eights]
    assert (table["peak_tflops"][~eights] == own).all()
    for name in ("latency", "throughput"):
        share = table[f"{name}_utilization"]
        assert share[eights].isna().all()
        achieved = table[f"{name}_tflops"][~eights]
        assert share[~eights].to_numpy() == pytest.approx(achieved / own)
        # What this processor does in a second, not a thousand times as much or as little.
        shapes = share[(table["model"] == "shapes") & ~eights]
        assert len(shapes) == 3 and shapes.between(0.005, 1.5).all()


def test_exports_agree_with_pytorch(finished: Path) -> None:
    table = read(finished, "exports")
    assert set(table["network"]) == {"text_encoder", "unet", "vae_decoder"}
    assert set(table["graphs"]) == {"onnx", "onnx-int8", "openvino", "openvino-int8"}
    quantized = table["graphs"].str.endswith("-int8") & (table["network"] == "unet")
    assert (table["status"] == "ok").all()
    assert (table["max_rel_error"][~quantized] < 1e-4).all()
    assert table["tolerance"][quantized].isna().all()
    assert table["max_rel_error"][quantized].between(1e-4, 0.1).all()
    assert (table["opset"][table["graphs"].str.startswith("onnx")] == 23).all()


def test_quality_has_all_steps_of_both_modes(finished: Path) -> None:
    table = read(finished, "quality")
    table = table[table["model"] == "shapes"]
    for (_, precision), series in table.groupby(["backend", "precision"]):
        if precision == "bf16" and not HAS_BF16:
            assert set(series["status"]) == {"unsupported"}
            continue
        steps = series.groupby("mode")["step"].apply(list)
        assert steps["trajectory"] == list(range(1, STEPS + 1))
        assert steps["runs"] == RUNS
    # Other engines compute in fp32 what PyTorch does: their images are all but the same.
    exact = table[table["precision"] == "fp32"]
    assert set(exact["backend"]) == {"onnxruntime", "openvino"}
    assert (exact["max_abs_difference"] <= 2).all()
    assert (table[table["precision"] == "bf16"]["ssim"].dropna() > 0.5).all()
    # A 5-step run is not the 5th state of a longer one.
    with np.load(finished / "results/quality/shapes/cpu/pytorch/fp32/none.npz") as series:
        run = series["runs"][RUNS.index(5)].astype(int)
        assert np.abs(run - series["trajectory"][4]).max() > 10
        # The last run and the last state are both whole runs of that length.
        assert (series["runs"][-1] == series["trajectory"][-1]).mean() > 0.99


def test_a_set_of_images_is_compared_in_pairs_and_read(finished: Path) -> None:
    table = read(finished, "quality_set").set_index("backend")
    exact = table.loc["onnxruntime"]
    assert (exact["n"], exact["missing"], exact["judge"]) == (len(PROMPTS), 0, "shapes")
    assert exact["psnr_q1_db"] > 40 and exact["below_gate"] == 0
    assert exact["score"] == exact["reference_score"] > 0.7
    # Three prompts decide nothing, and their speed is shown as such.
    assert set(table["verdict"]) == {"cannot be said"}
    results = read(finished, "results").query("model == 'shapes' and options == 'none'")
    judged = results[results["backend"] == "onnxruntime"]
    assert set(judged["quality_verdict"].dropna()) <= {"cannot be said"}
    pairs = read(finished, "quality_pairs")
    assert list(pairs[pairs["backend"] == "onnxruntime"]["prompt"]) == PROMPTS


def test_a_case_with_weights_in_8_bits_keeps_the_gate(finished: Path) -> None:
    """Next to its speed stands the quality of the image that it generated."""
    table = read(finished, "results")
    quantized = table[table["options"] == "int8-weights"]
    assert set(quantized["backend"]) == {"pytorch", "onnxruntime", "openvino"}
    assert quantized["passes_gate"].all()


def test_settings_were_searched_for_both_engines_of_graphs(finished: Path) -> None:
    for backend in ("onnxruntime", "openvino"):
        found = json.loads((finished / f"results/settings/tiny/cpu/{backend}.json").read_text())
        (search,) = found["searches"].values()
        assert len(search["candidates"]) >= 6
        assert all(len(entry["candidate_s"]) >= 6 for entry in search["candidates"])


def test_every_figure_and_image_is_there_in_all_its_forms(finished: Path) -> None:
    figures = finished / "results/figures"
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{kind}" for name, figure in FIGURES.items() for kind in figure.formats
    }
    assert (figures / "quality_animation.gif").stat().st_size > 10_000
    kept = finished / "results/quality/shapes/cpu/onnxruntime/fp32/none"
    assert len(list((kept / "trajectory").glob("*.png"))) == STEPS
    assert len(list((kept / "runs").glob("*.png"))) == len(RUNS)


def test_the_page_has_every_case_and_image(finished: Path, records: list[dict[str, Any]]) -> None:
    page = (finished / "results/report.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    origin = data["columns"]["names"].index("origin")
    own = [row for row in data["columns"]["rows"] if row[origin] == "measured here"]
    assert len(own) == len(records)
    # Of each compared variant the runs and the trajectory.
    by_step, pairs = (viewer["series"] for viewer in data["viewers"])
    assert len(by_step) == (8 if HAS_BF16 else 4)
    assert len(pairs) == (2 if HAS_BF16 else 1)
    assert all(model in page for model in ("shapes", "tiny", NOT_EXPORTED, TOO_LARGE))
    figures = (finished / "results/figures").glob("*.svg")
    filled = [f for f in figures if len(f.with_suffix(".csv").read_text().splitlines()) > 1]
    # The one that answers stands on the first screen too.
    assert page.count("data:image/svg+xml") == len(filled) + 1 > 10


def test_a_model_of_another_family_is_measured(finished: Path) -> None:
    """What cannot be exported says why."""
    rows = read(finished, "results").query("model == @NOT_EXPORTED")
    own = rows[rows["backend"] == "pytorch"]
    assert len(own) == 2
    assert (own["status"] == "ok").all(), own["reason"].tolist()
    assert (own["denoiser_evaluations"] == 2).all()
    absent = rows[rows["backend"] == "onnxruntime"]
    assert list(absent["status"]) == ["unsupported"] * 2
    assert absent["reason"].str.contains("cannot be exported: its transformer").all()
    exports = read(finished, "exports")
    assert set(exports["model"]) == {"shapes", "tiny"}


def test_what_fits_is_said_of_every_model(finished: Path) -> None:
    fits = read(finished, "fits")
    assert set(fits["model"]) == {"shapes", "tiny", NOT_EXPORTED, TOO_LARGE}
    # By its weights alone, nothing of it was measured: 33.8 GB in half precision.
    half = fits[(fits["model"] == TOO_LARGE) & (fits["precision"] == "bf16")]
    plain = half[half["options"] == "none"].set_index("memory_gb")["fits"].to_dict()
    assert plain == dict.fromkeys((8, 12, 16, 24), "no") | dict.fromkeys((48, 80), "unknown")


def test_what_no_device_has_room_for_is_not_made(finished: Path) -> None:
    """Nothing was built, exported or searched; every row says what it takes and what there is."""
    results = finished / "results"
    named = {path.relative_to(results).parts[0] for path in results.rglob(f"{TOO_LARGE}*")}
    assert named - {"logs"} == {"models", "records", "races", "quality"}
    assert not (results / "models" / TOO_LARGE).exists()
    for name in ("results", "races", "quality"):
        rows = read(finished, name).query("model == @TOO_LARGE")
        assert set(rows["status"]) == {"unsupported"}, name
        said = rows["reason"].str.removeprefix("the reference: ")
        assert said.str.fullmatch(
            r"the weights take [\d.]+ GB, but the memory budget is 8 GB"
        ).all(), said.tolist()


ANSWER = re.compile(r"sdbench: One image takes [\d.]+ s on .* GB of memory\.")


def test_the_terminal_is_told_what_runs_what_is_left_and_last_the_answer(
    finished: Path, records: list[dict[str, Any]]
) -> None:
    """Where it is no terminal: plain lines."""
    lines = (finished / SAID).read_text().splitlines()
    told = [line for line in lines if line.startswith("sdbench: ")]
    assert re.match(r"sdbench: about [\d.]+ (s|min|h), ", told[0])
    done = re.compile(r"sdbench: (.*): (ok|unsupported)\b.* \((\d+) of (\d+) done, about .* left\)")
    ended = [found for line in told if (found := done.fullmatch(line))]
    # Each case but the largest batch, which nobody knew of, and the race.
    total = len(records) - 1 + 1
    assert [(int(found[3]), int(found[4])) for found in ended] == [
        (number + 1, total) for number in range(total)
    ]
    assert {found[2] for found in ended} == {record["status"] for record in records}
    assert any(line.startswith("sdbench: measuring ") for line in told)
    assert ANSWER.fullmatch(lines[-2]), lines[-2]
    assert lines[-1] == "sdbench: open results/report.html"
    for word in ("torchvision", "FutureWarning", "Traceback"):
        assert not [line for line in lines if word in line]


def test_a_terminal_has_a_progress_bar_and_the_same_lines(finished: Path, tmp_path: Path) -> None:
    folder = copy_run(finished, tmp_path / "clone")
    said = run_in_terminal(folder, "--cores", "1", "--force", "results/checks.txt")
    lines = said.splitlines()
    assert re.search(r"Total Progress +━+ +100% ", said)
    assert any(re.search(r"sdbench: about \d+ s", line) for line in lines)
    assert any(re.search(r"sdbench: \d+ cells of the matrix, \d+ cases", line) for line in lines)
    assert ANSWER.fullmatch(lines[-2]), said
    assert lines[-1] == "sdbench: open results/report.html"


def run_in_terminal(folder: Path, *args: str) -> str:
    """Run Snakemake in a pseudo terminal; return what it wrote there, without colours."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["snakemake", *args],
        cwd=folder,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as run:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while more := os.read(ours, 65536):
                written += more
    os.close(ours)
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    assert run.returncode == 0, said
    return said


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    assert planned(finished) == {}


def measured_with(folder: Path, **changes: Any) -> pd.DataFrame:
    """Change the block of ONNX Runtime, and return the results of a run."""
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config["matrix"][3] |= changes
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    run = run_snakemake(folder, "--cores", "1", "results/tables/results.csv", timeout=300)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return read(folder, "results")


def test_a_batch_size_that_is_added_or_removed_measures_that_point_only(
    finished: Path, tmp_path: Path, records: list[dict[str, Any]]
) -> None:
    """What is removed leaves the table, but not the disk."""
    folder = copy_run(finished, tmp_path / "clone")
    store = folder / "results/records/tiny/cpu/onnxruntime"

    def kept() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in store.rglob("batch-*.json")}

    before = kept()
    sizes = yaml.safe_load((folder / "config/config.yaml").read_text())["matrix"][3]["batch_sizes"]
    assert len(measured_with(folder, batch_sizes=[*sizes, 3])) == len(records) + 1
    after = kept()
    assert {path.name[:7] for path in set(after) - set(before)} == {"batch-3"}
    assert after.items() >= before.items()
    rows = measured_with(folder, batch_sizes=[1, 2], largest_batch=0)
    assert set(rows[rows["backend"] == "onnxruntime"]["batch_size"]) == {1, 2}
    assert len(kept()) == 6
    assert {read_record(path)["status"] for path in kept()} == {"ok"}
