"""What is recommended for a need, on made-up tables."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdbench.analysis.choices import rank_choices
from sdbench.tables import schemas
from sdbench.tables.files import read_rows, read_table
from tests.unit import tables_factory as made
from tests.unit.tables_factory import SD_V1, SHAPES, latency_row, throughput_row, write_rows

CASES: list[tuple[dict[str, Any], float, float, float, float | None, bool | None]] = [
    # changes, seconds of a call, images per minute, GB, cost of 1,000 images, passes the gate
    ({}, 8.0, 7.5, 8.0, 4.0, True),
    ({"precision": "fp16"}, 2.0, 30.0, 4.0, 1.0, True),
    ({"precision": "fp16", "batch_size": 8}, 12.0, 40.0, 12.0, 0.8, True),
    ({"precision": "bf16"}, 1.0, 60.0, 4.0, None, False),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = []
    for changes, seconds, rate, gigabytes, cost, passes in CASES:
        row = throughput_row(latency_row(SD_V1 | changes, seconds, passes_gate=passes), rate)
        rows.append(made.memory_row(row, gigabytes, cost_per_1000_images=cost, currency="USD"))
    rows.append(made.failed_row(SD_V1, "oom", batch_size=64))
    return write_rows(rows, tmp_path / "results.csv", schemas.RESULTS)


def ranked(results: Path, *campaigns: str, **need: Any) -> pd.DataFrame:
    table = results.with_name("choices.csv")
    need = {"quality_gate": True} | need
    rank_choices(results, published=made.published(campaigns), need=need, table=table)
    return read_table(table, schemas.CHOICES)


def named(table: pd.DataFrame) -> list[str]:
    return [f"{p} {b}" for p, b in zip(table["precision"], table["batch_size"], strict=True)]


def test_without_a_need_the_fastest_that_generates_right_comes_first(results: Path) -> None:
    table = ranked(results)
    assert named(table) == ["fp16 8", "fp16 1", "fp32 1", "bf16 1"]
    assert list(table["rank"]) == [1, 2, 3, 4]
    assert list(table["meets"]) == [True, True, True, False]
    assert table["misses"].iloc[3] == "fails the quality gate"
    # Which may not matter.
    assert named(ranked(results, quality_gate=False))[0] == "bf16 1"


def test_a_quality_that_cannot_be_said_is_no_quality_that_passes(tmp_path: Path) -> None:
    def way(rate: float, options: str, verdict: str | None, passes: bool | None) -> dict[str, Any]:
        said = {"passes_gate": passes, "quality_verdict": verdict, "options": options}
        return throughput_row(latency_row(SD_V1, 60 / rate, **said), rate)

    rows = [
        way(50, "none", None, None),  # nothing was compared
        way(100, "channels-last", "same", True),
        way(300, "fused-qkv", "cannot be said", None),
        way(400, "autocast", "worse", False),
    ]
    results = write_rows(rows, tmp_path / "results.csv", schemas.RESULTS)
    table = ranked(results)
    assert list(table["options"]) == ["channels-last", "none", "fused-qkv", "autocast"]
    assert list(table["meets"]) == [True, True, False, False]
    assert list(table["misses"][2:]) == ["its quality cannot be said", "fails the quality gate"]
    assert list(table["quality_verdict"].fillna("")) == ["same", "", "cannot be said", "worse"]
    # Also where nothing meets the need: what is worse is never the nearest.
    table = ranked(results, cost_per_1000_images=1.0)
    assert list(table["options"])[-1] == "autocast" and not table["meets"].any()
    # Unless it may not matter.
    assert list(ranked(results, quality_gate=False)["options"])[:2] == ["autocast", "fused-qkv"]


@pytest.mark.parametrize(
    ("need", "meeting", "nearest"),
    [
        ({"seconds_per_image": 2.5}, ["fp16 1"], "3.2 times too slow"),
        ({"images_per_minute": 35.0}, ["fp16 8"], "1.17 times too few images per minute"),
        ({"memory_gb": 9.0}, ["fp16 1", "fp32 1"], "1.33 times too much memory"),
        ({"cost_per_1000_images": 0.9}, ["fp16 8"], "1.11 times too expensive"),
        (
            {"seconds_per_image": 1.99, "memory_gb": 3.0},
            [],
            "1.01 times too slow; 1.33 times too much memory",
        ),
    ],
)
def test_what_meets_a_need_and_by_how_much_the_nearest_misses(
    results: Path, need: dict[str, float], meeting: list[str], nearest: str
) -> None:
    table = ranked(results, **need)
    assert named(table[table["meets"]]) == meeting
    missing = table[~table["meets"]]
    assert missing["misses"].iloc[0] == nearest
    assert "oom" not in set(table["misses"])


def test_an_unknown_number_misses_and_comes_last(results: Path) -> None:
    table = ranked(results, cost_per_1000_images=5.0, quality_gate=False)
    assert named(table)[-1] == "bf16 1"
    assert table["misses"].iloc[-1] == "unknown cost"


def test_published_devices_are_among_what_was_generated_alike(results: Path) -> None:
    table = ranked(results, "lambda-2022-10", seconds_per_image=5.0)
    assert set(table["origin"]) == {"measured", "lambda-2022-10"}
    # One ranking: the same networks, size, steps and scheduler.
    assert table["rank"].iloc[0] == 1 and table["rank"].is_monotonic_increasing
    assert "fp32 (TF32 conv.)" in set(table["precision"])


def test_what_was_generated_otherwise_has_a_ranking_of_its_own(tmp_path: Path) -> None:
    rows = [throughput_row(latency_row(row, 1.0), 60.0) for row in (SHAPES, SD_V1)]
    table = ranked(write_rows(rows, tmp_path / "results.csv", schemas.RESULTS))
    assert list(zip(table["model"], table["rank"], strict=True)) == [("shapes", 1), ("sd-v1-4", 1)]
    assert ranked(write_rows([], tmp_path / "results.csv", schemas.RESULTS)).empty


def rates(folder: Path, *made: tuple[float, dict[str, Any]]) -> Path:
    """Write a table of rows of these images per minute, whose intervals are 2 % to each side."""
    rows = [
        throughput_row(latency_row(SD_V1, 60 / rate, options=f"option-{i}", **changes), rate)
        for i, (rate, changes) in enumerate(made)
    ]
    return write_rows(rows, folder / "results.csv", schemas.RESULTS)


NO_INTERVAL = dict.fromkeys(("images_per_minute_ci_low", "images_per_minute_ci_high"))


def test_what_cannot_be_told_apart_shares_a_rank(tmp_path: Path) -> None:
    rows = rates(tmp_path, (50, {}), (100, {}), (99, {}), (97, {}), (95, {}), (94, {}))
    table = ranked(rows)
    assert list(table["images_per_minute"]) == [100, 99, 97, 95, 94, 50]
    # The ratio of two has an interval of 2.8 %: 97 is the next rank, which counts the two before.
    assert list(table["rank"]) == [1, 1, 3, 3, 5, 6]
    # So do those that miss the need, by what they miss most.
    table = ranked(rows, images_per_minute=98)
    assert list(table["meets"]) == [True, True, False, False, False, False]
    assert list(table["rank"]) == [1, 1, 3, 3, 5, 6]


def test_without_intervals_the_numbers_are_ranked(tmp_path: Path) -> None:
    results = rates(tmp_path, (100, {}), (99, {}))
    rows = [row | NO_INTERVAL for row in read_rows(results, schemas.RESULTS)]
    assert list(ranked(write_rows(rows, results, schemas.RESULTS))["rank"]) == [1, 2]


def test_contended_rows_have_no_rank_and_meet_nothing(tmp_path: Path) -> None:
    rows = rates(tmp_path, (200, {"contended": True}), (100, {"contended": False}), (50, {}))
    for need in ({}, {"seconds_per_image": 1.0}, {"images_per_minute": 10.0}):
        table = ranked(rows, **need)
        assert list(table["images_per_minute"]) == [100, 50, 200]
        assert list(table["rank"][:2]) == [1, 2] and pd.isna(table["rank"].iloc[2])
        assert not table["meets"].iloc[2]
        assert table["misses"].iloc[2] == "unknown time: other processes used the device"
