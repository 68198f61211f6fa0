from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.figure import Figure

from plot_attention import attention_sheet
from plot_autocast_memory import autocast_memory_sheet
from plot_autocast_speed import autocast_speed_sheet
from plot_cold_start import cold_start_sheet
from plot_cost import cost_sheet
from plot_devices import devices_sheet
from plot_ladder import ladder_sheet
from plot_memory import memory_sheet
from plot_parts import parts_sheet
from plot_speed import speed_sheet
from plot_speed_quality import speed_quality_sheet
from plot_throughput import throughput_sheet
from plot_utilization import utilization_sheet
from sdbench.report.figures import style
from sdbench.report.figures.memory import ABOVE_LOAD, AFTER_RUN
from sdbench.report.figures.panels import plot_sheet, save_sheet
from sdbench.report.figures.sheets import Panel, Sheet
from sdbench.tables.labels import TIMES
from sdbench.tables.published import FP32_TF32
from sdbench.tables.schemas import RACES, RESULTS
from tests.unit.figure_reading import bars, faults, points, texts
from tests.unit.tables_factory import (
    SD_V1,
    SHAPES,
    Rows,
    failed_race,
    failed_row,
    figure_files,
    latency_row,
    limited_row,
    memory_row,
    published,
    race_row,
    throughput_row,
    write_rows,
)

LAMBDA = ["lambda-2022-10"]

BF16 = {**SHAPES, "precision": "bf16"}


def onnx(base: dict[str, Any]) -> dict[str, Any]:
    return {**base, "backend": "onnxruntime", "attention": "fused"}


def speed(rows: Rows, folder: Path, campaigns: list[str]) -> Sheet:
    table = write_rows(rows, folder / "results.csv", RESULTS)
    return speed_sheet(table, published(campaigns))


def test_bars_are_as_long_as_the_numbers_of_the_table(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 0.5),
        latency_row({**SHAPES, "precision": "bf16"}, 0.25),
        latency_row(onnx(SHAPES), 0.375),
    ]
    figure = plot_sheet(speed(rows, tmp_path, []))
    assert [bar.get_width() for bar in bars(figure.axes[0])] == [0.5, 0.25, 0.375]
    assert {"0.500 s", "0.250 s", "0.375 s", "n = 12"} <= set(texts(figure))


def test_a_precision_has_its_colour_measured_or_published(tmp_path: Path) -> None:
    rows = [latency_row({**SD_V1, "precision": "fp16"}, 1.0)]
    plotted = bars(plot_sheet(speed(rows, tmp_path, LAMBDA)).axes[0])
    fp16 = colors.to_rgba(style.PRECISIONS["fp16"])
    assert plotted[0].get_facecolor() == fp16
    assert plotted[0].get_hatch() is None
    published = plotted[1:]
    assert all(bar.get_hatch() == style.HATCH for bar in published)
    assert [bar.get_edgecolor() == fp16 for bar in published].count(True) == 6


def test_published_rows_share_a_panel_only_where_conditions_agree(tmp_path: Path) -> None:
    alike = speed([latency_row(SD_V1, 4.0)], tmp_path, LAMBDA)
    assert [{row.published for row in p.rows} for p in alike.panels] == [{False, True}, {True}]
    other = speed([latency_row({**SD_V1, "steps": 30}, 4.0)], tmp_path, LAMBDA)
    assert [{row.published for row in p.rows} for p in other.panels] == [{False}, {True}, {True}]
    assert [panel.title.endswith("(published)") for panel in other.panels] == [False, True, True]


def test_own_and_published_fp32_are_not_called_the_same(tmp_path: Path) -> None:
    sheet = speed([latency_row(SD_V1, 4.0)], tmp_path, LAMBDA)
    precisions = {row.group: row.precision for row in sheet.panels[0].rows if "16" not in row.label}
    assert precisions["H100 80GB HBM3 (gpu)"] == "fp32"
    assert precisions["A100 80GB PCIe"] == FP32_TF32
    assert precisions["Quadro RTX 8000"] == "fp32"


def test_failures_stand_in_their_place_in_words(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 0.5),
        failed_row({**SHAPES, "precision": "bf16"}, "oom"),
        failed_row({**SHAPES, "precision": "fp16"}, "unsupported", reason="no Half here"),
        failed_row(onnx(SHAPES), "error"),
    ]
    figure = plot_sheet(speed(rows, tmp_path, []))
    assert len(bars(figure.axes[0])) == 1
    shown = texts(figure)
    assert "out of memory" in shown
    assert "not supported: no Half here" in shown
    assert "failed: see its log" in shown


def test_the_rtx_3080_ran_out_of_memory(tmp_path: Path) -> None:
    sheet = speed([], tmp_path, LAMBDA)
    cells = [row.cells[0] for p in sheet.panels for row in p.rows if row.group == "RTX 3080"]
    assert [cell.value for cell in cells] == [None, 5.59]
    assert cells[0].text == "out of memory"


def test_seeded_weights_are_named(tmp_path: Path) -> None:
    rows = [latency_row({**SD_V1, "weights": "seeded"}, 4.0)]
    assert speed(rows, tmp_path, []).panels[0].title.endswith("(weights: seeded)")
    mixed = speed(rows, tmp_path, LAMBDA).panels[0].title
    assert mixed.endswith("(weights measured here: seeded)")


def test_other_batch_sizes_are_not_shown_as_the_first(tmp_path: Path) -> None:
    rows = [latency_row({**SHAPES, "batch_size": 2}, 0.5)]
    sheet = speed(rows, tmp_path, [])
    assert not sheet.panels
    assert any("batch size 1" in text for text in texts(plot_sheet(sheet)))


def test_devices_shows_the_fastest_settings(tmp_path: Path) -> None:
    rows = [
        latency_row(SD_V1, 4.0),
        latency_row({**SD_V1, "precision": "fp16", "options": "autocast"}, 1.5),
        latency_row({**SD_V1, "precision": "bf16"}, 2.0),
        failed_row({**SD_V1, "device": "cpu", "device_name": None}, "oom"),
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = devices_sheet(table, published(LAMBDA)).panels
    assert panel.log
    assert (panel.rows[0].group, panel.rows[0].cells[0].value) == ("H100 80GB HBM3 (gpu)", 1.5)
    assert panel.rows[0].label.startswith("fp16, PyTorch, autocast")
    assert panel.rows[-1].group == "cpu"
    assert panel.rows[-1].cells[0].text == "out of memory"
    # The published CPUs ran both backends.
    assert len(panel.rows) == 1 + 6 + 4 + 1


def test_throughput_shows_the_largest_batch_and_what_did_not_fit(tmp_path: Path) -> None:
    rows = [
        throughput_row(SD_V1, 30.0, batch_size=4),
        throughput_row(SD_V1, 28.0, batch_size=8, largest=True),
        failed_row(SD_V1, "oom", batch_size=16),
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    gpus, _ = throughput_sheet(table, published(LAMBDA)).panels
    assert gpus.rows[0].cells[0].value == 28.0
    assert gpus.rows[0].cells[0].extra == "batch 8, 16 does not fit, n = 7"
    best = next(r for r in gpus.rows if r.group == "A100 80GB PCIe" and r.precision == "fp16")
    assert (best.cells[0].value, best.cells[0].extra) == (26.3, "batch 28")
    lengths = [bar.get_width() for bar in bars(plot_sheet(Sheet("", "", [gpus], "", "")).axes[0])]
    assert lengths[0] == 28.0


def test_memory_keeps_counters_apart(tmp_path: Path) -> None:
    cpu = {**SD_V1, "device": "cpu", "device_kind": "cpu"}
    rows = [memory_row(SD_V1, 6.0), memory_row(cpu, 5.0)]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    peak, after, resident = memory_sheet(table, published(LAMBDA)).panels
    assert "peak memory of the process on the GPU" in peak.title
    assert [row.cells[0].value for row in peak.rows] == [6.0]
    assert dict(peak.rows[0].cells[0].marks) == pytest.approx({"D": 4.8, "^": 4.2})
    assert "as in 2022" in after.title
    assert after.rows[0].cells[0].value == pytest.approx(4.2)
    assert sum(row.published for row in after.rows) == 12
    assert [row.cells[0].value for row in resident.rows] == [5.0]
    assert dict(resident.rows[0].cells[0].marks) == pytest.approx({"o": 3.0})


def test_each_kind_of_gpu_has_panels_of_its_own_and_the_counters_that_it_has(
    tmp_path: Path,
) -> None:
    mac = {**SD_V1, "device": "mac", "device_kind": "mps", "device_name": "Apple M2"}
    arc = {**SD_V1, "device": "arc", "device_kind": "xpu"}
    rows = [
        memory_row(SD_V1, 6.0),
        {**mac, "reserved_after_run_bytes": 7e9},
        memory_row(arc, 5.0),
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    panels = memory_sheet(table, published([])).panels
    assert [panel.title.partition(":")[0] for panel in panels] == [
        *["GPU"] * 2,
        "Apple GPU",
        *["Intel GPU"] * 2,
    ]
    (row,) = panels[2].rows
    assert panels[2].title.endswith(AFTER_RUN)
    assert row.cells[0].value == pytest.approx(7.0)
    table = write_rows([latency_row(mac, 9.0)], tmp_path / "results.csv", RESULTS)
    sheet = devices_sheet(table, published(LAMBDA))
    assert any("Apple M2" in row.group for panel in sheet.panels for row in panel.rows)


def test_memory_of_another_counter_has_its_own_panel(tmp_path: Path) -> None:
    table = write_rows([memory_row(SD_V1, 6.0)], tmp_path / "results.csv", RESULTS)
    panels = memory_sheet(table, published(["onnxruntime-2023-02"])).panels
    assert [any(row.published for row in panel.rows) for panel in panels] == [False, False, True]
    assert "NVML" in panels[-1].title


def test_autocast_is_paired_with_its_absence(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 0.5),
        latency_row({**SHAPES, "options": "autocast"}, 0.375),
        latency_row({**SHAPES, "precision": "bf16", "options": "autocast"}, 0.3),
        latency_row(onnx(SHAPES), 0.4),
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = autocast_speed_sheet(table).panels
    assert [row.label for row in panel.rows] == ["fp32", "fp32, autocast", "bf16, autocast"]
    assert [row.pale for row in panel.rows] == [False, True, True]
    assert panel.rows[1].cells[0].extra.endswith("0.75 \N{MULTIPLICATION SIGN} without")
    assert panel.rows[2].cells[0].extra.endswith("not measured without")


def test_autocast_memory_has_ratios(tmp_path: Path) -> None:
    rows = [memory_row(SD_V1, 8.0), memory_row({**SD_V1, "options": "autocast"}, 10.0)]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = autocast_memory_sheet(table).panels
    assert panel.rows[1].cells[0].extra.endswith("1.25 \N{MULTIPLICATION SIGN} without")


def test_what_makes_a_time_unsure_moves_no_memory(tmp_path: Path) -> None:
    unsure = {"noise": 0.5, "contended": True}
    rows = [
        memory_row(SD_V1, 8.0, **unsure),
        memory_row({**SD_V1, "options": "autocast"}, 10.0, **unsure),
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    sheet = autocast_memory_sheet(table)
    assert sheet.panels[0].rows[1].cells[0].extra.endswith("1.25 \N{MULTIPLICATION SIGN} without")
    assert "Other processes" not in sheet.footnote
    assert "Other processes" not in memory_sheet(table, published([])).footnote


def attention_rows() -> Rows:
    vanilla = {**SHAPES, "options": "attention-vanilla", "attention": "vanilla"}
    return [vanilla, SHAPES, onnx(SHAPES), {**SHAPES, "precision": "bf16"}]


def test_attention_shows_speed_and_memory_and_ratios(tmp_path: Path) -> None:
    times, sizes = [0.75, 0.5, 0.4, 0.3], [2.0, 1.0, 1.5, 0.5]
    rows = [
        memory_row(latency_row(row, time), size)
        for row, time, size in zip(attention_rows(), times, sizes, strict=True)
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = attention_sheet(table).panels
    assert [row.label for row in panel.rows] == [
        "fp32, SDPA",
        "fp32, fused (ONNX Runtime)",
        "fp32, vanilla",
    ]
    assert [row.cells[0].value for row in panel.rows] == [0.5, 0.4, 0.75]
    assert [row.cells[1].value for row in panel.rows] == pytest.approx([0.4, 0.6, 0.8])
    times_sign = "\N{MULTIPLICATION SIGN}"
    assert panel.rows[2].cells[0].extra == f"1.50 {times_sign}"
    assert panel.rows[2].cells[1].extra == f"2.00 {times_sign}"


def test_attention_says_where_memory_was_not_measured(tmp_path: Path) -> None:
    rows = [latency_row(row, 0.5) for row in attention_rows()]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = attention_sheet(table).panels
    assert {row.cells[1].text for row in panel.rows} == {f"{ABOVE_LOAD}: not recorded"}


def limit_panel(rows: Rows, folder: Path) -> Panel:
    (panel,) = utilization_sheet(write_rows(rows, folder / "t.csv", RESULTS)).panels
    return panel


def test_limit_has_a_bar_for_each_way_and_a_dot_for_each_batch_size(tmp_path: Path) -> None:
    bf16 = {**SHAPES, "precision": "bf16"}
    rows = [
        limited_row(bf16, 0.125),
        limited_row(SHAPES, 0.25, batch_size=1),
        limited_row(SHAPES, 0.75, batch_size=2),
        limited_row(SHAPES, 0.5, batch_size=4),
        failed_row(SHAPES, "oom", batch_size=8),
        limited_row({**SHAPES, "options": "autocast"}, 0.375, passes_gate=False),
    ]
    panel = limit_panel(rows, tmp_path)
    assert [row.label for row in panel.rows] == ["fp32", "fp32, autocast", "bf16"]
    cells = [row.cells[0] for row in panel.rows]
    assert [cell.value for cell in cells] == [75.0, 37.5, 12.5]
    assert cells[0].marks == (("o", 25.0), ("o", 75.0), ("o", 50.0))
    assert (cells[0].text, cells[0].extra) == ("75 %", "0.150 of 0.200 TFLOP/s, batch 2")
    assert cells[1].extra.endswith("fails the quality gate")
    axes = plot_sheet(Sheet("", "", [panel], "", "")).axes[0]
    assert [bar.get_width() for bar in bars(axes)] == [75.0, 37.5, 12.5]
    peaks = [line for line in axes.lines if set(points(line)[0]) == {100.0}]
    assert len(peaks) == 3
    assert axes.get_xlim()[1] > 100


def test_limit_shows_more_than_the_peak_where_that_was_measured(tmp_path: Path) -> None:
    panel = limit_panel([limited_row(SHAPES, 1.5)], tmp_path)
    axes = plot_sheet(Sheet("", "", [panel], "", "")).axes[0]
    assert bars(axes)[0].get_width() == 150.0 < axes.get_xlim()[1]


def test_limit_says_where_no_peak_was_measured(tmp_path: Path) -> None:
    unknown = throughput_row({**SHAPES, "precision": "bf16"}, 20.0, throughput_tflops=0.05)
    panel = limit_panel([limited_row(SHAPES, 0.5), unknown], tmp_path)
    assert panel.rows[1].cells[0].text == "0.0500 TFLOP/s; peak not measured"
    assert panel.rows[1].cells[0].value is None


def ladder(rows: Rows, folder: Path) -> Sheet:
    return ladder_sheet(write_rows(rows, folder / "races.csv", RACES))


def test_the_ladder_goes_from_the_slowest_to_the_fastest(tmp_path: Path) -> None:
    few = {"ratio_ci_low": None, "ratio_ci_high": None, "rounds": 3}
    onnx = {"backend": "onnxruntime", "attention": "fused"}
    rows = [
        race_row(1.0),
        failed_race("unsupported", precision="bf16", reason="no instructions for bf16"),
        race_row(0.6, **onnx, memory_bytes=4e9, utilization=0.67),
        race_row(1.5, options="attention-vanilla", attention="vanilla"),
        race_row(0.8, **onnx, **few, width=512, height=512, utilization=None, contended=True),
    ]
    write_rows(rows, tmp_path / "races.csv", RACES)
    save_sheet(ladder_sheet(tmp_path / "races.csv"), figure_files(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    small = data[data["panel"].str.contains("256")]
    ratios = small[small["measure"] == "time / that of the reference"]
    assert list(ratios["setting"]) == [
        "fp32, PyTorch, attention-vanilla",
        "fp32, PyTorch, against itself",
        "fp32, ONNX Runtime",
        "bf16, PyTorch",
    ]
    assert ratios["value"].tolist()[:3] == [1.5, 1.0, 0.6]
    assert ratios["low"].tolist()[2] == pytest.approx(0.98 * 0.6)
    assert ratios["words"].tolist()[2:] == [
        "0.60 0.59 to 0.61",
        "not supported: no instructions for bf16",
    ]
    memory = small[small["measure"] == "peak memory (GB)"]
    assert memory["value"].tolist() == [5.7, 5.7, 4.0]
    assert memory["words"].tolist()[2] == "4.00 GB 67 % of peak"
    # Of fewer than six rounds, their range.
    large = data[data["panel"].str.contains("512")]
    assert large[["value", "low", "high"]].to_numpy()[0].tolist() == pytest.approx(
        [0.8, 0.76, 0.84]
    )
    assert large["words"].tolist()[1] == "5.70 GB no peak"
    assert "reference: fp32, PyTorch, 6.00 s" in small["panel"].iloc[0]
    figure = plot_sheet(ladder(rows, tmp_path))
    assert faults(figure) == []
    text = " ".join(texts(figure))
    assert "medians of 3 to 6 rounds" in text.lower()
    assert "Other processes used the device in 1 race" in text
    references = [line for line in figure.axes[0].lines if points(line)[0] == [1.0, 1.0]]
    assert len(references) == 3
    assert not [line for line in figure.axes[1].lines if points(line)[0] == [1.0, 1.0]]


def test_races_of_another_machine_are_hatched_in_a_panel_of_their_own(tmp_path: Path) -> None:
    rows = [race_row(0.9), race_row(0.7, campaign="lab-2026-11")]
    own, theirs = ladder(rows, tmp_path).panels
    assert "published" not in own.title and "published: lab-2026-11" in theirs.title
    assert not own.rows[0].published and theirs.rows[0].published


def test_files_are_written(tmp_path: Path) -> None:
    table = write_rows([latency_row(SHAPES, 0.5)], tmp_path / "results.csv", RESULTS)
    files = figure_files(tmp_path)
    save_sheet(speed_sheet(table, published(LAMBDA)), files)
    assert files.png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files.svg.read_text()
    data = pd.read_csv(files.csv)
    own = data[~data["published"]]
    assert own[["measure", "value", "low", "high"]].to_numpy().tolist() == [
        ["seconds per image", 0.5, pytest.approx(0.485), pytest.approx(0.515)]
    ]


def test_whiskers_are_the_quartiles(tmp_path: Path) -> None:
    figure: Figure = plot_sheet(speed([latency_row(SHAPES, 0.5)], tmp_path, []))
    spans = [
        np.asarray(path.vertices)[:, 0].tolist()
        for collection in figure.axes[0].collections
        for path in collection.get_paths()
    ]
    assert spans and all(span == pytest.approx([0.485, 0.515]) for span in spans)


def test_a_ratio_within_the_noise_is_said_to_be(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 1.00, noise=0.1),
        latency_row({**SHAPES, "options": "autocast"}, 1.05, noise=0.1),
        latency_row({**SHAPES, "precision": "bf16"}, 1.00, noise=0.1),
        latency_row({**SHAPES, "precision": "bf16", "options": "autocast"}, 1.30, noise=0.1),
    ]
    path = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = autocast_speed_sheet(path).panels
    extras = [row.cells[0].extra for row in panel.rows if row.pale]
    assert f"1.05 {TIMES} without (within the noise)" in extras[0]
    assert extras[1].endswith(f"1.30 {TIMES} without")


def test_a_speed_that_fails_the_gate_is_marked(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 1.0, passes_gate=True),
        latency_row({**SHAPES, "precision": "bf16"}, 0.5, passes_gate=False, contended=True),
    ]
    path = write_rows(rows, tmp_path / "results.csv", RESULTS)
    sheet = speed_sheet(path, published([]))
    (panel,) = sheet.panels
    marked = {row.precision: "fails the quality gate" in row.cells[0].extra for row in panel.rows}
    assert marked == {"fp32": False, "bf16": True}
    assert "Other processes used the device just before 1 row" in sheet.footnote


def test_parts_share_one_scale_and_say_their_share(tmp_path: Path) -> None:
    path = write_rows([latency_row(SHAPES, 2.0)], tmp_path / "results.csv", RESULTS)
    sheet = parts_sheet(path)
    figure = plot_sheet(sheet)
    assert [bars(axes)[0].get_width() for axes in figure.axes] == pytest.approx([1.8, 0.16, 0.04])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert "90.0 %, 90.0 ms" in texts(figure)


def test_a_reason_is_said_once_for_all_columns(tmp_path: Path) -> None:
    reason = "this processor has no instructions for bfloat16"
    rows = [latency_row(SHAPES, 2.0), failed_row(BF16, "unsupported", reason=reason)]
    path = write_rows(rows, tmp_path / "results.csv", RESULTS)
    figure = plot_sheet(cold_start_sheet(path))
    assert texts(figure).count(f"not supported: {reason}") == 1
    assert faults(figure) == []


def test_likeness_stands_beside_speed(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 2.0, ssim=1.0, psnr_db=float("inf")),
        latency_row(BF16, 1.0, ssim=0.85, psnr_db=19.0, passes_gate=False),
        latency_row({**SHAPES, "options": "channels-last"}, 1.5),
    ]
    path = write_rows(rows, tmp_path / "results.csv", RESULTS)
    (panel,) = speed_quality_sheet(path).panels
    cells = {row.label: row.cells for row in panel.rows}
    assert list(cells) == ["bf16", "fp32, channels-last", "fp32"]  # the fastest first
    assert cells["bf16"][0].extra == f"0.50 {TIMES}, fails the quality gate"
    assert (cells["bf16"][1].value, cells["bf16"][1].text) == (0.85, "0.850")
    assert cells["bf16"][1].extra == "19.0 dB"
    assert cells["fp32"][1].extra == "identical"
    assert cells["fp32, channels-last"][1].text == "not compared"


def test_cost_is_that_of_the_best_batch(tmp_path: Path) -> None:
    rows = [
        throughput_row(SHAPES, 20.0, energy_j_per_image=90.0, energy_source="rapl"),
        throughput_row(SHAPES, 30.0, batch_size=4, energy_j_per_image=60.0, energy_source="rapl"),
        failed_row(SHAPES, "oom", batch_size=8),
    ]
    path = write_rows(rows, tmp_path / "results.csv", RESULTS)
    ((row,),) = [panel.rows for panel in cost_sheet(path).panels]
    assert (row.cells[0].value, row.cells[0].extra) == (60.0, "batch 4")
    assert row.cells[1].text == "the config has no price"


def test_what_follows_from_a_rate_has_its_interval(tmp_path: Path) -> None:
    path = write_rows([limited_row(SHAPES, 0.4)], tmp_path / "results.csv", RESULTS)
    ((limit,),) = [panel.rows for panel in utilization_sheet(path).panels]
    assert (limit.cells[0].low, limit.cells[0].high) == pytest.approx((39.2, 40.8))
    priced = throughput_row(SHAPES, 30.0, cost_per_1000_images=5.0, currency="EUR")
    path = write_rows([priced], tmp_path / "results.csv", RESULTS)
    ((cost,),) = [panel.rows for panel in cost_sheet(path).panels]
    # Dearer where it is slower.
    assert (cost.cells[1].low, cost.cells[1].high) == pytest.approx((5 / 1.02, 5 / 0.98))
