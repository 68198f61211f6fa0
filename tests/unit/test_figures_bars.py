"""Figures of bars: what each shows of a table, and what holds for all of them."""

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors

from sdbench.analysis.estimates import Estimate
from sdbench.report.figures import style
from sdbench.report.figures.memory import ABOVE_LOAD, AFTER_RUN
from sdbench.report.figures.panels import plot_sheet, save_sheet
from sdbench.report.figures.sheets import Cell, Sheet, ratio_text
from sdbench.runtime.progress import SAID
from sdbench.tables.labels import TIMES
from sdbench.tables.published import FP32_TF32
from tests.unit import tables_factory as made
from tests.unit.figure_reading import bars, faults, lines, points, sheet_of, texts
from tests.unit.tables_factory import RACE, SD_V1, SHAPES, Row, failed_row, latency_row

Make = Callable[..., Sheet]

LAMBDA = ["lambda-2022-10"]
BF16 = SHAPES | {"precision": "bf16"}
AUTOCAST = SHAPES | {"options": "autocast"}
FUSED = {"backend": "onnxruntime", "attention": "fused"}
ONNX = SHAPES | FUSED
VANILLA = {"options": "attention-vanilla", "attention": "vanilla"}
ATTENTIONS = [SHAPES | VANILLA, SHAPES, ONNX, BF16]
UNSURE = {"noise": 0.5, "contended": True}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the sheet of a figure of bars, of rows and of what others published."""
    return lambda name, rows, campaigns=(): sheet_of(name, rows, tmp_path, campaigns)


def ran(base: Row, seconds: float, gigabytes: float, share: float, **changes: Any) -> Row:
    row = made.limited_row(latency_row(base | changes, seconds), share)
    return made.memory_row(row, gigabytes) | changes


ENERGY = {"energy_source": "rapl", "energy_j_per_image": 90.0}
TF32 = {"precision": "tf32"}
ROWS = [
    ran(SHAPES, 0.5, 1.0, 0.25, noise=0.15, ssim=1.0, psnr_db=inf, passes_gate=True, **ENERGY),
    ran(SHAPES, 0.9, 1.5, 1.5, batch_size=2, **ENERGY | {"energy_j_per_image": 60.0}),
    ran(SHAPES, 1.4, 2.0, 1.4, batch_size=3, largest=True, **ENERGY),
    failed_row(SHAPES, "oom", batch_size=4),
    ran(AUTOCAST, 0.525, 1.1, 0.375, noise=0.15),
    ran(SHAPES | VANILLA, 0.75, 2.0, 0.2),
    ran(BF16, 0.25, 0.5, 0.5, ssim=0.85, psnr_db=19.0, passes_gate=False),
    ran(AUTOCAST | {"precision": "bf16"}, 0.325, 0.5, 0.3),
    ran(AUTOCAST | {"precision": "fp16"}, 0.3, 0.7, 0.4),
    ran(ONNX, 0.4, 1.5, 0.6),
    failed_row(BF16 | FUSED, "error"),
    failed_row(ONNX | {"precision": "fp16"}, "oom"),
    # Neither its memory nor the peak of its precision was measured.
    made.throughput_row(latency_row(SHAPES | TF32, 0.6), 20.0, throughput_tflops=0.05),
    failed_row(ONNX | TF32, "unsupported", reason="no TF32 here"),
]
SAYS = {
    "speed": [
        "fp32, PyTorch: 0.5 n = 12",
        "bf16, PyTorch: 0.25 n = 12, fails the quality gate",
        "fp16, PyTorch, autocast: 0.3 n = 12",
        "fp32, ONNX Runtime: 0.4 n = 12",
        "bf16, ONNX Runtime: failed: see its log",
        "fp16, ONNX Runtime: out of memory",
        "tf32, PyTorch: 0.6 n = 12",
        "tf32, ONNX Runtime: not supported: no TF32 here",
    ],
    "throughput": [
        "fp32, PyTorch: 1800 batch 2, 4 does not fit, n = 7",
        "bf16, PyTorch: 600 batch 1, n = 7, fails the quality gate",
        "fp16, PyTorch, autocast: 480 batch 1, n = 7",
        "fp32, ONNX Runtime: 720 batch 1, n = 7",
        "bf16, ONNX Runtime: failed: see its log",
        "fp16, ONNX Runtime: out of memory",
        "tf32, PyTorch: 20 batch 1, n = 7",
        "tf32, ONNX Runtime: not supported: no TF32 here",
    ],
    "autocast_speed": [
        "fp32: 0.5 n = 12",
        "fp32, autocast (pale): 0.525 n = 12, 1.05 x without",
        "bf16: 0.25 n = 12, fails the quality gate",
        "bf16, autocast (pale): 0.325 n = 12, 1.30 x without",
        "fp16, autocast (pale): 0.3 n = 12, not measured without",
    ],
    "autocast_memory": [
        "fp32: 1 ● 0.600",
        "fp32, autocast (pale): 1.1 ● 0.660, 1.10 x without",
        "bf16: 0.5 ● 0.300",
        "bf16, autocast (pale): 0.5 ● 0.300, 1.00 x without",
        "fp16, autocast (pale): 0.7 ● 0.420, not measured without",
    ],
    "attention": [
        "fp32, SDPA: 0.5 | 0.4",
        "fp32, fused (ONNX Runtime): 0.4 0.80 x | 0.6 1.50 x",
        "fp32, vanilla: 0.75 1.50 x | 0.8 2.00 x",
        f"tf32, SDPA: 0.6 | {ABOVE_LOAD}: not recorded",
        "tf32, fused (ONNX Runtime): not supported: no TF32 here | ",
        "bf16, SDPA: 0.25 fails the quality gate | 0.2",
        "bf16, fused (ONNX Runtime): failed: see its log | ",
    ],
    "utilization": [
        "fp32, PyTorch: 150 0.300 of 0.200 TFLOP/s (convolution), batch 2",
        "fp32, PyTorch, autocast: 37.5 0.0750 of 0.200 TFLOP/s (convolution), batch 1",
        "fp32, PyTorch, vanilla attention: 20 0.0400 of 0.200 TFLOP/s (convolution), batch 1",
        "fp32, ONNX Runtime: 60 0.120 of 0.200 TFLOP/s (convolution), batch 1",
        "tf32, PyTorch: 0.0500 TFLOP/s; peak not measured",
        "tf32, ONNX Runtime: not supported: no TF32 here",
        "bf16, PyTorch: 50 0.100 of 0.200 TFLOP/s (convolution), fails the quality gate",
        "bf16, PyTorch, autocast: 30 0.0600 of 0.200 TFLOP/s (convolution), batch 1",
        "bf16, ONNX Runtime: failed: see its log",
        "fp16, PyTorch, autocast: 40 0.0800 of 0.200 TFLOP/s (convolution), batch 1",
        "fp16, ONNX Runtime: out of memory",
    ],
    "speed_quality": [
        "bf16, PyTorch: 0.25 0.50 x | 0.85 19.0 dB, fails the quality gate",
        "fp16, PyTorch, autocast: 0.3 0.60 x | not compared",
        "bf16, PyTorch, autocast: 0.325 0.65 x | not compared",
        "fp32, ONNX Runtime: 0.4 0.80 x | not compared",
        "fp32, PyTorch: 0.5 | 1 identical",
        "fp32, PyTorch, autocast: 0.525 1.05 x | not compared",
        "tf32, PyTorch: 0.6 1.20 x | not compared",
        "fp32, PyTorch, vanilla attention: 0.75 1.50 x | not compared",
        "bf16, ONNX Runtime: failed: see its log | ",
        "fp16, ONNX Runtime: out of memory | ",
        "tf32, ONNX Runtime: not supported: no TF32 here | ",
    ],
    "cost": [
        "fp32: 60 batch 2 | the config has no price",
    ],
}
"""What the rows of the one panel of a figure say, of `ROWS`."""


@pytest.mark.parametrize("name", SAYS)
def test_a_figure_says_what_its_table_says(name: str, make: Make) -> None:
    sheet = make(name, ROWS)
    (panel,) = sheet.panels
    assert lines(panel) == SAYS[name]
    plotted = plot_sheet(sheet)
    assert faults(plotted) == []
    lengths = [row.cells[0].value for row in panel.rows if row.cells[0].value is not None]
    assert [bar.get_width() for bar in bars(plotted.axes[0])] == pytest.approx(lengths)
    said = [words for row in panel.rows for cell in row.cells for words in (cell.text, cell.extra)]
    for words in said:
        assert any(words[:20] in text for text in texts(plotted))  # a long one is cut


def test_a_precision_has_its_colour_measured_or_published(make: Make) -> None:
    own, *others = bars(
        plot_sheet(make("speed", [latency_row(SD_V1 | {"precision": "fp16"}, 1.0)], LAMBDA)).axes[0]
    )
    fp16 = colors.to_rgba(style.PRECISIONS["fp16"])
    assert own.get_facecolor() == fp16
    assert own.get_hatch() is None
    assert all(bar.get_hatch() == style.HATCH for bar in others)
    assert [bar.get_edgecolor() == fp16 for bar in others].count(True) == 6


def test_published_rows_share_a_panel_only_where_conditions_agree(make: Make) -> None:
    same = make("speed", [latency_row(SD_V1, 4.0)], LAMBDA)
    assert [{row.published for row in p.rows} for p in same.panels] == [{False, True}, {True}]
    # What others call fp32 is not the fp32 measured here.
    precisions = {row.group: row.precision for row in same.panels[0].rows if "16" not in row.label}
    assert precisions["H100 80GB HBM3 (gpu)"] == precisions["Quadro RTX 8000"] == "fp32"
    assert precisions["A100 80GB PCIe"] == FP32_TF32
    other = make("speed", [latency_row(SD_V1 | {"steps": 30}, 4.0)], LAMBDA)
    assert [{row.published for row in p.rows} for p in other.panels] == [{False}, {True}, {True}]
    assert [panel.title.endswith("(published)") for panel in other.panels] == [False, True, True]


def test_the_rtx_3080_ran_out_of_memory(make: Make) -> None:
    rows = [row for p in make("speed", [], LAMBDA).panels for row in p.rows]
    cells = [row.cells[0] for row in rows if row.group == "RTX 3080"]
    assert [cell.value for cell in cells] == [None, 5.59]
    assert cells[0].text == "out of memory"


def test_seeded_weights_are_named(make: Make) -> None:
    rows = [latency_row(SD_V1 | {"weights": "seeded"}, 4.0)]
    assert make("speed", rows).panels[0].title.endswith("(weights: seeded)")
    mixed = make("speed", rows, LAMBDA).panels[0].title
    assert mixed.endswith("(weights measured here: seeded)")


def test_other_batch_sizes_are_not_shown_as_the_first(make: Make) -> None:
    sheet = make("speed", [latency_row(SHAPES | {"batch_size": 2}, 0.5)])
    assert not sheet.panels
    assert any("batch size 1" in text for text in texts(plot_sheet(sheet)))


def test_what_else_used_the_device_is_a_footnote_of_times_alone(make: Make) -> None:
    said = "Other processes used the device just before 1 row"
    for name in ("speed", "memory", "autocast_memory"):
        row = made.memory_row(latency_row(AUTOCAST, 1.0), 2.0, **UNSURE)
        assert (said in make(name, [row]).footnote) == (name == "speed")


def test_devices_shows_the_fastest_settings(make: Make) -> None:
    rows = [
        latency_row(SD_V1, 4.0),
        latency_row(SD_V1 | {"precision": "fp16", "options": "autocast"}, 1.5),
        latency_row(SD_V1 | {"precision": "bf16"}, 2.0),
        failed_row(SD_V1 | {"device": "cpu", "device_name": None}, "oom"),
    ]
    (panel,) = make("devices", rows, LAMBDA).panels
    assert panel.log
    first, last = panel.rows[0], panel.rows[-1]
    assert (first.group, first.cells[0].value) == ("H100 80GB HBM3 (gpu)", 1.5)
    assert first.label.startswith("fp16, PyTorch, autocast")
    assert (last.group, last.cells[0].text) == ("cpu", "out of memory")
    # The published CPUs ran both backends.
    assert len(panel.rows) == 1 + 6 + 4 + 1


def test_throughput_is_that_of_the_best_batch_and_not_of_the_largest(make: Make) -> None:
    """Which batch is the largest is for the config to say, and another for each device."""
    rows = [made.throughput_row(SHAPES, rate, batch_size=n) for n, rate in ((2, 30.0), (8, 20.0))]
    cpu, _, gpus = make("throughput", rows, LAMBDA).panels
    assert lines(cpu) == ["fp32: 30 batch 2, n = 7"]
    assert "fp16, autocast, vanilla attention: 26.3 batch 28" in lines(gpus)


def test_memory_keeps_counters_apart(make: Make) -> None:
    cpu = SD_V1 | {"device": "cpu", "device_kind": "cpu"}
    rows = [made.memory_row(SD_V1, 6.0), made.memory_row(cpu, 5.0)]
    peak, after, resident = make("memory", rows, LAMBDA).panels
    assert "peak memory of the process on the GPU" in peak.title
    assert lines(peak) == ["fp32: 6 ◆ 4.80  ▲ 4.20"]
    assert dict(peak.rows[0].cells[0].marks) == pytest.approx({"D": 4.8, "^": 4.2})
    assert "as in 2022" in after.title
    assert after.rows[0].cells[0].value == pytest.approx(4.2)
    assert sum(row.published for row in after.rows) == 12
    assert lines(resident) == ["fp32: 5 ● 3.00"]
    assert dict(resident.rows[0].cells[0].marks) == pytest.approx({"o": 3.0})
    # That of another counter has a panel of its own.
    panels = make("memory", rows[:1], ["onnxruntime-2023-02"]).panels
    assert [any(row.published for row in panel.rows) for panel in panels] == [False, False, True]
    assert "NVML" in panels[-1].title


def test_each_kind_of_gpu_has_panels_of_its_own_and_the_counters_that_it_has(make: Make) -> None:
    mac = SD_V1 | {"device": "mac", "device_kind": "mps", "device_name": "Apple M2"}
    arc = made.memory_row(SD_V1 | {"device": "arc", "device_kind": "xpu"}, 5.0)
    rows = [made.memory_row(SD_V1, 6.0), mac | {"reserved_after_run_bytes": 7e9}, arc]
    panels = make("memory", rows).panels
    kinds = ["GPU", "GPU", "Apple GPU", "Intel GPU", "Intel GPU"]
    assert [panel.title.partition(":")[0] for panel in panels] == kinds
    assert panels[2].title.endswith(AFTER_RUN)
    assert lines(panels[2]) == ["fp32: 7"]
    sheet = make("devices", [latency_row(mac, 9.0)], LAMBDA)
    assert any("Apple M2" in row.group for panel in sheet.panels for row in panel.rows)


def test_utilization_has_a_dot_for_each_batch_size_and_a_line_at_the_peak(make: Make) -> None:
    sizes = {1: 0.25, 2: 0.75, 4: 0.5}
    rows = [made.limited_row(SHAPES, share, batch_size=size) for size, share in sizes.items()]
    sheet = make("utilization", [*rows, made.limited_row(BF16, 1.5)])
    cells = [row.cells[0] for row in sheet.panels[0].rows]
    assert (cells[0].text, cells[0].marks) == ("75 %", (("o", 25.0), ("o", 75.0), ("o", 50.0)))
    axes = plot_sheet(sheet).axes[0]
    assert len([line for line in axes.lines if set(points(line)[0]) == {100.0}]) == 2
    # More than the peak is shown where that was measured.
    assert axes.get_xlim()[1] > 150
    below = plot_sheet(make("utilization", rows)).axes[0]
    assert below.get_xlim()[1] > 100
    # A model whose operations could not be counted keeps nothing from the others.
    uncounted = made.throughput_row(SHAPES | {"backend": "openvino"}, 60.0)
    texts_of = [row.cells[0].text for row in make("utilization", [*rows, uncounted]).panels[0].rows]
    assert sorted(texts_of) == ["75 %", "its operations were not counted"]


def test_the_ladder_goes_from_the_slowest_to_the_fastest(make: Make, tmp_path: Path) -> None:
    few = {"ratio_ci_low": None, "ratio_ci_high": None, "rounds": 3}
    sheet = make(
        "ladder",
        [
            made.race_row(1.0),
            made.failed_race("unsupported", precision="bf16", reason="no instructions for bf16"),
            made.race_row(0.6, **FUSED, memory_bytes=4e9, utilization=0.67),
            made.race_row(1.5, **VANILLA),
            made.race_row(0.8, **FUSED, **few, width=512, utilization=None, contended=True),
        ],
    )
    small, large = sheet.panels
    assert lines(small) == [
        "fp32, PyTorch, attention-vanilla: 1.5 1.47 to 1.53 | 5.7 27 % of peak product",
        "fp32, PyTorch, against itself: 1 0.98 to 1.02 | 5.7 40 % of peak product",
        "fp32, ONNX Runtime: 0.6 0.59 to 0.61 | 4 67 % of peak product",
        "bf16, PyTorch: not supported: no instructions for bf16 | ",
    ]
    assert "reference: fp32, PyTorch, 6.00 s" in small.title
    # Of fewer than three launches, their range.
    assert lines(large) == ["fp32, ONNX Runtime: 0.8 0.76 to 0.84 | 5.7 no peak"]
    assert "medians of 3 to 6 rounds. Other processes used the device in 1 race" in sheet.footnote
    figure = plot_sheet(sheet)
    assert faults(figure) == []
    references = [
        sum(points(line)[0] == [1.0, 1.0] for line in axes.lines) for axes in figure.axes[:2]
    ]
    assert references == [3, 0]
    save_sheet(sheet, made.figure_files(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv").set_index("measure")
    times = data.loc["time / that of the reference", ["value", "low", "high"]].to_numpy()
    assert times[2].tolist() == pytest.approx([0.6, 0.98 * 0.6, 1.02 * 0.6])
    assert times[-1].tolist() == pytest.approx([0.8, 0.76, 0.84])
    assert data["value"].loc[["peak memory (GB)"]].tolist() == [5.7, 5.7, 4.0, 5.7]


def test_races_of_another_machine_are_hatched_in_a_panel_of_their_own(make: Make) -> None:
    """Also where its processor has the same name: they are named with their campaign."""
    rows = [made.race_row(0.9), made.race_row(0.7, campaign="lab-2026-11", rounds=2)]
    sheet = make("ladder", rows)
    own, theirs = sheet.panels
    elsewhere = "not run here but on AMD EPYC 7B13 (lab-2026-11)"
    assert "not run here" not in own.title and elsewhere in theirs.title
    assert not own.rows[0].published and theirs.rows[0].published
    assert "Raced here: AMD EPYC 7B13; medians of 6 rounds." in sheet.footnote
    assert "lab-2026-11, another run: AMD EPYC 7B13; medians of 2 rounds." in sheet.footnote
    assert "raced on another machine (resources/races/)" in texts(plot_sheet(sheet))


def test_races_on_unlike_processors_share_no_panel(make: Make) -> None:
    """Of one device of the config, whose jobs a cluster put on two kinds of node."""
    names = [{"device_name": f"AMD EPYC, {kind}"} for kind in ("AVX2", "AVX-512 BF16")]
    rows = [made.race_row(0.9, **names[0]), made.race_row(0.7, **FUSED, **names[1])]
    groups = [panel.rows[0].group for panel in make("ladder", rows).panels]
    assert groups == ["AMD EPYC, AVX2", "AMD EPYC, AVX-512 BF16"]


@pytest.mark.parametrize(
    ("own", "base", "text"),
    [
        ((1.05, 1.0, 1.1), (1.0, 0.95, 1.02), "1.05 x (cannot be told apart)"),
        ((1.2, 1.1, 1.3), (1.0, 0.95, 1.02), "1.20 x"),
        ((1.2, None, None), (1.0, 0.95, 1.02), "1.20 x"),
    ],
)
def test_a_ratio_says_where_intervals_overlap(own: Any, base: Any, text: str) -> None:
    mine, other = (Cell(ends[0], "", estimate=Estimate(*ends)) for ends in (own, base))
    assert ratio_text(mine, other).replace(TIMES, "x") == text


def test_whiskers_are_the_interval(make: Make) -> None:
    axes = plot_sheet(make("speed", [latency_row(SHAPES, 0.5)])).axes[0]
    paths = [path for collection in axes.collections for path in collection.get_paths()]
    spans = [np.asarray(path.vertices)[:, 0].tolist() for path in paths]
    assert spans and all(span == pytest.approx([0.49, 0.51]) for span in spans)


def test_parts_share_one_scale_and_a_reason_is_said_once_for_all_columns(make: Make) -> None:
    rows = [latency_row(SHAPES, 2.0), failed_row(BF16, "unsupported", reason="no bfloat16 here")]
    parts, cold = make("parts", rows), make("cold_start", rows)
    assert lines(parts.panels[0])[0] == "fp32: 1.8 90.0 % | 0.16 8.0 % | 0.04 2.0 % | 0.09"
    assert lines(cold.panels[0]) == [
        "fp32: 4 2.00 x |  | 3 1.50 x | 2 n = 12",
        "bf16: not supported: no bfloat16 here |  |  | ",
    ]
    figure = plot_sheet(parts)
    widths = [bars(axes)[0].get_width() for axes in figure.axes]
    assert widths == pytest.approx([1.8, 0.16, 0.04, 0.09])
    decoder = parts.panels[0].rows[0].cells[1]
    assert (decoder.low, decoder.high) == pytest.approx((0.14, 0.18))
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    figure = plot_sheet(cold)
    assert texts(figure).count("not supported: no bfloat16 here") == 1
    assert faults(figure) == []


def test_what_follows_from_a_rate_has_its_interval(make: Make) -> None:
    limit = make("utilization", [made.limited_row(SHAPES, 0.4)]).panels[0].rows[0].cells[0]
    assert (limit.low, limit.high) == pytest.approx((39.2, 40.8))
    priced = made.throughput_row(SHAPES, 30.0, cost_per_1000_images=5.0, currency="EUR")
    cost = make("cost", [priced]).panels[0].rows[0].cells[1]
    # Dearer where it is slower.
    assert (cost.low, cost.high) == pytest.approx((5 / 1.02, 5 / 0.98))


def ok_row(name: str, base: dict[str, Any]) -> dict[str, Any]:
    if "memory" in name:
        return made.memory_row(base, 6.0)
    if name in ("throughput", "cost"):
        return made.throughput_row(base, 20.0, energy_j_per_image=90.0, energy_source="nvml")
    if name == "utilization":
        return made.limited_row(base, 0.4)
    if name == "ladder":
        return made.race_row(0.7, **{key: value for key, value in base.items() if key in RACE})
    return latency_row(base, 4.0)


MANY = ["speed", "devices", "throughput", "memory", "utilization", "ladder", "parts", "cold_start",
        "speed_quality", "cost"]  # fmt: skip
"""Figures that have a row for every device and precision."""
ALL = [*MANY, "autocast_speed", "autocast_memory", "attention"]


@pytest.mark.parametrize("name", ALL)
def test_an_empty_table_still_makes_a_figure_that_says_so(name: str, make: Make) -> None:
    sheet = make(name, [])
    assert not sheet.panels
    figure = plot_sheet(sheet)
    assert " ".join(sheet.missing.split()) in texts(figure)
    assert faults(figure) == []


@pytest.mark.parametrize("name", ["cost", "ladder", "autocast_speed"])
def test_an_empty_figure_says_so_on_the_terminal(
    name: str, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, files = make(name, []), made.figure_files(tmp_path)
    save_sheet(sheet, files)
    assert capsys.readouterr().out == f"{SAID}{files.png} is empty: {sheet.missing}\n"
    save_sheet(make(name, [ok_row(name, AUTOCAST)]), files)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [name for name in ALL if name != "cost"])
def test_failures_alone_make_a_figure_of_words(name: str, make: Make) -> None:
    base = SHAPES | {"reason": "a message of a library that goes on and on and says where it was"}
    rows = [
        base | {"device_name": None, "precision": precision, "status": status, **option}
        for precision, status in (("fp32", "oom"), ("bf16", "error"), ("fp16", "unsupported"))
        for option in ({}, {"options": "autocast"}, VANILLA)
    ]
    if name == "ladder":
        rows = [RACE | {k: v for k, v in row.items() if k in RACE} for row in rows]
    figure = plot_sheet(make(name, rows))
    assert sum(len(axes.patches) for axes in figure.axes) == 0
    assert "out of memory" in texts(figure)
    assert faults(figure) == []


@pytest.mark.parametrize("name", [name for name in ALL if name != "attention"])
def test_one_row_makes_a_figure(name: str, make: Make) -> None:
    sheet = make(name, [ok_row(name, AUTOCAST)])
    assert len(sheet.panels) == 1
    assert faults(plot_sheet(sheet)) == []


@pytest.mark.parametrize("name", MANY)
def test_nothing_overlaps_with_forty_devices_and_long_names(name: str, make: Make) -> None:
    count = 40 if name == "speed" else 8  # what many rows do to one, they do to all
    both = SD_V1, SD_V1 | {"precision": "fp16"}
    rows = [ok_row(name, row) for row in made.long_names(count, *both)]
    assert faults(plot_sheet(make(name, rows, LAMBDA))) == []


def test_the_answer_has_no_time_that_was_taken_beside_other_work(make: Make) -> None:
    rows = [ran(BF16, 0.1, 0.5, 0.5, contended=True), ran(SHAPES, 0.5, 1.0, 0.25)]
    (panel,) = make("answer", rows).panels
    assert lines(panel) == ["fp32: 0.5 n = 12 | 1", "bf16: device in use by others | 0.5"]
