"""An exported engine is held against PyTorch's image before its speed is believed."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sdbench.measure.agreement import check_agreement, expect, is_judged
from sdbench.measure.context import Graphs
from sdbench.records.record import Record
from sdbench.runtime.errors import UserError
from tests.sweeps import MEASURING, make_case, make_job, run

on_onnxruntime = partial(make_case, backend="onnxruntime")


def measured(folder: Path, model: Path, graphs: Path, project_above_s: float = 0) -> Record:
    measuring = replace(MEASURING, project_above_s=project_above_s)
    job = make_job(folder, model, measuring, {"onnx": Graphs(graphs, "0" * 64)})
    (record,) = run(job, on_onnxruntime())
    return record


def test_an_engine_in_fp32_has_the_image_of_pytorch(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    record = measured(tmp_path, model, exported)
    assert record["status"] == "ok"
    assert max(record["agreement"]["denoiser_divergence"]) < 1e-4
    assert record["agreement"]["psnr_db"] > 60


def test_a_call_that_takes_too_long_is_judged_by_its_steps(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    record = measured(tmp_path, model, exported, project_above_s=1e-9)
    assert record["status"] == "ok"
    assert len(record["agreement"]["denoiser_divergence"]) == 2
    assert record["agreement"]["psnr_db"] is None


def test_a_graph_of_other_weights_is_an_error(model: Path, exported: Path, tmp_path: Path) -> None:
    """Its largest weight is a tenth larger: what parity would miss that compares on noise alone."""
    other = shutil.copytree(exported, tmp_path / "onnx")
    graph = onnx.load(other / "unet" / "model.onnx")
    weights = max(graph.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    changed = numpy_helper.to_array(weights) * np.float32(1.1)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    onnx.save(graph, other / "unet" / "model.onnx", save_as_external_data=False)
    record = measured(tmp_path / "records", model, other)
    assert record["status"] == "error" and record["launches"] is None
    assert record["reason"].startswith("another image than PyTorch's: the denoiser differs by 0.")
    assert max(record["agreement"]["denoiser_divergence"]) > 1e-3


def test_only_graphs_in_fp32_are_judged(model: Path, tmp_path: Path) -> None:
    assert is_judged(on_onnxruntime(options="tuned"))
    others = [
        make_case(),
        make_case(backend="openvino", precision="bf16"),
        on_onnxruntime(options="int8-weights"),
    ]
    assert expect(others, make_job(tmp_path, model, MEASURING)) is None


@pytest.mark.parametrize(
    ("denoiser", "psnr_db", "is_right"),
    [
        ([9e-4, 9e-4], 41.0, True),
        ([9e-4, 9e-4], None, True),
        ([9e-4, 2e-3], 41.0, False),
        ([1e-6, None], 41.0, False),
        ([1e-6, 1e-6], 39.0, False),
    ],
)
def test_the_bounds(denoiser: list[float | None], psnr_db: float | None, is_right: bool) -> None:
    agreement = {"denoiser_divergence": denoiser, "psnr_db": psnr_db}
    if is_right:
        check_agreement(agreement)
    else:
        with pytest.raises(UserError, match="another image than PyTorch's"):
            check_agreement(agreement)
