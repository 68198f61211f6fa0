"""What cards take that are not at hand: which answer counts, what it costs, and how it is said."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plot_cards import card_groups, cards_figure, plot_cards
from sdbench.analysis.advice import Known, advise, find_peaks, find_targets
from sdbench.analysis.estimates import Estimate
from sdbench.analysis.question import answer_question, fastest
from sdbench.models.computed import CONTEXT_BYTES
from sdbench.models.described import COUNTED, find_asked, work_key
from sdbench.tables.schemas import ADVICE
from tests.conftest import ROOT
from tests.unit import tables_factory as made
from tests.unit.figure_reading import faults, texts
from tests.unit.test_predicted_seconds import ARCHITECTURES, GENERATIONS, SHEETS

GENERATION = GENERATIONS["sd-v1"]
WORK: Any = {work_key(ARCHITECTURES["sd-v1"], GENERATION): dict.fromkeys(COUNTED, 1.0)}
CARDS = [s for s in SHEETS if s.name in ("NVIDIA GeForce RTX 3090", "NVIDIA A100 SXM4 80GB")]
PEAKS = {("sd-v1", 512, 512, precision, size): 30 * 2.0**30 for precision in ("fp16", "fp32")
         for size in (4,)}  # fmt: skip


@dataclass
class TwoSeconds:
    """Stands for a predictor: two seconds, and nothing of bf16."""

    def why_not(self, question: Any) -> str | None:
        return "no row" if question.precision == "bf16" else None

    def estimates(self, questions: Any, work: Any) -> list[Estimate]:
        return [Estimate(2.0, 1.0, 4.0) for _ in questions]


def published(card: str, seconds: float, **changes: Any) -> made.Row:
    row = made.SD_V1 | {"device_name": card, "latency_s": seconds, "campaign": "theirs"}
    row |= {"precision": "fp16", "tf32_convolutions": False, "images_per_minute": None}
    return row | {"memory_bytes": None, "model": "CompVis/stable-diffusion-v1-4"} | changes


def told(
    results: made.Rows,
    elsewhere: made.Rows,
    cards: Any = {},  # noqa: B006
) -> dict[tuple[Any, ...], made.Row]:
    targets = find_targets(results, elsewhere, CARDS, cards, {"cpu": 0.0})
    known = Known(results, elsewhere, ARCHITECTURES, {"sd-v1-4": "sd-v1"}, CARDS)
    predictor: Any = TwoSeconds()
    asked = {"sd-v1": GENERATION}
    rows = advise(targets, asked, ARCHITECTURES, known, PEAKS, predictor, WORK, "EUR")
    return {(r["card"], r["precision"], r["batch_size"]): r for r in rows}


def test_measured_counts_before_published_before_predicted() -> None:
    here = made.latency_row(made.SD_V1, 9.0, device="cpu", device_kind="cpu", device_name="Mine",
                            precision="fp32", contended=False, passes_gate=None,
                            memory_bytes=5e9, images_per_minute=None)  # fmt: skip
    rows = told(
        [here],
        [
            published("NVIDIA A100 SXM4 80GB", 1.5),
            published("NVIDIA A100 SXM4 80GB", 1.2, attention="vanilla"),
            published("NVIDIA GeForce RTX 3090", 1.0, attention="vanilla"),
            published("NVIDIA GeForce RTX 3090", 7.0, attention="vanilla", precision="bf16"),
        ],
    )

    def said(*key: Any) -> tuple[Any, ...]:
        row = rows[key]
        return row.get("basis"), row.get("latency_s"), row["fits"], row.get("reason")

    assert said("Mine", "fp32", 1) == ("measured", 9.0, "yes", None)
    reason = "it was not measured, and only GPUs are predicted"
    assert said("Mine", "fp32", 4) == (None, None, "unknown", reason)
    assert said("NVIDIA A100 SXM4 80GB", "fp16", 1) == ("published", 1.5, "yes", None)
    # Of an attention that is slower than today's: only where nothing else can be said.
    assert said("NVIDIA GeForce RTX 3090", "fp16", 1) == ("predicted", 2.0, "unknown", None)
    assert said("NVIDIA GeForce RTX 3090", "bf16", 1)[:2] == ("published", 7.0)
    assert said("NVIDIA GeForce RTX 3090", "tf32", 4) == (
        *(None, None, "no", "it needs 30 GiB (predicted), and the card has 24"),
    )
    assert said("NVIDIA A100 SXM4 80GB", "tf32", 4)[:3] == ("predicted", 2.0, "yes")


def test_what_failed_for_want_of_something_else_leaves_what_is_predicted_of_memory() -> None:
    here: made.Row = {"device": "gpu", "device_name": "NVIDIA GeForce RTX 3090", "batch_size": 4}
    here |= {"precision": "fp16", "contended": None, "passes_gate": None, "latency_s": None}
    for status, fits in (("unsupported", "no"), ("error", "no"), ("oom", "no")):
        rows = told([made.failed_row(made.SD_V1, status, **here)], [])
        (row,) = [r for r in rows.values() if r.get("reason") == f"because of {status}"]
        assert row["fits"] == fits


def test_cards_that_all_ran_out_of_memory_are_answered_without_numbers() -> None:
    row = made.advice_row("NVIDIA GeForce Unheard", None, memory_bytes=None, card_memory_gb=None)
    table = pd.DataFrame([row]).reindex(columns=list(ADVICE.columns)).astype(object)
    told: Any = table.where(table.notna(), None).to_dict("records")
    ((_, said),) = answer_question(told)
    assert said.startswith("A gaming card does not: each one that was tried ran out of memory.")


def test_a_price_makes_a_cost_with_the_interval_of_the_time() -> None:
    mine = {"memory_gb": 16, "bandwidth_gb_s": 900, "fp16_tflops": 90, "fp32_tflops": 45}
    cards = {
        "GeForce RTX 3090": {"price_per_hour": 1.8},
        "New": {**mine, "tdp_w": 300, "price_per_hour": 0},
    }
    rows = told([], [], cards)
    row = rows["NVIDIA GeForce RTX 3090", "fp16", 1]
    cost = [row[name] for name in ("cost_per_1000_images", "cost_ci_low", "cost_ci_high")]
    # 1,000 images of two seconds, an hour of which costs 1.80.
    assert cost == pytest.approx([1.0, 0.5, 2.0])
    assert row["currency"] == "EUR"
    assert rows["New", "fp16", 1]["latency_s"] == 2.0
    assert "cost_per_1000_images" not in rows["New", "fp16", 1]


def test_memory_of_any_batch_is_on_the_line_through_two() -> None:
    base = {"model": "sd-v1", "width": 512, "height": 512, "precision": "fp16", "options": "none"}
    rows = [base | {"batch": size, "predicted_reserved_bytes": 3e9 + size * 1e9} for size in (1, 2)]
    peaks = find_peaks([*rows, rows[0] | {"options": "nf4-weights"}])
    of = ("sd-v1", 512, 512, "fp16")
    assert {key[-1]: peak - CONTEXT_BYTES for key, peak in peaks.items()} == {
        **{1: 4e9, 4: 7e9, 16: 19e9}
    }
    assert set(key[:-1] for key in peaks) == {of}


def test_a_model_is_asked_as_the_config_has_it() -> None:
    models = {"mine": {"source": {"seeded": "sdxl"}, "generation": GENERATIONS["sdxl"]}}
    asked = find_asked(models, ROOT / "resources/architectures")
    assert asked["sdxl"]["steps"] == 30
    assert asked["sd-v1"] == GENERATION
    assert not [name for name in asked if name.startswith("tiny")]


def test_the_question_of_the_post_is_answered_with_what_is_known() -> None:
    flux: Any = {"model": "flux.1-dev", "memory_bytes": 39 * 2.0**30}
    rows = [
        made.advice_row("Mine", 335.0, "measured", device="cpu", gpu=False, card_memory_gb=None),
        made.advice_row("NVIDIA GeForce RTX 4090", 1.28, "published", cost_per_1000_images=0.2),
        made.advice_row("NVIDIA GeForce RTX 2060", 6.0, card_memory_gb=6.0),
        made.advice_row("NVIDIA A100 SXM4 80GB", 1.6, cost_per_1000_images=0.9, currency="USD"),
        made.advice_row("NVIDIA GeForce RTX 5090", None, **flux, card_memory_gb=32.0),
        made.advice_row("NVIDIA A100 SXM4 80GB", 27.0, **flux),
    ]
    table = pd.DataFrame(rows).reindex(columns=list(ADVICE.columns)).astype(object)
    told: Any = table.where(table.notna(), None).to_dict("records")
    (sd, said), (_, of_flux) = answer_question(told)
    assert sd.startswith("Stable Diffusion v1, 512")
    assert said == (
        "A gaming card does: the fastest is RTX 4090 (24 GB) with 1.28 s in fp16 (published), and "
        "of the least memory RTX 2060 (6 GB) with 6.00 s in fp16 (predicted, 3.00 to 12.0). The "
        "fastest A100 is A100 SXM4 80GB with 1.60 s in fp16 (predicted, 0.800 to 3.20), which "
        "cannot be told apart from RTX 4090; 1,000 images cost 0.900 USD on it and 0.200 on RTX "
        "4090. With a CPU alone: Mine with 335 s in fp16 (measured)."
    )
    assert of_flux.startswith(
        "A gaming card does not: it takes 39.0 GiB (predicted), and GeForce cards have 32 at most."
    )
    assert "no gaming card replaces" in of_flux
    assert of_flux.endswith("With a CPU alone the time cannot be said: there is no row of one.")


def test_the_figure_shows_each_basis_and_nothing_overlaps(tmp_path: Path) -> None:
    rows = [made.advice_row(f"Card {i}", 1.0 + i) for i in range(9)]
    rows.append(made.advice_row("Card 9", 11.0, "published", source="theirs"))
    rows.append(made.advice_row("Small", 4.0, card_memory_gb=6.0))
    table = made.write_rows(rows, tmp_path / "advice.csv", ADVICE)
    files = made.figure_files(tmp_path)
    plot_cards(table, "sd-v1", files)
    shown = pd.read_csv(files.csv)
    # Six predicted ones of a group are enough.
    assert [*shown["card"]] == ["Small", *(f"Card {i}" for i in range(6)), "Card 9"]
    assert [*shown["group"].unique()] == ["6 GB", "24 GB"]
    priced = [row | {"currency": "EUR", "cost_per_1000_images": 0.1} for row in rows]
    full = [dict.fromkeys(ADVICE.columns) | row for row in priced]
    groups = card_groups(full)
    figure = cards_figure(groups, "what")
    assert not faults(figure)
    assert "Seconds per image on cards, by their price" in texts(figure)
    assert min(groups, key=lambda name: float(name.split()[0])) == next(iter(groups))


def test_a_prediction_counts_where_it_is_clearly_faster() -> None:
    for seconds, basis in ((3.0, "published"), (5.0, "predicted")):
        rows = [made.advice_row("T4", 2.0), made.advice_row("T4", seconds, "published")]
        found = fastest([dict.fromkeys(ADVICE.columns) | row for row in rows])
        assert found["T4"]["basis"] == basis


def test_a_model_without_answers_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = made.write_rows([], tmp_path / "advice.csv", ADVICE)
    plot_cards(table, "sdxl", made.figure_files(tmp_path))
    assert "No card has an answer" in capsys.readouterr().out
