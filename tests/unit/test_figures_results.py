from dataclasses import replace

from sdbench.report.figures.results import Result, best_of, fewest_options, setting_label
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


def test_plainest_prefers_no_options() -> None:
    assert fewest_options([AUTOCAST, FP32]) == [FP32]
    assert fewest_options([AUTOCAST]) == [AUTOCAST]


def test_plainest_prefers_no_options_even_where_they_failed() -> None:
    failed = replace(FP32, status="oom", numbers={})
    assert fewest_options([AUTOCAST, failed]) == [failed]


def test_plainest_prefers_sdpa_among_published_attentions() -> None:
    published = replace(FP32, campaign="c", attention="vanilla")
    sdpa = replace(published, attention="sdpa")
    assert fewest_options([published, sdpa]) == [sdpa]


def test_plainest_keeps_places_apart() -> None:
    others = [
        replace(FP32, precision="bf16"),
        replace(FP32, backend="onnxruntime"),
        replace(FP32, device="other"),
        replace(FP32, model="other"),
        replace(FP32, campaign="c"),
    ]
    assert fewest_options([FP32, *others]) == [FP32, *others]


def test_plainest_batches_keeps_all_batches_of_one_variant() -> None:
    larger = replace(FP32, batch_size=2)
    assert fewest_options([FP32, AUTOCAST, larger], batches=True) == [FP32, larger]


def test_slicing_that_switched_itself_on_does_not_end_a_published_sweep() -> None:
    published = replace(FP32, campaign="c", batch_size=16)
    sliced = replace(published, batch_size=32, options="vae-slicing")
    assert fewest_options([published, sliced], batches=True) == [published, sliced]


def test_best_of_takes_the_least_and_failures_last() -> None:
    failed = replace(FP32, options="x", status="error", numbers={})
    chosen = best_of(
        [failed, FP32, AUTOCAST], key=lambda r: r.device, value=lambda r: r.numbers["latency_s"]
    )
    assert chosen == [AUTOCAST]
    assert best_of([failed], key=lambda r: r.device, value=lambda r: 0.0) == [failed]


def test_setting_label_names_what_tells_apart() -> None:
    assert setting_label(FP32, [FP32]) == "fp32"
    assert setting_label(AUTOCAST, [AUTOCAST]) == "fp32, autocast"
    onnx = replace(FP32, backend="onnxruntime", attention="fused")
    assert setting_label(FP32, [FP32, onnx]) == "fp32, PyTorch"
    assert setting_label(onnx, [FP32, onnx]) == "fp32, ONNX Runtime"
    vanilla = replace(FP32, attention="vanilla", options="attention-vanilla")
    assert setting_label(vanilla, [vanilla]) == "fp32, vanilla attention"
    other = replace(FP32, model="other")
    assert setting_label(other, [FP32, other]) == "fp32, other"
