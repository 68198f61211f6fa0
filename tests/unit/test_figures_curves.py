from math import inf, nan
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from plot_batch_throughput import batch_sheet
from plot_quality_curve import quality_sheet
from plot_threads import threads_sheet
from sdbench.report.figures import style
from sdbench.report.figures.curves import plot_curves, save_curves, spread_apart
from sdbench.tables.schemas import PEAK_THROUGHPUT, QUALITY, RESULTS
from tests.unit.figure_reading import faults, points, texts
from tests.unit.tables_factory import (
    SD_V1,
    SHAPES,
    failed_row,
    figure_files,
    latency_row,
    published,
    quality_rows,
    throughput_row,
    write_rows,
)

BF16 = {**SHAPES, "precision": "bf16"}


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return points(found)


def throughput_rows() -> list[dict[str, object]]:
    return [
        throughput_row(SD_V1, 20.0, batch_size=1),
        throughput_row(SD_V1, 28.0, batch_size=2),
        throughput_row(SD_V1, 30.0, batch_size=4, largest=True),
        failed_row(SD_V1, "oom", batch_size=8),
        failed_row({**SD_V1, "precision": "bf16"}, "unsupported"),
    ]


def test_curves_go_through_the_numbers_of_the_table(tmp_path: Path) -> None:
    table = write_rows(throughput_rows(), tmp_path / "results.csv", RESULTS)
    axes = plot_curves(batch_sheet(table, published([]))).axes[0]
    assert line(axes, "fp32") == ([1, 2, 4], [20, 28, 30])


THREADS = {"cpu": 2, "one": 1, "four": 4, "small": 1}


def threads_figure(rows: list[dict[str, object]], folder: Path) -> pd.DataFrame:
    """Plot the figure; `small` differs in its memory too."""
    peaks = [
        {"device": device, "threads": count, "operation": "memory copy", "status": "ok", "n": 1}
        for device, count in THREADS.items()
    ]
    sheet = threads_sheet(
        write_rows(rows, folder / "results.csv", RESULTS),
        write_rows(peaks, folder / "peak_throughput.csv", PEAK_THROUGHPUT),
        {device: "small" if device == "small" else "cpu" for device in THREADS},
    )
    save_curves(sheet, figure_files(folder))
    return pd.read_csv(folder / "figure.csv")


def test_time_over_threads_is_plotted_beside_ideal_scaling(tmp_path: Path) -> None:
    rows = [
        latency_row(SHAPES, 1.0),
        latency_row({**SHAPES, "device": "four"}, 0.7),
        latency_row({**SHAPES, "device": "one"}, 1.6),
        latency_row({**SHAPES, "device": "small"}, 9.0),
        latency_row({**SHAPES, "device": "one", "batch_size": 2}, 3.0),
        latency_row({**SHAPES, "device": "one", "options": "autocast"}, 1.2),
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


def test_one_number_of_threads_is_said_to_be_no_curve(tmp_path: Path) -> None:
    rows = [latency_row(SHAPES, 1.0), latency_row({**SHAPES, "device": "small"}, 2.0)]
    assert threads_figure(rows, tmp_path).empty
    sheet = threads_sheet(
        tmp_path / "results.csv",
        tmp_path / "peak_throughput.csv",
        dict.fromkeys(THREADS, "cpu") | {"small": "small"},
    )
    figure = plot_curves(sheet)
    assert any("measured with only one number of threads" in text for text in texts(figure))
    assert faults(figure) == []


def test_where_memory_ends_is_marked(tmp_path: Path) -> None:
    table = write_rows(throughput_rows(), tmp_path / "results.csv", RESULTS)
    figure = plot_curves(batch_sheet(table, published([])))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert [points(cross) for cross in crosses] == [([8.0], [30.0])]
    assert "does not fit in memory" in texts(figure)
    assert "bf16, batch 1: not supported" in texts(figure)


def test_published_curves_are_dashed_and_hollow(tmp_path: Path) -> None:
    table = write_rows(throughput_rows(), tmp_path / "results.csv", RESULTS)
    sheet = batch_sheet(table, published(["lambda-2022-10"]))
    titles = [plot.title for plot in sheet.sections[0].plots]
    axes = plot_curves(sheet).axes[titles.index("A100 80GB PCIe")]
    x, y = line(axes, "fp16, autocast, vanilla attention")
    assert (x[-1], y[-1]) == (28, 26.3)
    (plotted,) = [i for i in axes.lines if i.get_label() == "fp16, autocast, vanilla attention"]
    assert plotted.is_dashed()
    assert plotted.get_markerfacecolor() == style.PAPER
    assert plotted.get_color() == style.PRECISIONS["fp16"]


def test_devices_with_one_batch_size_are_named_in_words(tmp_path: Path) -> None:
    table = write_rows([throughput_row(SHAPES, 20.0)], tmp_path / "results.csv", RESULTS)
    sheet = batch_sheet(table, published([]))
    assert "AMD EPYC 7B13 (cpu)" in sheet.sections[0].words


@pytest.mark.parametrize(
    ("rows", "points"),
    [
        ([], 0),
        ([throughput_row(SHAPES, 20.0)], 0),  # one batch size is no curve
        ([failed_row(SHAPES, "oom"), failed_row(BF16, "error")], 0),
        (throughput_rows(), sum(row["status"] == "ok" for row in throughput_rows())),
    ],
)
def test_batch_files_are_written_whatever_the_table_holds(
    rows: list[dict[str, object]], points: int, tmp_path: Path
) -> None:
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    files = figure_files(tmp_path)
    save_curves(batch_sheet(table, published([])), files)
    assert files.png.stat().st_size and files.svg.stat().st_size
    assert len(pd.read_csv(files.csv)) == points
    assert faults(plot_curves(batch_sheet(table, published([])))) == []


def test_nothing_overlaps_beside_published_curves(tmp_path: Path) -> None:
    table = write_rows(throughput_rows(), tmp_path / "results.csv", RESULTS)
    campaigns = ["lambda-2022-10", "lambda-2023-01-xformers"]
    assert faults(plot_curves(batch_sheet(table, published(campaigns)))) == []


def test_nothing_overlaps_with_many_devices_and_long_names(tmp_path: Path) -> None:
    devices = [f"node-{i:02d}-{'very-' * 9}long-name" for i in range(6)]
    rows = [
        {
            **row,
            "device": device,
            "device_name": f"NVIDIA Imaginary Accelerator Super Extended Edition {i}",
            "model": "sd-v1-" + "a-long-name-" * 4,
            "reason": "a reason that goes on and on, as the messages of libraries do " * 3,
        }
        for i, device in enumerate(devices)
        for row in throughput_rows()
    ]
    table = write_rows(rows, tmp_path / "results.csv", RESULTS)
    assert faults(plot_curves(batch_sheet(table, published([])))) == []


def quality_table(folder: Path, **changes: object) -> Path:
    rows = quality_rows(BF16, "runs", [1, 10, 100], [20.0, 30.0, inf], [0.5, 0.9, 1.0], **changes)
    rows += quality_rows(BF16, "trajectory", [1, 2], [40.0, 45.0], [0.98, 0.99], **changes)
    return write_rows(rows, folder / "quality.csv", QUALITY)


def test_quality_has_both_metrics_of_both_modes(tmp_path: Path) -> None:
    figure = plot_curves(quality_sheet(quality_table(tmp_path)))
    psnr, ssim, states, _ = figure.axes
    x, y = line(psnr, "bf16, PyTorch")
    assert (x, y[:2]) == ([1, 10, 100], [20.0, 30.0])
    assert line(ssim, "bf16, PyTorch")[1] == [0.5, 0.9, 1.0]
    assert line(states, "bf16, PyTorch")[1] == [40.0, 45.0]
    assert faults(figure) == []


def test_identical_images_stand_on_a_line_of_that_name_at_the_top(tmp_path: Path) -> None:
    figure = plot_curves(quality_sheet(quality_table(tmp_path)))
    psnr = figure.axes[0]
    _, y = line(psnr, "bf16, PyTorch")
    assert 30.0 < y[2] < psnr.get_ylim()[1]
    assert texts(figure).count("identical") == 1
    assert ([0.0, 1.0], [y[2], y[2]]) in [points(other) for other in psnr.lines]


def test_quality_of_seeded_weights_is_refused_in_words(tmp_path: Path) -> None:
    sheet = quality_sheet(quality_table(tmp_path, weights="seeded"))
    assert [section.plots for section in sheet.sections] == [()]
    figure = plot_curves(sheet)
    assert any("seeded weights mean nothing" in text for text in texts(figure))
    assert not figure.axes


def test_quality_says_what_failed(tmp_path: Path) -> None:
    empty = {"max_abs_difference": None, "identical_share": None}
    failed = {"status": "unsupported", "reason": "no bf16 here", **empty}
    rows = quality_rows(BF16, "runs", [1], [nan], [nan], **failed)
    sheet = quality_sheet(write_rows(rows, tmp_path / "quality.csv", QUALITY))
    figure = plot_curves(sheet)
    assert "bf16, PyTorch: not supported: no bf16 here" in texts(figure)
    assert faults(figure) == []


def test_quality_without_rows_says_so(tmp_path: Path) -> None:
    table = write_rows([], tmp_path / "quality.csv", QUALITY)
    save_curves(quality_sheet(table), figure_files(tmp_path))
    assert any("No images were compared" in t for t in texts(plot_curves(quality_sheet(table))))


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
