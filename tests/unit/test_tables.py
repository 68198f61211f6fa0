"""Rows say what the records hold, and nothing else."""

from pathlib import Path

import pandas as pd
import pandera.errors
import pytest

from sdbench.tables import schemas
from sdbench.tables.files import read_table, write_table
from sdbench.tables.rows import compared_memory
from tests.unit.records_factory import (
    make_case,
    make_failure,
    make_launch,
    make_record,
    make_rows,
)


def test_latency_is_the_mean_of_the_launches_medians() -> None:
    launches = [make_launch([0.1, 0.2, 9.0]), make_launch([0.8]), make_launch([0.4, 0.4, 0.4])]
    (row,) = make_rows(make_record(make_case(), launches=launches))
    assert row["latency_s"] == pytest.approx((0.2 * 0.8 * 0.4) ** (1 / 3))
    assert (row["launches"], row["latency_n"]) == (3, 7)
    assert row["latency_q1_s"] == pytest.approx(0.3)
    assert row["latency_ci_low_s"] < 0.2 < 0.8 < row["latency_ci_high_s"]
    assert not row["precise"]
    assert row["load_s"] == 0.5
    assert row["step_s"] == pytest.approx(0.045)
    # Two launches have no interval; three that agree are as precise as was asked for.
    (row,) = make_rows(make_record(make_case(), launches=launches[:2]))
    assert row["latency_ci_low_s"] is row["latency_ci_high_s"] is row["half_width"] is None
    (row,) = make_rows(make_record(make_case(), launches=[make_launch([0.4])] * 3))
    assert (row["half_width"], row["precise"]) == (0, True)


def test_a_row_is_contended_if_a_launch_was_disturbed() -> None:
    disturbed = make_launch([0.1], disturbed=["others used 1.00 cores"])
    rows = make_rows(
        make_record(make_case(), launches=[make_launch([0.1]), disturbed]), make_record(make_case())
    )
    assert [row["contended"] for row in rows] == [True, False]


def test_compiling_is_apart_from_every_other_time(tmp_path: Path) -> None:
    cold_start = {"load_s": 0.5, "compile_s": 205.0, "compile_cached": False, "first_call_s": 0.9}
    records = [
        make_record(make_case()),
        make_record(make_case(options="compile"), cold_start=cold_start),
        make_failure(make_case(2), "oom", "out of memory"),
    ]
    write_table(pd.DataFrame(make_rows(*records)), tmp_path / "results.csv", schemas.RESULTS)
    table = read_table(tmp_path / "results.csv", schemas.RESULTS)
    assert table["compile_s"].isna().tolist() == [True, False, True]
    assert table["compile_s"][1] == 205
    assert table["compile_cached"].isna().tolist() == [True, False, True]
    assert not table["compile_cached"][1]
    assert table["first_call_s"][:2].tolist() == [0.9, 0.9]
    assert table["latency_s"][0] == table["latency_s"][1]


def test_throughput_counts_all_images_over_all_the_time() -> None:
    """Also the call that took long, which a median would not show."""
    passes = [[1.0, 1.0, 7.0], [3.0], [2.0, 4.0]]
    energy = {"source": "rapl", "energy_j": 60.0}
    launches = [
        make_launch([1.0], throughput={"intervals_s": intervals, "energy": energy})
        for intervals in passes
    ]
    (row,) = make_rows(make_record(make_case(4), launches=launches))
    assert row["images_per_minute"] == pytest.approx(60 * 4 / 3)
    assert row["images_per_minute_ci_low"] == pytest.approx(80)
    assert row["throughput_n"] == 6
    assert row["energy_j_per_image"] == pytest.approx(3 * 60 / 6 / 4)


@pytest.mark.parametrize(
    ("kind", "counter", "label"),
    [
        ("cpu", "resident_peak_bytes", "peak resident memory of the process"),
        ("mps", "reserved_after_run_bytes", "torch reserved after run"),
    ],
)
def test_rows_are_compared_by_the_counter_of_their_kind(
    kind: str, counter: str, label: str
) -> None:
    others = {"loaded_bytes": 1, "resident_above_load_bytes": 2}
    assert compared_memory({**others, counter: 3}, kind, "pytorch") == {
        "memory_bytes": 3,
        "memory_counter": label,
    }
    assert compared_memory(others | {counter: None}, kind, "pytorch") == {}
    (row,) = make_rows(make_record(make_case()))
    assert (row["device_kind"], row["memory_bytes"]) == ("cpu", row["resident_peak_bytes"])


def test_a_gpus_memory_is_that_of_the_whole_process_whatever_engine_took_it() -> None:
    """PyTorch's tensors are few where CUDA graphs or ONNX Runtime hold the rest."""
    graphs = {"peak_allocated_bytes": 1, "peak_reserved_bytes": 9, "reserved_after_run_bytes": 8}
    counter = "peak memory of the process on the GPU"
    for backend, driver, wanted in (
        ("pytorch", 8 + 5, 9 + 5),  # 5: the context
        ("onnxruntime", 8 + 5 + 70, 9 + 5 + 70),  # 70: its arena
        ("pytorch", None, 9),  # as on AMD's GPUs
    ):
        memory = graphs | {"nvml_process_bytes": driver}
        found = compared_memory(memory, "cuda", backend)
        assert found == {"memory_bytes": wanted, "memory_counter": counter}
    assert compared_memory(graphs, "cuda", "onnxruntime") == {}, "nothing to compare by"


def test_largest_and_best_batch_are_marked_within_each_variant() -> None:
    records = [
        make_record(make_case(1), [1.0]),
        make_record(make_case(2), [1.5]),
        make_record(make_case(4), [4.0]),
        make_failure(make_case(8), "oom", "out of memory"),
        make_record(make_case(1, precision="bf16"), [9.0]),
    ]
    rows = make_rows(*records)
    assert [row["largest"] for row in rows] == [False, False, True, False, True]
    assert [row["best"] for row in rows] == [False, True, False, False, True]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    rows = make_rows(make_record(make_case(1)), make_failure(make_case(2), "oom", "too big"))
    rows[0]["model"] = "NA"
    write_table(pd.DataFrame(rows), path, schemas.RESULTS)
    table = read_table(path, schemas.RESULTS)
    assert list(table["model"]) == ["NA", "shapes"]
    assert list(table["status"]) == ["ok", "oom"]
    # A failed case has a reason and no numbers.
    assert table["reason"][1] == "too big"
    numbers = ["latency_s", "images_per_minute", "resident_peak_bytes", "memory_bytes"]
    assert table[numbers].isna().all(axis=1).tolist() == [False, True]
    assert "-1" not in path.read_text()
    write_table(pd.DataFrame([]), tmp_path / "t.csv", schemas.QUALITY)
    assert read_table(tmp_path / "t.csv", schemas.QUALITY).empty


def test_a_case_cannot_be_in_a_table_twice(tmp_path: Path) -> None:
    rows = make_rows(*[make_record(make_case())] * 2)
    with pytest.raises(pandera.errors.SchemaError):
        write_table(pd.DataFrame(rows), tmp_path / "t.csv", schemas.RESULTS)
    assert not (tmp_path / "t.csv").exists()
