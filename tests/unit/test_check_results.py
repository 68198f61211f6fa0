"""The check at the end finds what is missing, impossible or failed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from check_results import check_results
from sdbench.analysis.utilization import utilization_columns
from sdbench.cases.case import Case
from sdbench.cases.expansion import matrix_rows
from sdbench.records.image_archive import save_images
from sdbench.records.record import Record
from sdbench.runtime.errors import UserError
from sdbench.tables import schemas
from sdbench.tables.files import write_table
from sdbench.tables.rows import export_row, largest_row, peak_rows
from tests.unit.records_factory import (
    OPERATIONS,
    make_case,
    make_failure,
    make_peaks,
    make_record,
    make_rows,
)
from tests.unit.tables_factory import failed_race

EXPORT = {
    "network": "unet",
    "status": "ok",
    "opset": 23,
    "parameters": 10,
    "max_abs_error": 1e-6,
    "max_rel_error": 1e-6,
    "tolerance": 1e-4,
    "file_bytes": 100,
    "export_s": 1.0,
}


class Results:
    """A folder of results; every test spoils one thing in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.cases = [make_case(1), make_case(2)]
        self.records: list[Record] = [make_record(case) for case in self.cases]
        self.export: dict[str, object] = dict(EXPORT)
        self.largest: list[dict[str, object]] = []
        self.peaks = make_peaks({"fp32": 100.0})
        self.races: list[dict[str, object]] = []
        self.image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)

    def check(self) -> str:
        def write(name: str, rows: list[dict[str, object]]) -> Path:
            path = self.folder / f"{name}.csv"
            write_table(pd.DataFrame(rows), path, getattr(schemas, name.upper()))
            return path

        rates = {"latency": 1.0, "throughput": 1.0}
        rows = make_rows(*self.records)
        for row, record in zip(rows, self.records, strict=True):
            if row["status"] == "ok":
                row |= utilization_columns(record, rates, OPERATIONS, self.peaks)

        images = self.folder / "none.npz"
        steps = np.arange(1, len(self.image) + 1)
        save_images(
            images,
            "ok",
            "",
            runs=self.image,
            runs_steps=steps,
            trajectory=self.image,
            trajectory_steps=steps,
        )
        report = self.folder / "checks.txt"
        check_results(
            cases=write("cases", matrix_rows(self.cases, [])),
            results=write("results", rows),
            largest=write("largest", self.largest),
            peak_throughput=write("peak_throughput", peak_rows(self.peaks)),
            noise=write("noise", []),
            races=write("races", self.races),
            exports=write("exports", [export_row("shapes", "onnx", self.export)]),
            quality=write("quality", []),
            images=[images],
            report=report,
        )
        return report.read_text()


@pytest.fixture
def results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Results:
    return Results(tmp_path, capsys)


def test_good_results_pass_and_are_counted(results: Results) -> None:
    case = make_case(4)
    results.cases.append(case)
    results.records.append(make_failure(case, "oom", "out of memory"))
    assert results.check() == "3 cells of the matrix, 3 cases: 2 ok, 1 oom\n"


def test_a_largest_batch_that_was_found_is_a_case(results: Results) -> None:
    case = make_case(5)
    search = {"largest_batch": 5, "cap": 8, "probes": [], "variant": vars(case.variant)}
    results.largest.append(largest_row(search))
    assert "no row for shapes cpu pytorch fp32 none 5" in refused(results)
    results.records.append(make_record(case))
    assert "3 cases: 3 ok" in results.check()


def refused(results: Results) -> str:
    with pytest.raises(UserError, match="problems in the results, listed above"):
        results.check()
    assert not (results.folder / "checks.txt").exists()
    return results.capsys.readouterr().out


def test_a_case_without_a_row_is_found(results: Results) -> None:
    results.records.pop()
    assert "results: no row for shapes cpu pytorch fp32 none 2" in refused(results)


def test_a_row_that_no_case_asked_for_is_found(results: Results) -> None:
    stranger: Case = make_case(3)
    results.records.append(make_record(stranger))
    assert "a row for shapes cpu pytorch fp32 none 3" in refused(results)


def test_a_failed_case_is_named_with_its_reason(results: Results) -> None:
    results.records[1] = make_failure(results.cases[1], "error", "ValueError: it broke")
    assert "failed: shapes cpu pytorch fp32 none 2: ValueError: it broke" in refused(results)


def test_an_export_beyond_its_tolerance_is_found(results: Results) -> None:
    results.export["max_rel_error"] = 0.5
    assert "unet of shapes (onnx) differs from PyTorch by 0.5" in refused(results)


def test_quantized_weights_have_no_tolerance(results: Results) -> None:
    results.export |= {"tolerance": None, "max_rel_error": 0.5}
    assert results.check()


def test_what_quantized_weights_make_must_be_numbers(results: Results) -> None:
    results.export |= {"tolerance": None, "max_rel_error": float("nan")}
    assert "unet of shapes (onnx) differs" in refused(results)


def test_a_network_that_an_engine_cannot_run_is_no_fault(results: Results) -> None:
    results.export = {"network": "unet", "status": "unsupported", "reason": "no such operator"}
    assert results.check()


def test_a_image_of_one_colour_is_found(results: Results) -> None:
    results.image[:] = 7
    assert "has only one colour" in refused(results)


def test_no_images_are_found(results: Results) -> None:
    results.image = results.image[:0]
    assert "no images in mode runs" in refused(results)


def test_a_peak_that_could_not_be_measured_is_named(results: Results) -> None:
    results.peaks["peaks"][0] |= {"status": "error", "reason": "RuntimeError: it broke"}
    assert "failed: matrix product in fp32 on cpu: RuntimeError: it broke" in refused(results)


def test_a_precision_that_a_device_lacks_is_no_fault(results: Results) -> None:
    assert [row["status"] for row in results.peaks["peaks"]].count("unsupported") == 2
    assert "2 cases: 2 ok" in results.check()


def test_a_race_that_failed_is_named_with_its_reason(results: Results) -> None:
    results.races = [failed_race("error", options="compile"), failed_race("unsupported")]
    message = refused(results)
    assert "failed: the race at 256 px of sd-v1 cpu pytorch fp32 compile 1: because of" in message
    assert message.count("the race at") == 1
