from dataclasses import replace

import pytest

from sdbench.report.figures.results import Result, fewest_options
from sdbench.tables.published import Condition

FP32 = Result(
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
    numbers={"latency_s": 2.0},
)
AUTOCAST = replace(FP32, options="autocast", numbers={"latency_s": 1.0})
FAILED = replace(FP32, status="oom", numbers={})
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
