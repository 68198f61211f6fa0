from collections.abc import Sequence
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from plot_batch_throughput import batch_sheet
from plot_quality_curve import quality_sheet
from plot_threads import threads_sheet
from sdbench.report.figures import style
from sdbench.report.figures.curves import CurveSheet, plot_curves, save_curves, spread_apart
from sdbench.tables.schemas import QUALITY, RESULTS
from tests.unit import tables_factory as made
from tests.unit.figure_reading import faults, points, texts
from tests.unit.tables_factory import SD_V1, SHAPES, Rows, failed_row, latency_row, throughput_row

BF16 = SHAPES | {"precision": "bf16"}
SWEEP = [
    throughput_row(SD_V1, 20.0, batch_size=1),
    throughput_row(SD_V1, 28.0, batch_size=2),
    throughput_row(SD_V1, 30.0, batch_size=4, largest=True),
    failed_row(SD_V1, "oom", batch_size=8),
    failed_row(SD_V1 | {"precision": "bf16"}, "unsupported"),
]
LAMBDA = ["lambda-2022-10"]


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return points(found)


def batches(rows: Rows, folder: Path, campaigns: Sequence[str] = ()) -> CurveSheet:
    table = made.write_rows(rows, folder / "results.csv", RESULTS)
    return batch_sheet(table, made.published(campaigns))


def test_curves_go_through_the_numbers_and_end_where_memory_does(
    tmp_path: Path,
) -> None:
    figure = plot_curves(batches(SWEEP, tmp_path))
    axes = figure.axes[0]
    assert line(axes, "fp32") == ([1, 2, 4], [20, 28, 30])
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    assert [points(cross) for cross in crosses] == [([8.0], [30.0])]
    assert {"does not fit in memory", "bf16, batch 1: not supported"} <= set(texts(figure))


def test_published_curves_are_dashed_and_hollow(tmp_path: Path) -> None:
    sheet = batches(SWEEP, tmp_path, LAMBDA)
    titles = [plot.title for plot in sheet.sections[0].plots]
    axes = plot_curves(sheet).axes[titles.index("A100 80GB PCIe")]
    label = "fp16, autocast, vanilla attention"
    x, y = line(axes, label)
    assert (x[-1], y[-1]) == (28, 26.3)
    (plotted,) = [line for line in axes.lines if line.get_label() == label]
    assert plotted.is_dashed()
    assert plotted.get_markerfacecolor() == style.PAPER
    assert plotted.get_color() == style.PRECISIONS["fp16"]


@pytest.mark.parametrize(
    ("rows", "points"),
    [
        ([], 0),
        ([throughput_row(SHAPES, 20.0)], 0),
        ([failed_row(SHAPES, "oom"), failed_row(BF16, "error")], 0),
        (SWEEP, 3),
    ],
)
def test_files_are_written_whatever_the_table_holds(
    rows: Rows, points: int, tmp_path: Path
) -> None:
    sheet = batches(rows, tmp_path)
    files = made.figure_files(tmp_path)
    save_curves(sheet, files)
    assert files.png.stat().st_size and files.svg.stat().st_size
    assert len(pd.read_csv(files.csv)) == points
    assert faults(plot_curves(sheet)) == []
    if len(rows) == 1:  # one batch size is no curve
        assert "AMD EPYC 7B13 (cpu)" in sheet.sections[0].words


@pytest.mark.parametrize(
    ("rows", "campaigns"),
    [(SWEEP, [*LAMBDA, "lambda-2023-01-xformers"]), (made.long_names(6, *SWEEP), [])],
    ids=["published", "long names"],
)
def test_no_labels_of_curves_overlap(rows: Rows, campaigns: list[str], tmp_path: Path) -> None:
    assert faults(plot_curves(batches(rows, tmp_path, campaigns))) == []


THREADS = {"cpu": 2, "one": 1, "four": 4, "small": 1}


def threads_figure(rows: Rows, folder: Path) -> pd.DataFrame:
    """Plot the figure; `small` differs in its memory too."""
    told = [row | {"threads": THREADS[row["device"]]} for row in rows]
    sheet = threads_sheet(
        made.write_rows(told, folder / "results.csv", RESULTS),
        {device: "small" if device == "small" else "cpu" for device in THREADS},
    )
    save_curves(sheet, made.figure_files(folder))
    return pd.read_csv(folder / "figure.csv")


def test_time_over_threads_is_plotted_beside_ideal_scaling(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 1.0),
        latency_row({**SHAPES, "device": "four"}, 0.7),
        latency_row({**SHAPES, "device": "one"}, 1.6),
        latency_row({**SHAPES, "device": "small"}, 9.0),
        latency_row({**SHAPES, "device": "one", "batch_size": 2}, 3.0),
        latency_row(SHAPES | {"device": "one", "options": "autocast"}, 1.2),
        latency_row(BF16, 0.5),
        failed_row({**BF16, "device": "one"}, "unsupported"),
    ]
    data = threads_figure(rows, tmp_path)
    fp32 = data[data["setting"] == "fp32"].groupby("measure")
    time = fp32.get_group("seconds per image")
    assert time[["threads", "y"]].to_numpy().tolist() == [[1, 1.6], [2, 1.0], [4, 0.7]]
    assert time["low"].tolist() == pytest.approx([0.98 * 1.6, 0.98, 0.98 * 0.7])
    ideal = fp32.get_group("seconds per image: ideal scaling")
    assert ideal[["threads", "y"]].to_numpy().tolist() == [[1, 1.6], [2, 0.8], [4, 0.4]]
    # Where there is one number of threads alone, nothing scales.
    assert data[data["setting"] == "bf16"]["measure"].tolist() == ["seconds per image"]


def test_threads_of_unlike_processors_are_no_curve(tmp_path: Path) -> None:
    """A cluster may run devices that differ in threads alone on two kinds of node."""
    names = [{"device_name": f"AMD EPYC, {kind}"} for kind in ("AVX2", "AVX-512 BF16")]
    rows = [
        latency_row(SHAPES | {"device": device} | name, 1.0)
        for device, name in zip(("one", "four"), names, strict=True)
    ]
    assert threads_figure(rows, tmp_path).empty


def test_one_number_of_threads_is_said_to_be_no_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [latency_row(SHAPES, 1.0), latency_row({**SHAPES, "device": "small"}, 2.0)]
    assert threads_figure(rows, tmp_path).empty
    assert "figure.png is empty: Every case was measured with only" in capsys.readouterr().out
    families = dict.fromkeys(THREADS, "cpu") | {"small": "small"}
    sheet = threads_sheet(tmp_path / "results.csv", families)
    figure = plot_curves(sheet)
    assert any("measured with only one number of threads" in text for text in texts(figure))
    assert faults(figure) == []


def quality_table(folder: Path, **changes: object) -> Path:
    rows = made.quality_rows(
        BF16, "runs", [1, 10, 100], [20.0, 30.0, inf], [0.5, 0.9, 1.0], **changes
    )
    rows += made.quality_rows(BF16, "trajectory", [1, 2], [40.0, 45.0], [0.98, 0.99], **changes)
    return made.write_rows(rows, folder / "quality.csv", QUALITY)


def test_quality_has_both_metrics_of_both_modes(tmp_path: Path) -> None:
    figure = plot_curves(quality_sheet(quality_table(tmp_path)))
    psnr, ssim, states, _ = figure.axes
    x, y = line(psnr, "bf16, PyTorch")
    assert (x, y[:2]) == ([1, 10, 100], [20.0, 30.0])
    assert line(ssim, "bf16, PyTorch")[1] == [0.5, 0.9, 1.0]
    assert line(states, "bf16, PyTorch")[1] == [40.0, 45.0]
    assert faults(figure) == []
    # Identical images stand on a line of that name at the top.
    assert 30.0 < y[2] < psnr.get_ylim()[1]
    assert texts(figure).count("identical") == 1
    assert ([0.0, 1.0], [y[2], y[2]]) in [points(other) for other in psnr.lines]


def test_the_range_over_seeds_is_a_whisker_where_there_is_one(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("psnr_low_db", "psnr_high_db", "ssim_low", "ssim_high"))
    rows = made.quality_rows(BF16, "runs", [1, 2, 4], [40.0, inf, 45.0], [0.98, 1.0, 0.99])
    ends = {"psnr_low_db": 35.0, "psnr_high_db": inf, "ssim_low": 0.9, "ssim_high": 1.0}
    rows[0] |= {"seeds": 3} | ends
    rows[1] |= {"seeds": 3} | ends
    rows[2] |= {"seeds": 1} | nothing
    sheet = quality_sheet(made.write_rows(rows, tmp_path / "quality.csv", QUALITY))
    (curve,) = sheet.sections[0].plots[0].curves
    assert curve.low[:2] == (35.0, 35.0) and isnan(curve.low[2])
    figure = plot_curves(sheet)
    assert faults(figure) == [] and "range over seeds" in texts(figure)
    # The lowest end is in view, and the third point has no whisker.
    axes = figure.axes[0]
    assert axes.get_ylim()[0] < 35.0
    (whiskers,) = axes.containers
    spans = [segment[:, 1] for segment in whiskers[2][0].get_segments() if len(segment)]
    assert sum(bool(np.isfinite(span).all()) for span in spans) == 2


def test_quality_of_seeded_weights_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = quality_sheet(quality_table(tmp_path, weights="seeded"))
    assert [section.plots for section in sheet.sections] == [()]
    figure = plot_curves(sheet)
    assert any("seeded weights mean nothing" in text for text in texts(figure))
    assert not figure.axes
    save_curves(sheet, made.figure_files(tmp_path))
    said = f"{tmp_path}/figure.png is empty: images from seeded weights mean nothing"
    assert said in capsys.readouterr().out


def test_quality_says_what_failed_or_that_nothing_was_compared(tmp_path: Path) -> None:
    failed = {"status": "unsupported", "reason": "no bf16 here"}
    empty = {"max_abs_difference": None, "identical_share": None}
    rows = made.quality_rows(BF16, "runs", [1], [nan], [nan], **failed, **empty)
    table = tmp_path / "quality.csv"
    for written, said in ((rows, "bf16, PyTorch: not supported: no bf16 here"),
                          ([], "No images were compared")):  # fmt: skip
        made.write_rows(written, table, QUALITY)
        figure = plot_curves(quality_sheet(table))
        assert any(said in text for text in texts(figure))
        assert faults(figure) == []
        save_curves(quality_sheet(table), made.figure_files(tmp_path))


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0.05, 0.4)), min_size=1, max_size=30),
    st.floats(0.5, 3),
)
def test_labels_spread_apart_never_overlap(labels: list[tuple[float, float]], room: float) -> None:
    labels.sort()
    heights = [height for _, height in labels]
    placed = spread_apart([middle for middle, _ in labels], heights, room)
    assert placed[0] >= heights[0] / 2 - 1e-9
    for i in range(1, len(placed)):
        assert placed[i] - placed[i - 1] >= (heights[i - 1] + heights[i]) / 2 - 1e-9
    if sum(heights) <= room:
        assert placed[-1] <= room - heights[-1] / 2 + 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread_apart([0.5, 1.0], [0.1, 0.1], 2.0) == [0.5, 1.0]
