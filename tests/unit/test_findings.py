"""Claims against made-up tables where the answers are known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sdbench.analysis.findings.claims import CLAIMS, Claim, Finding
from sdbench.analysis.findings.estimates import FAILS, HOLDS, UNDECIDED, Estimate, judge, ratio
from sdbench.analysis.findings.rows import Tables, numbered
from sdbench.analysis.findings.text import estimate_text, findings_text
from sdbench.tables import schemas
from sdbench.tables.files import Row, read_table
from tests.unit.tables_factory import (
    SD_V1,
    SHAPES,
    failed_race,
    failed_row,
    latency_row,
    quality_rows,
    race_row,
    throughput_row,
    write_images,
    write_rows,
)
from write_findings import write_findings

A100 = {**SD_V1, "device_name": "NVIDIA A100-SXM4-40GB"}
HALF = {"precision": "fp16"}
CAST = {"precision": "fp16", "options": "autocast"}
ONNX = {"backend": "onnxruntime", "attention": "fused"}
VANILLA = {"options": "attention-vanilla", "attention": "vanilla"}
SLICED = {"options": "attention-sliced", "attention": "sliced"}


def rows(*made: dict[str, Any]) -> list[Row]:
    # As read from a file: a column that one row has, the others have empty.
    frame = pd.DataFrame(made).reindex(columns=list(schemas.RESULTS.columns))
    return numbered(frame, "results.csv")


def found(key: str, **tables: Any) -> list[Finding]:
    (claim,) = [claim for claim in CLAIMS if claim.key == key]
    return claim.findings(Tables(**tables))


def verdicts(findings: list[Finding]) -> list[str]:
    return [finding.verdict for finding in findings]


def test_the_interval_of_a_ratio_is_that_of_both_and_of_the_noise() -> None:
    one = latency_row(SHAPES, 2.0)
    other = latency_row(SHAPES, 1.0)
    same = ratio(one, other, "latency_s")
    assert same.value == 2.0
    half = math.log(1.02 / 0.98) / 2
    assert math.log(same.high / same.low) / 2 == pytest.approx(half * math.sqrt(2))  # type: ignore[operator]
    noisy = ratio(one | {"noise": 0.1}, other, "latency_s")
    assert math.log(noisy.high / noisy.value) == pytest.approx(math.hypot(half, half, 0.1))  # type: ignore[operator]


def test_the_interval_of_a_ratio_covers_the_truth() -> None:
    """Of two samples whose medians are known, by simulation."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        both = []
        for truth in (2.0, 1.0):
            samples = truth * np.exp(random.normal(0, 0.1, 25))
            q1, median, q3 = np.percentile(samples, [25, 50, 75])
            both.append({"latency_s": median, "latency_q1_s": q1, "latency_q3_s": q3, "n": 25})
        estimate = ratio(both[0], both[1], "latency_s")
        assert estimate.low is not None and estimate.high is not None
        hits += estimate.low <= 2.0 <= estimate.high
    assert 0.9 <= hits / 200 <= 1.0


def test_without_an_interval_nothing_can_be_said() -> None:
    few = {"latency_s": 1.0, "n": 3}
    assert ratio(few, few, "latency_s") == Estimate(1.0)
    assert judge(Estimate(40.0), 35, 45)[0] == UNDECIDED


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(36, 44, HOLDS), (30, 34, FAILS), (46, 60, FAILS), (30, 44, UNDECIDED), (36, 50, UNDECIDED)],
)
def test_a_verdict_is_that_of_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert judge(Estimate((low + high) / 2, low, high), 35, 45)[0] == verdict


@pytest.mark.parametrize(
    ("device", "seconds", "verdict"),
    [
        ("NVIDIA A100-SXM4-40GB", 6.0, HOLDS),
        ("NVIDIA GeForce RTX 3090", 6.0, HOLDS),
        ("NVIDIA A100-SXM4-40GB", 4.0, FAILS),
        ("NVIDIA A100-SXM4-40GB", 9.0, FAILS),
        ("NVIDIA A100-SXM4-40GB", 5.5, UNDECIDED),  # 45 %, give or take
        ("Quadro RTX 8000", 4.8, HOLDS),
        ("Quadro RTX 8000", 6.0, FAILS),
        ("NVIDIA H100 80GB HBM3", 6.0, UNDECIDED),
    ],
)
def test_half_precision(device: str, seconds: float, verdict: str) -> None:
    base = SD_V1 | {"device_name": device}
    table = rows(latency_row(base, 10.0), latency_row(base, seconds, **HALF))
    (finding,) = found("half-precision", results=table)
    assert finding.verdict == verdict
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(10 * (10 - seconds))
    assert finding.rows == "results.csv: 2, 3"
    assert finding.figure == "speed.png"


def test_half_precision_of_another_model_batch_or_backend_is_not_compared() -> None:
    table = rows(
        latency_row(A100, 10.0),
        latency_row(A100, 6.0, **HALF, batch_size=2),
        latency_row(A100 | {"model": "other"}, 6.0, **HALF),
        latency_row(A100 | {"steps": 30}, 6.0, **HALF),
        latency_row(A100 | {"device_name": "NVIDIA A10"}, 6.0, **HALF),
        latency_row(A100 | {"backend": "onnxruntime"}, 6.0, **HALF),
        failed_row(A100, "oom", precision="bf16"),
    )
    (finding,) = found("half-precision", results=table)
    assert (finding.verdict, finding.estimate) == (UNDECIDED, None)


def test_onnxruntime_on_a_cpu_is_set_against_both_attentions() -> None:
    table = rows(
        latency_row(SHAPES, 1.0),
        latency_row(SHAPES, 1.6, **VANILLA),
        latency_row(SHAPES, 0.88, **ONNX),
    )
    today, then = found("onnxruntime-on-cpu", results=table)
    assert (today.verdict, then.verdict) == (FAILS, HOLDS)
    assert "SDPA" in today.reason
    assert "vanilla" in then.subject
    # On a GPU the post says nothing of it.
    gpu = rows(latency_row(SD_V1, 1.0), latency_row(SD_V1, 0.5, **ONNX))
    assert found("onnxruntime-on-cpu", results=gpu)[0].estimate is None


def raced(*made: dict[str, Any]) -> list[Row]:
    frame = pd.DataFrame(made, columns=list(schemas.RACES.columns))
    return numbered(frame, "races.csv")


def test_onnxruntime_in_a_race_is_set_against_both_attentions() -> None:
    """0.85 of SDPA's time saves 15 %; of vanilla attention's, which takes 1.5, 43 %."""
    table = raced(
        race_row(1.5, **VANILLA),
        race_row(0.85, **ONNX),
        race_row(0.6, **ONNX, precision="bf16"),
        failed_race("unsupported", options="compile"),
    )
    today, then = found("onnxruntime-on-cpu", races=table)
    assert (today.verdict, then.verdict) == (FAILS, HOLDS)
    assert "SDPA attention, the denoiser alone at 256 px" in today.subject
    assert "vanilla attention, the denoiser alone at 256 px" in then.subject
    assert "SDPA" in today.reason
    assert today.estimate is not None
    assert [*vars(today.estimate).values()] == pytest.approx([15.0, 13.3, 16.7])
    assert then.estimate is not None
    assert then.estimate.value == pytest.approx(100 * (1 - 0.85 / 1.5))
    # The two races' intervals add in squares.
    half = math.log(1.02 / 0.98) / 2 * math.sqrt(2)
    assert then.estimate.low == pytest.approx(100 * (1 - 0.85 / 1.5 * math.exp(half)))
    assert (today.rows, then.rows) == ("races.csv: 3", "races.csv: 2, 3")
    assert today.figure == then.figure == "ladder.png"


def test_races_of_few_rounds_or_of_other_sizes_settle_nothing() -> None:
    few = {"ratio_ci_low": None, "ratio_ci_high": None, "rounds": 3}
    table = raced(race_row(0.55, **ONNX, **few), race_row(1.5, **VANILLA, **few, width=512))
    (finding,) = found("onnxruntime-on-cpu", races=table)
    assert finding.verdict == UNDECIDED
    assert finding.estimate is not None
    assert finding.estimate.value == pytest.approx(45.0)
    assert finding.estimate.low is finding.estimate.high is None
    assert "too few" in finding.reason


def test_races_against_another_reference_say_nothing_of_the_claim() -> None:
    other = race_row(0.55, **ONNX, reference_options="compile")
    on_gpu = race_row(0.55, **ONNX, device_kind="cuda")
    (finding,) = found("onnxruntime-on-cpu", races=raced(other, on_gpu))
    assert finding.estimate is None


def test_memory_is_compared_in_the_counter_of_the_post() -> None:
    table = rows(
        SD_V1 | {"reserved_after_run_bytes": 7.72e9},
        SD_V1 | {"reserved_after_run_bytes": 3.0e9, **HALF},
        SD_V1 | {"reserved_after_run_bytes": 9.0e9, "batch_size": 2},
        SHAPES | {"resident_peak_bytes": 7.7e9},
    )
    single, half = found("memory-of-one-image", results=table)
    assert (single.verdict, half.verdict) == (HOLDS, FAILS)
    assert half.rows == "results.csv: 3"


def test_two_cards_are_compared_across_machines() -> None:
    """The other card's rows come from a table that another machine exported."""
    own = latency_row(A100, 3.0, **HALF)
    best = throughput_row(A100 | HALF, 50.0, batch_size=28)
    elsewhere = {
        **latency_row(SD_V1, 4.0, **HALF),
        "n": 12,
        "images_per_minute": 20.0,
        "device_name": "NVIDIA GeForce RTX 3080",
        "device_kind": "cuda",
        "campaign": "mylab",
        "source": "measured with sdbench 0.1",
    }
    published = rows_of_published(elsewhere, elsewhere | {"source": "Lambda", "campaign": "post"})
    single, largest = found(
        "a100-against-3080",
        results=rows(own, best),
        published=published,
    )
    assert single.verdict == HOLDS
    assert single.estimate is not None and single.estimate.value == pytest.approx(100 / 3)
    assert single.rows == "published.csv: 2; results.csv: 2"
    # Images per minute of others come without an interval.
    assert largest.verdict == UNDECIDED
    assert largest.estimate == Estimate(2.5)


def rows_of_published(*made: dict[str, Any]) -> list[Row]:
    frame = pd.DataFrame(made).reindex(columns=list(schemas.PUBLISHED.columns))
    return numbered(frame, "published.csv")


@pytest.mark.parametrize(("last", "verdict"), [(103.0, HOLDS), (180.0, UNDECIDED)])
def test_throughput_saturates(last: float, verdict: str) -> None:
    table = rows(
        *(
            throughput_row(SD_V1, rate, batch_size=size)
            for size, rate in ((1, 40.0), (2, 70.0), (4, 100.0), (8, last))
        ),
    )
    (finding,) = found("throughput-saturates", results=table)
    assert finding.verdict == verdict
    assert finding.estimate is not None and finding.estimate.value == pytest.approx(last - 100)
    assert "batch 4 to 8" in finding.subject


def test_removing_autocast() -> None:
    table = rows(latency_row(A100, 4.0, **HALF), latency_row(A100, 5.0, **CAST))
    (finding,) = found("removing-autocast", results=table)
    assert finding.verdict == HOLDS
    assert finding.estimate is not None and finding.estimate.value == pytest.approx(25.0)


def test_slicing_is_time_and_memory() -> None:
    table = rows(
        latency_row(SHAPES, 1.0, **VANILLA, resident_peak_bytes=2e9),
        latency_row(SHAPES, 1.10, **SLICED, resident_peak_bytes=1.999e9),
    )
    time, bytes_ = found("slicing", results=table)
    assert (time.verdict, bytes_.verdict) == (HOLDS, FAILS)
    assert bytes_.estimate is not None and bytes_.estimate.value == pytest.approx(0.05)


@pytest.mark.parametrize(("slope", "verdict"), [(1, HOLDS), (-1, FAILS), (0, UNDECIDED)])
def test_precisions_agree_with_steps(slope: int, verdict: str) -> None:
    steps = list(range(1, 21))
    unrest = [3.0 * (-1) ** s for s in steps]
    decibels = [30 + slope * s + u for s, u in zip(steps, unrest, strict=True)]
    made = quality_rows(SHAPES | {"precision": "bf16"}, "runs", steps, decibels, [0.9] * 20)
    table = numbered(pd.DataFrame(made), "quality.csv")
    (finding,) = found("precisions-agree-with-steps", quality=table)
    assert finding.verdict == verdict
    assert finding.rows == "quality.csv: 2 to 21"


def image(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize(("shift", "verdict"), [(0, HOLDS), (1, FAILS)])
def test_growing_runs(shift: int, verdict: str) -> None:
    images = {
        "trajectory": {step: image(step) for step in range(1, 6)},
        # The last run is the long run itself, and proves nothing.
        "runs": {step: image(step + shift) for step in (1, 2, 3)} | {5: image(5)},
    }
    (finding,) = found("growing-runs", images={"shapes": images})
    assert finding.verdict == verdict
    assert "1 to 3 of 5 steps" in finding.subject


def test_every_finding_names_the_model_that_it_is_of() -> None:
    models = ("shapes", "sdxl", "sd-v1-4")
    settings: tuple[dict[str, Any], ...] = ({}, HALF, CAST, VANILLA, SLICED, ONNX)
    made = [SHAPES | {"model": model} | setting for model in models for setting in settings]
    table = rows(
        *(latency_row(base, 1.0 + 0.1 * i) for i, base in enumerate(made)),
        *(
            throughput_row(SHAPES | {"model": model, "batch_size": n}, 10.0 * n)
            for model in models
            for n in (2, 4)
        ),
    )
    for claim in CLAIMS:
        findings = list(claim.find(Tables(table)))
        named = [next((m for m in models if m in f.subject), None) for f in findings]
        assert None not in named, claim.key
        if findings:
            assert set(named) == set(models), claim.key


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_empty_tables_say_nothing(claim: Claim) -> None:
    (finding,) = claim.findings(Tables())
    assert finding.verdict == UNDECIDED
    assert finding.reason == claim.absent
    assert finding.estimate is None


def test_every_claim_of_the_post_is_there_once() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS) == 9


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(43.21, 41.0, 45.5), "43.2 (41.0 to 45.5)"),
        (Estimate(-4.0, -8.0, 0.5), "-4.00 (-8.00 to 0.500)"),
        (Estimate(7.7, 7.7, 7.7), "7.70"),
        (Estimate(2.5), "2.50"),
    ],
)
def test_a_number_is_written_with_its_interval(estimate: Estimate, text: str) -> None:
    assert estimate_text(estimate) == text


def test_a_name_is_no_markup() -> None:
    finding = Finding("[x](http://evil) <script>", UNDECIDED, "a|b")
    text = findings_text([(CLAIMS[0], finding)])
    assert "<script" not in text
    assert "\\[x\\](http://evil)" in text


def test_the_lines_are_those_of_the_files(tmp_path: Path) -> None:
    """From files to files, with a row that failed before the two that count."""
    results = write_rows(
        [
            failed_row(A100, "unsupported", precision="bf16"),
            latency_row(A100, 10.0),
            latency_row(A100, 6.0, **HALF),
        ],
        tmp_path / "results.csv",
        schemas.RESULTS,
    )
    empty = {
        name: write_rows([], tmp_path / f"{name}.csv", getattr(schemas, name.upper()))
        for name in ("quality", "races", "published")
    }
    images = write_images(tmp_path / "none.npz", 0.0, [1, 2, 4], [1, 2, 3, 4])
    text, table = tmp_path / "findings.md", tmp_path / "findings.csv"
    write_findings(results, **empty, references=[images], models=["shapes"], text=text, table=table)
    written = read_table(table, schemas.FINDINGS).set_index("claim")
    half = written.loc["half-precision"]
    assert (half["verdict"], half["rows"]) == (HOLDS, "results.csv: 3, 4")
    lines = results.read_text().splitlines()
    assert "fp32" in lines[2] and "fp16" in lines[3]
    assert "**holds**" in text.read_text()
    assert "[results.csv](tables/results.csv), lines 3, 4" in text.read_text()
