"""How much of its device a row uses, and the table of what devices can do at best."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collect_records import collect_records
from sdbench.analysis.utilization import flop_per_image, utilization_columns
from sdbench.records.record import REFERENCE, Record, write_index, write_record
from sdbench.runtime.files import write_json
from sdbench.tables import schemas
from sdbench.tables.files import read_table, write_table
from sdbench.tables.rows import peak_rows
from tests.unit.records_factory import (
    OPERATIONS,
    make_case,
    make_failure,
    make_peaks,
    make_record,
)
from tests.unit.tables_factory import write_rows

RATE = {"latency": 1.0}


def switched(record: Record, **switches: str) -> Record:
    environment = record["environment"]
    return record | {"environment": environment | {"switches": environment["switches"] | switches}}


def test_a_image_is_its_text_every_evaluation_and_one_decode() -> None:
    record = make_record(make_case())
    assert record["launches"][0]["phases"][0]["denoiser_evaluations"] == 2
    assert flop_per_image(record, OPERATIONS) == 2 * 10**9 + 2 * 4 * 10**12 + 10**12


def test_a_share_is_what_was_achieved_by_the_peak() -> None:
    peaks = make_peaks({"fp32": 18.004, "bf16": 90.0})
    rates = {"latency": 0.5, "throughput": 1.0}
    columns = utilization_columns(make_record(make_case()), rates, OPERATIONS, peaks)
    wanted = {
        **{"tflop_per_image": 9.002, "peak_tflops": 18.004},
        **{"latency_tflops": 4.501, "latency_utilization": 0.25},
        **{"throughput_tflops": 9.002, "throughput_utilization": 0.5},
    }
    assert columns.pop("peak_operation") == "matrix product"
    assert columns == pytest.approx(wanted)


@pytest.mark.parametrize("convolved", [17.0, 20.0])
def test_the_peak_is_the_better_of_product_and_convolution(convolved: float) -> None:
    """A network of convolutions may be faster than the fastest product."""
    peaks = make_peaks({"fp32": 18.0})
    peaks["peaks"].append(peaks["peaks"][0] | {"operation": "convolution", "tflops": convolved})
    columns = utilization_columns(make_record(make_case()), {"latency": 1.0}, OPERATIONS, peaks)
    assert columns["peak_tflops"] == max(18.0, convolved)
    assert columns["peak_operation"] == ("convolution" if convolved > 18 else "matrix product")
    assert columns["latency_utilization"] == pytest.approx(9.002 / columns["peak_tflops"])


@pytest.mark.parametrize(
    ("precision", "autocast", "peak"),
    [
        ("fp32", None, 10.0),
        ("bf16", None, 30.0),
        ("fp32", "bfloat16", 30.0),
        ("fp32", "float16", 20.0),
        ("bf16", "bfloat16", 30.0),
    ],
)
def test_the_peak_is_that_of_the_precision_that_is_computed_in(
    precision: str, autocast: str | None, peak: float
) -> None:
    record = make_record(make_case(precision=precision))
    if autocast:
        record = switched(record, autocast_dtype=autocast)
    measured = make_peaks({"fp32": 10.0, "fp16": 20.0, "bf16": 30.0})
    assert utilization_columns(record, RATE, OPERATIONS, measured)["peak_tflops"] == peak


FP32 = {"fp32": 10.0}
RECORD = make_record(make_case())


@pytest.mark.parametrize(
    ("record", "measured"),
    [
        (RECORD, make_peaks({"bf16": 30.0})),
        (RECORD, make_peaks(FP32, device_name="Another CPU")),
        (RECORD, make_peaks(FP32, cpu={"features": ["avx", "avx2", "avx512f"]})),
        (RECORD, make_peaks(FP32, threads=2)),
        (RECORD, make_peaks(FP32, device_name=None, threads=None)),
        # ONNX Runtime's products in 8 bits would else pass the peak of fp32, which is not theirs.
        (switched(RECORD, quantized_activations="int8"), make_peaks(FP32)),
    ],
    ids=[
        "no such precision",
        "another machine",
        "another of that name",
        "more threads",
        "no device",
        "in 8 bits",
    ],
)
def test_without_its_peak_a_row_has_no_share(record: Record, measured: dict[str, Any]) -> None:
    columns = utilization_columns(record, RATE, OPERATIONS, measured)
    assert set(columns) == {"tflop_per_image", "latency_tflops"}


def test_the_table_of_peaks_has_a_row_for_each(tmp_path: Path) -> None:
    rows = peak_rows(make_peaks({"fp32": 0.2}))
    write_table(pd.DataFrame(rows), tmp_path / "t.csv", schemas.PEAK_THROUGHPUT)
    table = read_table(tmp_path / "t.csv", schemas.PEAK_THROUGHPUT)
    assert list(table["operation"]) == ["matrix product"] * 3 + ["memory copy"]
    assert list(table["status"]) == ["ok", "unsupported", "unsupported", "ok"]
    assert table["reason"][1] == "no fp16 here"
    assert (table["tflops"][0], table["side"][0], table["n"][0]) == (0.2, 1024, 5)
    assert (table["gb_per_s"][3], table["n"][3]) == (20.0, 4)
    assert table["tflops"].count() == table["gb_per_s"].count() == 1
    assert table["contended"].all()


def test_a_row_holds_the_rate_of_each_pass(tmp_path: Path) -> None:
    """`latency_*` by the median of single calls, `throughput_*` by calls back to back."""
    folder = tmp_path / "records"
    cases = [make_case(4), make_case(8)]
    throughput = {"intervals_s": [3.0, 4.0, 5.0], "energy": None}
    ran = make_record(cases[0], [1.0, 2.0, 9.0], throughput=throughput, weights="seeded")
    write_record(folder, cases[0], ran)
    write_record(folder, cases[1], make_failure(cases[1], "oom", "too large"))
    write_json(folder / REFERENCE, {"blocks": []})
    write_index(folder, cases, [])
    write_json(tmp_path / "cpu.json", make_peaks({"fp32": 36.008}))
    write_json(tmp_path / "shapes/64x64.json", OPERATIONS)
    outputs = ("results", "largest", "peak_throughput", "noise", "exports")
    collect_records(
        indexes=[folder / "index.json"],
        device_peaks=[tmp_path / "cpu.json"],
        model_operations=[tmp_path / "shapes/64x64.json"],
        graphs=[],
        quality_set=write_rows([], tmp_path / "quality_set.csv", schemas.QUALITY_SET),
        prices={"cpu": 0},
        currency="USD",
        gate={"min_ssim": 0.9, "min_psnr_db": 20},
        precision=0.02,
        **{name: tmp_path / f"{name}.csv" for name in outputs},
    )
    table = read_table(tmp_path / "results.csv", schemas.RESULTS)
    assert table["tflop_per_image"][0] == pytest.approx(9.002)
    for name, rate in (("latency", 4 / 2.0), ("throughput", 4 / 4.0)):
        assert table[f"{name}_tflops"][0] == pytest.approx(9.002 * rate)
        assert table[f"{name}_utilization"][0] == pytest.approx(9.002 * rate / 36.008)
    limits = [name for name in table.columns if "tflop" in name or "utilization" in name]
    assert len(limits) == 6 and table[limits].iloc[1].isna().all()
    assert len(read_table(tmp_path / "peak_throughput.csv", schemas.PEAK_THROUGHPUT)) == 4
