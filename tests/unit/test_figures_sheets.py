"""What holds for every figure of bars: without rows, with failures alone, with forty devices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
from sdbench.report.figures.panels import plot_sheet
from sdbench.report.figures.sheets import Sheet
from sdbench.tables.schemas import RACES, RESULTS
from tests.unit.figure_reading import faults, texts
from tests.unit.tables_factory import (
    RACE,
    SD_V1,
    SHAPES,
    Rows,
    failed_row,
    latency_row,
    limited_row,
    memory_row,
    published,
    race_row,
    throughput_row,
    write_rows,
)

LAMBDA = ["lambda-2022-10"]

SHEETS: dict[str, Callable[[Rows, Path, list[str]], Sheet]] = {
    "speed": lambda rows, folder, campaigns: speed_sheet(
        write_rows(rows, folder / "t.csv", RESULTS), published(campaigns)
    ),
    "devices": lambda rows, folder, campaigns: devices_sheet(
        write_rows(rows, folder / "t.csv", RESULTS), published(campaigns)
    ),
    "throughput": lambda rows, folder, campaigns: throughput_sheet(
        write_rows(rows, folder / "t.csv", RESULTS), published(campaigns)
    ),
    "utilization": lambda rows, folder, campaigns: utilization_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "memory": lambda rows, folder, campaigns: memory_sheet(
        write_rows(rows, folder / "t.csv", RESULTS), published(campaigns)
    ),
    "autocast_speed": lambda rows, folder, campaigns: autocast_speed_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "autocast_memory": lambda rows, folder, campaigns: autocast_memory_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "parts": lambda rows, folder, campaigns: parts_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "cold_start": lambda rows, folder, campaigns: cold_start_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "speed_quality": lambda rows, folder, campaigns: speed_quality_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
    "cost": lambda rows, folder, campaigns: cost_sheet(write_rows(rows, folder / "t.csv", RESULTS)),
    "ladder": lambda rows, folder, campaigns: ladder_sheet(
        write_rows(rows, folder / "races.csv", RACES)
    ),
    "attention": lambda rows, folder, campaigns: attention_sheet(
        write_rows(rows, folder / "t.csv", RESULTS)
    ),
}
SWITCHES = [("none", "sdpa"), ("autocast", "sdpa"), ("attention-vanilla", "vanilla")]
ALL_FAILED = [
    failed_row(
        {**SHAPES, "device_name": None, "precision": precision},
        status,
        options=options,
        attention=attention,
        reason="a message of a library that goes on and on and says where in its source it was",
    )
    for precision, status in [("fp32", "oom"), ("bf16", "error"), ("fp16", "unsupported")]
    for options, attention in SWITCHES
]


def ok_row(name: str, base: dict[str, Any]) -> dict[str, Any]:
    if "memory" in name:
        return memory_row(base, 6.0)
    if name in ("throughput", "cost"):
        return throughput_row(base, 20.0, energy_j_per_image=90.0, energy_source="nvml")
    if name == "utilization":
        return limited_row(base, 0.4)
    if name == "ladder":
        return race_row(0.7, **{key: value for key, value in base.items() if key in RACE})
    return latency_row(base, 4.0)


@pytest.mark.parametrize("name", SHEETS)
def test_an_empty_table_still_makes_a_figure_that_says_so(name: str, tmp_path: Path) -> None:
    sheet = SHEETS[name]([], tmp_path, [])
    assert not sheet.panels
    figure = plot_sheet(sheet)
    assert " ".join(sheet.missing.split()) in texts(figure)
    assert faults(figure) == []


@pytest.mark.parametrize("name", [name for name in SHEETS if name != "cost"])
def test_failures_alone_make_a_figure_of_words(name: str, tmp_path: Path) -> None:
    failed = ALL_FAILED
    if name == "ladder":
        failed = [
            {k: v for k, v in (RACE | row).items() if k in (*RACE, "reason")} for row in failed
        ]
    figure = plot_sheet(SHEETS[name](failed, tmp_path, []))
    assert sum(len(axes.patches) for axes in figure.axes) == 0
    assert "out of memory" in texts(figure)
    assert faults(figure) == []


@pytest.mark.parametrize("name", [name for name in SHEETS if name != "attention"])
def test_one_row_makes_a_figure(name: str, tmp_path: Path) -> None:
    sheet = SHEETS[name]([ok_row(name, {**SHAPES, "options": "autocast"})], tmp_path, [])
    assert len(sheet.panels) == 1
    assert faults(plot_sheet(sheet)) == []


FORTY = [
    "speed",
    "devices",
    "throughput",
    "memory",
    "utilization",
    "ladder",
    "parts",
    "cold_start",
    "speed_quality",
    "cost",
]


@pytest.mark.parametrize("name", FORTY)
def test_nothing_overlaps_with_forty_devices_and_long_names(name: str, tmp_path: Path) -> None:
    devices = [f"node-{i:02d}-{'very-' * 9}long-name" for i in range(40)]
    rows = [
        ok_row(
            name,
            {
                **SD_V1,
                "device": device,
                "device_name": f"NVIDIA Imaginary Accelerator Super Extended Edition {i}",
                "precision": precision,
                "model": "sd-v1-" + "a-long-name-" * 4,
            },
        )
        for i, device in enumerate(devices)
        for precision in ("fp32", "fp16")
    ]
    figure = plot_sheet(SHEETS[name](rows, tmp_path, LAMBDA))
    assert faults(figure) == []
