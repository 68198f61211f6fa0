"""Claims against made-up tables where the answers are known."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sdbench.analysis.estimates import Estimate
from sdbench.analysis.findings.claims import BUSY, CLAIMS, Finding
from sdbench.analysis.findings.judging import FAILS, HOLDS, UNDECIDED, judge, ratio
from sdbench.analysis.findings.rows import Tables, numbered
from sdbench.analysis.findings.text import estimate_text, findings_text
from sdbench.cases.kinds import KINDS
from sdbench.tables import schemas
from sdbench.tables.files import Row, read_table
from tests.unit import tables_factory as made
from tests.unit.tables_factory import SD_V1, SHAPES, failed_row, latency_row, race_row
from write_findings import write_findings

A100 = SD_V1 | {"device_name": "NVIDIA A100-SXM4-40GB"}
HALF = {"precision": "fp16"}
CAST = {"precision": "fp16", "options": "autocast"}
ONNX = {"backend": "onnxruntime", "attention": "fused"}
VANILLA = {"options": "attention-vanilla", "attention": "vanilla"}
SLICED = {"options": "attention-sliced", "attention": "sliced"}
Given = dict[str, list[Row]]
FEW_ROUNDS = {"ratio_ci_low": None, "ratio_ci_high": None, "rounds": 3}


def table(name: str, *made: dict[str, Any]) -> list[Row]:
    """Return rows as read from a file: a column that one row has, the others have empty."""
    columns = list(getattr(schemas, name.upper()).columns)
    return numbered(pd.DataFrame(made).reindex(columns=columns), f"{name}.csv")


def results(*rows: made.Row, published: Sequence[made.Row] = ()) -> Given:
    return {"results": table("results", *rows), "published": table("published", *published)}


def races(*rows: made.Row) -> Given:
    return {"races": table("races", *rows)}


def found(key: str, **tables: Any) -> list[Finding]:
    (claim,) = [claim for claim in CLAIMS if claim.key == key]
    return claim.findings(Tables(**tables))


def test_the_interval_of_a_ratio_is_that_of_both() -> None:
    one = latency_row(SHAPES, 2.0)
    other = latency_row(SHAPES, 1.0)
    same = ratio(one, other, "latency_s")
    assert same.value == 2.0
    half = math.log(1.02 / 0.98) / 2
    assert math.log(same.high / same.low) / 2 == pytest.approx(half * math.sqrt(2))  # type: ignore[operator]


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


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(36, 44, HOLDS), (30, 34, FAILS), (46, 60, FAILS), (30, 44, UNDECIDED), (36, 50, UNDECIDED)],
)
def test_a_verdict_is_that_of_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert judge(Estimate((low + high) / 2, low, high), 35, 45)[0] == verdict
    # Without one nothing can be said.
    few = {"latency_s": 1.0, "n": 3}
    assert ratio(few, few, "latency_s") == Estimate(1.0)
    assert judge(Estimate(40.0), 35, 45)[0] == UNDECIDED


HALVES = [
    ("NVIDIA A100-SXM4-40GB", 6.0, "holds: 40.0 (38.3 to 41.7) (results.csv: 2, 3; speed.png)"),
    ("NVIDIA GeForce RTX 3090", 6.0, "holds: 40.0 (38.3 to 41.7)"),
    ("NVIDIA A100-SXM4-40GB", 4.0, "does not hold: 60.0 (58.9 to 61.1)"),
    ("NVIDIA A100-SXM4-40GB", 9.0, "does not hold: 10.0 (7.42 to 12.5)"),
    ("NVIDIA A100-SXM4-40GB", 5.5, "cannot be said: 45.0 (43.4 to 46.5)"),
    ("Quadro RTX 8000", 4.8, "holds: 52.0 (50.6 to 53.3)"),
    ("Quadro RTX 8000", 6.0, "does not hold: 40.0 (38.3 to 41.7)"),
    ("NVIDIA H100 80GB HBM3", 6.0, "cannot be said: 40.0 (38.3 to 41.7)"),
]
"""Devices, seconds in half precision of 10 in single, and what follows."""

SWEEP = [made.throughput_row(SD_V1, rate, batch_size=n) for n, rate in ((1, 40), (2, 70), (4, 100))]
OTHER_CARD = latency_row(SD_V1, 4.0, **HALF) | {
    "n": 12,
    "images_per_minute": 20.0,
    "device_name": "NVIDIA GeForce RTX 3080",
    "campaign": "mylab",
    "source": "measured with sdbench 0.1",
}
"""A row of a table that another machine exported."""

LARGEST_THAT_FITS = made.throughput_row(SD_V1, 104.0, batch_size=13)


def added(above: float) -> Row:
    """Return the counters of a process of 9 GB besides."""
    return {"resident_above_load_bytes": above, "resident_peak_bytes": 9e9 + above}


SAME_MEMORY = results(
    latency_row(SHAPES, 1.0, **VANILLA, **added(2e9)),
    latency_row(SHAPES, 1.1, **SLICED, **added(1.999e9), latency_ci_low_s=None),
)

FOUND: list[tuple[str, Given, list[str]]] = [
    *(
        (
            "half-precision",
            results(latency_row(base, 10.0), latency_row(base, took, **HALF)),
            [said],
        )
        for name, took, said in HALVES
        for base in [SD_V1 | {"device_name": name}]
    ),
    (
        "onnxruntime-on-cpu",
        results(
            latency_row(SHAPES, 1.0),
            latency_row(SHAPES, 1.6, **VANILLA),
            latency_row(SHAPES, 0.88, **ONNX),
        ),
        [
            "does not hold: 12.0 ... with SDPA attention ... was not SDPA in 2022",
            "holds: 45.0 ... with vanilla attention",
        ],
    ),
    (  # 0.85 of SDPA's time saves 15 %; of vanilla attention's, which takes 1.5, 43 %.
        "onnxruntime-on-cpu",
        races(
            race_row(1.5, **VANILLA),
            race_row(0.85, **ONNX),
            race_row(0.6, **ONNX, precision="bf16"),
            made.failed_race("unsupported", options="compile"),
        ),
        [
            "does not hold: 15.0 (13.3 to 16.7) (races.csv: 3; ladder.png) ... SDPA attention, "
            "the denoiser alone at 256 px ... was not SDPA in 2022",
            "holds: 43.3 (41.7 to 44.9) (races.csv: 2, 3; ladder.png) ... vanilla attention, "
            "the denoiser alone at 256 px",
        ],
    ),
    (
        "onnxruntime-on-cpu",
        races(
            race_row(0.55, **ONNX, **FEW_ROUNDS),
            race_row(1.5, **VANILLA, **FEW_ROUNDS, width=512),
        ),
        ["cannot be said: 45.0 (races.csv: 2; ladder.png) ... too few"],
    ),
    (
        "memory-of-one-image",
        results(
            SD_V1 | {"reserved_after_run_bytes": 7.72e9},
            SD_V1 | {"reserved_after_run_bytes": 3.0e9, **HALF},
            SD_V1 | {"reserved_after_run_bytes": 9.0e9, "batch_size": 2},
            SHAPES | {"resident_peak_bytes": 7.7e9},
        ),
        ["holds: 7.72 (results.csv: 2;", "does not hold: 3.00 (results.csv: 3; ... read once"],
    ),
    (  # Images per minute of others come without an interval.
        "a100-against-3080",
        results(
            latency_row(A100, 2.68, **HALF),
            made.throughput_row(A100 | HALF, 50.0, batch_size=28),
            published=[OTHER_CARD, OTHER_CARD | {"source": "Lambda", "campaign": "post"}],
        ),
        [
            "holds: 33.0 (30.7 to 35.2) (published.csv: 2; results.csv: 2; ... "
            "against RTX 3080 (not this run: mylab)",
            "cannot be said: 2.50 (published.csv: 2; ... RTX 3080 (not this run: mylab)",
        ],
    ),
    *(
        (
            "throughput-saturates",
            results(*SWEEP, made.throughput_row(SD_V1, last, batch_size=8)),
            [f"{said} ... batch 4 to 8"],
        )
        for last, said in ((103.0, "holds: 3.00 (0.127"), (180.0, "cannot be said: 80.0 (75.0"))
    ),
    (  # The largest batch may be any number: half of it need not be there.
        "throughput-saturates",
        results(*SWEEP, made.throughput_row(SD_V1, 103.0, batch_size=8), LARGEST_THAT_FITS),
        ["holds: 3.00 ... batch 4 to 8"],
    ),
    (
        "removing-autocast",
        results(latency_row(A100, 3.75, **HALF), latency_row(A100, 5, **CAST)),
        ["holds: 25.0 (22.8 to 27.1)"],
    ),
    (  # What a call adds, as in the figure: 24 % of the whole process would be 2.4 %.
        "slicing",
        results(
            latency_row(SHAPES, 0.9, **VANILLA, **added(1e9)),
            latency_row(SHAPES, 1.0, **SLICED, **added(0.76e9)),
            latency_row(SD_V1, 0.9, **VANILLA, device_peak_bytes=8e9, peak_allocated_bytes=4e9),
            latency_row(SD_V1, 1.0, **SLICED, device_peak_bytes=6e9, peak_allocated_bytes=1e9),
        ),
        [
            "holds: 10.0 (7.42 to 12.5)",
            "holds: 10.0 (7.42 to 12.5)",
            f"holds: 24.0 (results.csv: 2, 3; attention.png) ... {KINDS['cpu'].call_counter[1]}, "
            "each read once",
            "holds: 25.0 (results.csv: 4, 5; attention.png) ... on the GPU, each read once",
        ],
    ),
    ("slicing", SAME_MEMORY, ["cannot be said", "does not hold: 0.0500 ... does not need most"]),
]
"""A claim, tables, and how what is said of each finding begins ... with what else is in it."""


@pytest.mark.parametrize(("key", "tables", "wanted"), FOUND)
def test_what_tables_say_of_a_claim(key: str, tables: Given, wanted: list[str]) -> None:
    for finding, parts in zip(found(key, **tables), wanted, strict=True):
        assert finding.estimate is not None
        number = estimate_text(finding.estimate)
        said = f"{finding.verdict}: {number} ({finding.rows}; {finding.figure})"
        begins, *words = parts.split(" ... ")
        assert said.startswith(begins)
        more = f"{finding.subject}; {finding.unit}; {finding.reason}"
        assert all(word in more for word in words)


def posts_rows() -> list[Row]:
    """Return the post's own rows as if they had been measured here, and exactly so: nobody
    published how far they waver."""
    published = read_table(made.RESOURCES / "published.csv", schemas.PUBLISHED)
    rows = numbered(published[published["campaign"] == "lambda-2022-10"], "published.csv")
    columns = dict.fromkeys(schemas.RESULTS.columns)
    ends = {
        **{"latency_ci_low_s": "latency_s", "latency_ci_high_s": "latency_s"},
        **{f"images_per_minute_ci_{end}": "images_per_minute" for end in ("low", "high")},
        **{"device": "device_name", "reserved_after_run_bytes": "memory_bytes"},
    }
    return [columns | row | {end: row[name] for end, name in ends.items()} for row in rows]


NOT_IN_ITS_ROWS = {
    "removing-autocast": "its half precision ran under autocast; the update has no rows",
    "slicing": "it quotes the documentation of diffusers",
    "precisions-agree-with-steps": "its images are not among the rows",
    "growing-runs": "its images are not among the rows",
}
OTHERWISE_IN_ITS_ROWS = {
    "onnxruntime-on-cpu: AMD EPYC 7352 (not this run: lambda-2022-10)": (
        "57.9: its text says 40 to 50 of rows with 38 and 58"
    ),
    "throughput-saturates: RTX A5500 (not this run: lambda-2022-10)": (
        "10.4: memory ended at batch 4, before it was saturated"
    ),
}
"""Claim and device -> the number, and why the post's rows do not say what the post says."""


def test_the_post_is_right_by_its_own_rows() -> None:
    said: dict[str, list[Finding]] = {
        claim.key: claim.findings(Tables(posts_rows())) for claim in CLAIMS
    }
    for key, findings in said.items():
        assert (findings[0].estimate is None) == (key in NOT_IN_ITS_ROWS), key
    judged = [(key, f) for key, findings in said.items() for f in findings if f.estimate]
    otherwise = {
        f"{key}: {finding.subject.partition(',')[0]}": estimate_text(finding.estimate)
        for key, finding in judged
        if finding.verdict != HOLDS and finding.estimate
    }
    assert otherwise.keys() == OTHERWISE_IN_ITS_ROWS.keys()
    for where, number in otherwise.items():
        assert f"{number.partition(' ')[0]}: " in OTHERWISE_IN_ITS_ROWS[where]
    # Five cards and the RTX 8000; one and two CPUs; 3.74 of 5.59 s; 26.3 and 10.73 in a minute.
    counts = {key: len(findings) for key, findings in said.items() if key not in NOT_IN_ITS_ROWS}
    assert counts == {
        **{"half-precision": 5, "onnxruntime-on-cpu": 2, "memory-of-one-image": 11},
        **{"a100-against-3080": 2, "throughput-saturates": 10},
    }
    saved, rate = (f.estimate.value for f in said["a100-against-3080"] if f.estimate)
    assert (round(saved, 1), round(rate, 2)) == (33.1, 2.45)


CONTENDED = {"contended": True}


def test_contended_rows_decide_no_claim() -> None:
    for key, tables, _ in FOUND:
        taken = {name: [row | CONTENDED for row in rows] for name, rows in tables.items()}
        for before, after in zip(found(key, **tables), found(key, **taken), strict=True):
            assert before.estimate and after.estimate == before.estimate
            # Other work moves no counter of memory.
            wanted = before.verdict if before.estimate.counted else UNDECIDED
            assert after.verdict == wanted
    # One of the two is enough.
    rows = latency_row(A100, 10.0), latency_row(A100, 6.0, **HALF)
    for busy in rows:
        both = (row | CONTENDED if row is busy else row for row in rows)
        (finding,) = found("half-precision", **results(*both))
        assert (finding.verdict, finding.reason) == (UNDECIDED, BUSY)


def test_a_quiet_row_is_compared_before_a_contended_one() -> None:
    rates = ((1, 40.0), (2, 70.0), (4, 100.0), (8, 103.0))
    rows = [made.throughput_row(A100 | HALF, rate, batch_size=n) for n, rate in rates]
    rows[-1] |= CONTENDED
    (finding,) = found("throughput-saturates", **results(*rows))
    assert "batch 2 to 4" in finding.subject
    (finding,) = found("a100-against-3080", **results(*rows, published=[OTHER_CARD]))
    assert finding.estimate is not None and finding.estimate.value == 5.0


@pytest.mark.parametrize(
    ("key", "tables"),
    [
        (
            "half-precision",
            results(
                latency_row(A100, 10.0),
                latency_row(A100, 6.0, **HALF, batch_size=2),
                latency_row(A100 | {"model": "other"}, 6.0, **HALF),
                latency_row(A100 | {"steps": 30}, 6.0, **HALF),
                latency_row(A100 | {"device_name": "NVIDIA A10"}, 6.0, **HALF),
                latency_row(A100 | {"backend": "onnxruntime"}, 6.0, **HALF),
                failed_row(A100, "oom", precision="bf16"),
            ),
        ),
        # On a GPU the post says nothing of it, nor of another reference.
        ("onnxruntime-on-cpu", results(latency_row(SD_V1, 1), latency_row(SD_V1, 0.5, **ONNX))),
        ("onnxruntime-on-cpu", races(race_row(0.55, **ONNX, reference_options="compile"))),
        ("onnxruntime-on-cpu", races(race_row(0.55, **ONNX, device_kind="cuda"))),
    ],
)
def test_what_is_not_comparable_says_nothing(key: str, tables: Given) -> None:
    (finding,) = found(key, **tables)
    assert (finding.verdict, finding.estimate) == (UNDECIDED, None)


def test_what_another_machine_raced_names_it_and_its_campaign() -> None:
    """Also where that has the processor's name of this one."""
    name = {"device_name": "AMD EPYC, AVX2"}
    rows = races(
        race_row(0.6, **ONNX, **name), race_row(0.6, **ONNX, **name, campaign="sdbench-2026-11")
    )
    here, there = found("onnxruntime-on-cpu", **rows)
    assert here.subject.startswith("AMD EPYC, AVX2, sd-v1, ")
    assert there.subject.startswith("AMD EPYC, AVX2 (not this run: sdbench-2026-11), sd-v1, ")
    assert (here.campaign, there.campaign) == ("", "sdbench-2026-11")


@pytest.mark.parametrize(("slope", "verdict"), [(1, HOLDS), (-1, FAILS), (0, UNDECIDED)])
def test_precisions_agree_with_steps(slope: int, verdict: str) -> None:
    steps = list(range(1, 21))
    unrest = [3.0 * (-1) ** s for s in steps]
    decibels = [30 + slope * s + u for s, u in zip(steps, unrest, strict=True)]
    rows = made.quality_rows(SHAPES | {"precision": "bf16"}, "runs", steps, decibels, [0.9] * 20)
    (finding,) = found("precisions-agree-with-steps", quality=table("quality", *rows))
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
    bases = [SHAPES | {"model": model} | setting for model in models for setting in settings]
    rows = [latency_row(base, 1.0 + 0.1 * i) for i, base in enumerate(bases)]
    rows += [
        made.throughput_row(SHAPES | {"model": model, "batch_size": n}, 10.0 * n)
        for model in models
        for n in (2, 4)
    ]
    for claim in CLAIMS:
        findings = list(claim.find(Tables(table("results", *rows))))
        named = [next((m for m in models if m in f.subject), None) for f in findings]
        assert None not in named, claim.key
        if findings:
            assert set(named) == set(models), claim.key


def test_empty_tables_say_nothing() -> None:
    for claim in CLAIMS:
        assert claim.findings(Tables()) == [Finding("", UNDECIDED, claim.absent)]
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS) == 9


def test_a_number_is_written_with_its_interval_and_a_name_is_no_markup() -> None:
    assert estimate_text(Estimate(-4.0, -8.0, 0.5)) == "-4.00 (-8.00 to 0.500)"
    assert estimate_text(Estimate(7.7, counted=True)) == "7.70"
    finding = Finding("[x](http://evil) <script>", UNDECIDED, "a|b")
    text = findings_text([(CLAIMS[0], finding)])
    assert "<script" not in text
    assert "\\[x\\](http://evil)" in text


def test_the_lines_are_those_of_the_files(tmp_path: Path) -> None:
    """From files to files, with a row that failed before the two that count."""
    rows = [
        failed_row(A100, "unsupported", precision="bf16"),
        latency_row(A100, 10.0),
        latency_row(A100, 6.0, **HALF),
    ]
    tables = {
        name: made.write_rows(shown, tmp_path / f"{name}.csv", getattr(schemas, name.upper()))
        for name, shown in {
            "results": rows,
            "quality": [],
            "races": [],
            "published": [],
            "advice": [],
        }.items()
    }
    images = made.write_images(tmp_path / "none.npz", 0.0, [1, 2, 4], [1, 2, 3, 4])
    text, findings = tmp_path / "findings.md", tmp_path / "findings.csv"
    write_findings(**tables, references=[images], models=["shapes"], text=text, table=findings)
    written = read_table(findings, schemas.FINDINGS).set_index("claim")
    half = written.loc["half-precision"]
    assert (half["verdict"], half["rows"]) == (HOLDS, "results.csv: 3, 4")
    lines = tables["results"].read_text().splitlines()
    assert "fp32" in lines[2] and "fp16" in lines[3]
    assert "**holds**" in text.read_text()
    assert "[results.csv](tables/results.csv), lines 3, 4" in text.read_text()
