from dataclasses import replace

import pytest

from sdbench.report.figures.results import Result, best_of, fewest_options, setting_label
from sdbench.tables.published import Condition

FP32 = Result(
    row={"latency_s": 2.0},
    condition=Condition("shapes", 64, 64, 20, "ddim", True),
    kind="cpu",
    device="AMD EPYC (cpu)",
    model="shapes",
    weights="trained",
    backend="pytorch",
    precision="fp32",
    options="none",
    attention="sdpa",
    batch_size=1,
    status="ok",
)
AUTOCAST = replace(FP32, options="autocast", row={"latency_s": 1.0})
FAILED = replace(FP32, status="oom", row={})
PUBLISHED = replace(FP32, campaign="c", attention="vanilla", batch_size=16)
LARGER = replace(FP32, batch_size=2)
SDPA = replace(PUBLISHED, attention="sdpa")
SLICED = replace(PUBLISHED, batch_size=32, options="vae-slicing")
OTHERS = [
    replace(FP32, precision="bf16"),
    replace(FP32, backend="onnxruntime"),
    replace(FP32, device="other"),
    replace(FP32, model="other"),
    replace(FP32, campaign="c"),
]


@pytest.mark.parametrize(
    ("results", "batches", "chosen"),
    [
        ([AUTOCAST, FP32], False, [FP32]),
        ([AUTOCAST], False, [AUTOCAST]),
        ([AUTOCAST, FAILED], False, [FAILED]),
        ([PUBLISHED, SDPA], False, [SDPA]),
        ([FP32, *OTHERS], False, [FP32, *OTHERS]),
        ([FP32, AUTOCAST, LARGER], True, [FP32, LARGER]),
        # Slicing that switched itself on does not end a published sweep.
        ([PUBLISHED, SLICED], True, [PUBLISHED, SLICED]),
    ],
)
def test_fewest_options_of_a_place(
    results: list[Result], batches: bool, chosen: list[Result]
) -> None:
    """Even where they failed; and SDPA of published attentions."""
    assert fewest_options(results, batches=batches) == chosen


def test_best_of_takes_the_least_and_failures_last() -> None:
    failed = replace(FP32, options="x", status="error", row={})
    chosen = best_of(
        [failed, FP32, AUTOCAST], key=lambda r: r.device, value=lambda r: r.numbers["latency_s"]
    )
    assert chosen == [AUTOCAST]
    assert best_of([failed], key=lambda r: r.device, value=lambda r: 0.0) == [failed]
    # Nor does one lead that was measured beside other work.
    busy = replace(AUTOCAST, contended=True)
    chosen = best_of(
        [failed, FP32, busy], key=lambda r: r.device, value=lambda r: r.numbers["latency_s"]
    )
    assert chosen == [FP32]


ONNX = replace(FP32, backend="onnxruntime", attention="fused")
OTHER = replace(FP32, model="other")
VANILLA = replace(FP32, attention="vanilla", options="attention-vanilla")


@pytest.mark.parametrize(
    ("result", "among", "label"),
    [
        (FP32, FP32, "fp32"),
        (AUTOCAST, AUTOCAST, "fp32, autocast"),
        (FP32, ONNX, "fp32, PyTorch"),
        (ONNX, FP32, "fp32, ONNX Runtime"),
        (VANILLA, VANILLA, "fp32, vanilla attention"),
        (OTHER, FP32, "fp32, other"),
    ],
)
def test_setting_label_names_what_tells_apart(result: Result, among: Result, label: str) -> None:
    assert setting_label(result, [result, among]) == label
