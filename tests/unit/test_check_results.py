"""The check at the end finds what is missing, impossible or failed."""

from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from check_results import check_results
from sdbench.analysis.utilization import utilization_columns
from sdbench.cases.expansion import matrix_rows
from sdbench.records.image_archive import save_images
from sdbench.records.record import Record
from sdbench.runtime.errors import UserError
from sdbench.runtime.failures import KEY
from sdbench.runtime.files import write_json
from sdbench.tables import schemas
from sdbench.tables.files import write_table
from sdbench.tables.rows import largest_row, peak_rows
from tests.unit.records_factory import (
    OPERATIONS,
    make_case,
    make_failure,
    make_peaks,
    make_record,
    make_rows,
)  # fmt: skip
from tests.unit.tables_factory import failed_race

EXPORT = {
    **{"network": "unet", "status": "ok", "opset": 23, "parameters": 10, "file_bytes": 100},
    **{"max_abs_error": 1e-6, "max_rel_error": 1e-6, "tolerance": 1e-4, "export_s": 1.0},
}


BROKEN = {"status": "error", "reason": "it broke"}
LARGEST = largest_row(
    {"largest_batch": 5, "cap": 8, "probes": [], "variant": vars(make_case().variant)}
)


class Results:
    """A folder of results; every test spoils one thing in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = [make_case(1), make_case(2)]
        self.records: list[Record] = [make_record(case) for case in self.cases]
        self.export: dict[str, object] = dict(EXPORT)
        self.largest: list[dict[str, object]] = []
        self.peaks = make_peaks({"fp32": 100.0})
        self.races: list[dict[str, object]] = []
        self.made: list[Path] = []
        self.image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)

    def fail(self, name: str) -> None:
        """Have an output say that it failed."""
        self.made.append(self.folder / name)
        write_json(self.made[-1], {KEY: "it broke"})

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
        steps = dict.fromkeys(("runs_steps", "trajectory_steps"), np.arange(1, len(self.image) + 1))
        save_images(images, "ok", "", runs=self.image, trajectory=self.image, **steps)
        report = self.folder / "checks.txt"
        check_results(
            cases=write("cases", matrix_rows(self.cases, [])),
            results=write("results", rows),
            largest=write("largest", self.largest),
            peak_throughput=write("peak_throughput", peak_rows(self.peaks)),
            noise=write("noise", []),
            races=write("races", self.races),
            exports=write("exports", [{"model": "shapes", "graphs": "onnx", **self.export}]),
            quality=write("quality", []),
            quality_set=write("quality_set", []),
            quality_pairs=write("quality_pairs", []),
            made=self.made,
            images=[images],
            judged=[],
            report=report,
        )
        return report.read_text()


SPOILT: list[tuple[Callable[[Results], Any], str]] = [
    (lambda r: r.records.pop(), "results: no row for shapes cpu pytorch fp32 none 2"),
    (
        lambda r: r.records.append(make_record(make_case(3))),
        "a row for shapes cpu pytorch fp32 none 3",
    ),
    (lambda r: r.largest.append(LARGEST), "no row for shapes cpu pytorch fp32 none 5"),
    (lambda r: r.records[1].update(BROKEN), "failed: shapes cpu pytorch fp32 none 2: it broke"),
    (
        lambda r: r.export.update(max_rel_error=0.5),
        "unet of shapes (onnx) differs from PyTorch by 0.5",
    ),
    (lambda r: r.export.update(tolerance=None, max_rel_error=nan), "unet of shapes (onnx) differs"),
    (
        lambda r: r.export.update(BROKEN, max_rel_error=None),
        "failed: the unet of shapes (onnx): it broke",
    ),
    (lambda r: r.fail("models/shapes.json"), "models/shapes.json: it broke"),
    (lambda r: r.fail("operations/shapes/64x64.json"), "operations/shapes/64x64.json: it broke"),
    (lambda r: r.image.fill(7), "has only one colour"),
    (lambda r: setattr(r, "image", r.image[:0]), "no images in mode runs"),
    (
        lambda r: r.peaks["peaks"][0].update(BROKEN),
        "failed: matrix product in fp32 on cpu: it broke",
    ),
    (
        lambda r: r.races.extend([failed_race("error", batch_size=2), failed_race("unsupported")]),
        "failed: the race at 256 px of sd-v1 cpu pytorch fp32 none 2: because of error",
    ),
]
"""What is done to good results, and what is said of it."""


@pytest.mark.parametrize(("spoil", "said"), SPOILT, ids=[said for _, said in SPOILT])
def test_what_is_wrong_is_named(
    spoil: Callable[[Results], Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    spoil(results)
    with pytest.raises(UserError, match="problems in the results, listed above"):
        results.check()
    assert not (tmp_path / "checks.txt").exists()
    output = capsys.readouterr().out
    assert said in output
    assert output.count("the race at") == ("the race at" in said)


def test_good_results_pass_and_are_counted(tmp_path: Path) -> None:
    """Also on a device that lacks precisions: its peak in fp32 alone was measured."""
    results = Results(tmp_path)
    assert [row["status"] for row in results.peaks["peaks"]].count("unsupported") == 2
    results.cases.append(make_case(4))
    results.records.append(make_failure(make_case(4), "oom", "out of memory"))
    assert results.check() == "3 cells of the matrix, 3 cases: 2 ok, 1 oom\n"
    # A largest batch that was found is a case, and quantized weights have no tolerance.
    results.largest.append(LARGEST)
    results.records.append(make_record(make_case(5)))
    results.export |= {"tolerance": None, "max_rel_error": 0.5}
    assert "4 cases: 3 ok, 1 oom" in results.check()
    # A network that an engine cannot run is no fault.
    results.export = {"network": "unet", "status": "unsupported", "reason": "no such operator"}
    assert "4 cases: 3 ok, 1 oom" in results.check()


def test_a_projected_case_has_no_calls_back_to_back(tmp_path: Path) -> None:
    results = Results(tmp_path)
    short = {"call_s": 0.3, "step_s": [0.05, 0.06]}
    projection = {"steps": 2, "evaluations": 51, "calls": [short] * 3, "energy": None}
    results.records[0].update(projection=projection, throughput=None, image=None)
    assert results.check().startswith("2 ")


def test_a_prompt_that_is_too_long_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    for record in results.records:
        record["environment"]["prompt_tokens_cut"] = {"tokenizer": 7, "tokenizer_2": 3}
    results.check()
    assert capsys.readouterr().out.count("> shapes: 7 tokens of its prompt are more") == 1
