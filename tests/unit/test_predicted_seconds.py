"""Seconds for cards that nobody measured: fitted, tried by leaving out, refused where unknown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbench.analysis import predicted_seconds
from sdbench.analysis.predicted_seconds import (
    TERMS,
    Arrays,
    Fit,
    Question,
    ask,
    published_questions,
    work_of,
)
from sdbench.analysis.predictor import Miss, Predictor, quantile
from sdbench.devices.datasheets import check_cards, find_card, find_datasheet, read_datasheets
from sdbench.models.architectures import load_architecture
from sdbench.models.described import COUNTED, find_described, published_keys, work_key
from sdbench.runtime.errors import UnsupportedError, UserError
from sdbench.tables.files import read_rows, read_table
from sdbench.tables.schemas import GPUS, PUBLISHED
from tests.conftest import ROOT

TABLE = ROOT / "resources/datasheets/gpus.csv"
PUBLISHED_TABLE = ROOT / "resources/published.csv"
SHEETS = read_datasheets(TABLE)
ARCHITECTURES = {
    path.stem: load_architecture(path)
    for path in (ROOT / "resources/architectures").glob("*.yaml")
    if not path.stem.startswith("tiny")
}
CARDS = ("RTX 3060 12GB", "RTX 3090", "RTX 4090", "A100 SXM4 80GB", "A10", "T4", "H100 PCIe 80GB")
GENERATIONS = {
    "sd-v1": {"width": 512, "height": 512, "steps": 50, "scheduler": "pndm", "guidance": 7.5},
    "sdxl": {"width": 1024, "height": 1024, "steps": 30, "scheduler": "euler", "guidance": 5.0},
}
# In the order of COUNTED: a denoiser, a decoder and a text encoder of about the size of real ones.
SIZES = {
    "sd-v1": ((5e11, 9e11, 2.5e11, 3e9, 6e9, 850, 9e8),
              (1e10, 2.5e12, 3e10, 4.5e9, 1e8, 180, 8e7), (3e10, 0, 4e8, 2e8, 2e7, 190, 1.2e8)),
    "sdxl": ((9e12, 3e12, 1.6e12, 2.4e10, 2.7e10, 2200, 2.6e9),
             (3e10, 1e13, 5e11, 1.8e10, 1e9, 180, 8e7), (1.1e11, 0, 1e9, 9e8, 4e7, 600, 8e8)),
}  # fmt: skip
WORK = work_of(
    {"model": model, "width": size, "height": size, "prompts": 2, "network": network}
    | dict(zip(COUNTED, counts, strict=True))
    for model, size in (("sd-v1", 512), ("sdxl", 1024))
    for network, counts in zip(
        ("denoiser", "vae_decoder", "text_encoder"), SIZES[model], strict=True
    )
)


def question(card: str = "RTX 3090", model: str = "sd-v1", **variant: Any) -> Question:
    sheet = find_datasheet(card, SHEETS)
    assert sheet is not None, card
    given = {"backend": "pytorch", "precision": "fp16", "options": "none", "batch_size": 1}
    return ask(ARCHITECTURES[model], GENERATIONS[model], sheet, given | variant)


def seconds(fitted: Fit, *questions: Question) -> list[float]:
    return [float(s) for s in fitted.seconds(questions, Arrays(questions, WORK))]


TRUE = Fit({n: value * 1.1 for n, (value, _) in TERMS.items()}, {"pytorch compiled": 0.8}, {}, {})
"""What makes the rows of these tests: not what is expected before any row."""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    asked = [
        question(card, model, options=options, batch_size=size, campaign=f"campaign {i % 3}")
        for i, card in enumerate(CARDS)
        for model in GENERATIONS
        for options in ("none", "compile", "attention-vanilla")
        for size in (1, 4, 16)
    ]
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, len(asked)))
    return Predictor.of([*zip(asked, noise * seconds(TRUE, *asked), strict=True)], WORK)


def test_what_made_the_rows_is_found_again(predictor: Predictor) -> None:
    """For cards and models of which no row was shown."""
    for misses in (predictor.cards_left_out, predictor.models_left_out):
        assert len(misses) == len(predictor.samples)
        assert quantile(misses, 0.5) < 1.06
    assert {miss.left_out for miss in predictor.models_left_out} == {"sd-v1", "sdxl"}
    assert predictor.whole.engines["pytorch compiled"] == pytest.approx(0.8, abs=0.1)


def test_a_prediction_has_the_interval_of_the_errors_found(predictor: Predictor) -> None:
    asked = question("RTX A6000")
    (found,) = predictor.estimates([asked], WORK)
    assert found.low is not None and found.high is not None
    (true,) = seconds(TRUE, asked)
    assert found.low < true < found.high
    assert found.high / found.value == pytest.approx(found.value / found.low)
    assert found.high / found.value == pytest.approx(predictor.card_factor)
    inside = [abs(miss.error) <= np.log(predictor.card_factor) for miss in predictor.cards_left_out]
    assert 0.9 < np.mean(inside) < 1


def test_a_model_without_rows_has_the_interval_of_models_left_out(predictor: Predictor) -> None:
    known = [sample for sample in predictor.samples if sample[0].model == "sd-v1"]
    other = replace(
        predictor, samples=known, models_left_out=[Miss(known[0][0], "sdxl", np.log(3))]
    )
    asked = replace(question("RTX A6000", "sdxl"), family=known[0][0].family)
    (found,) = other.estimates([asked], WORK)
    assert found.high is not None and found.high / found.value == pytest.approx(3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (question(backend="onnxruntime"), "rows of onnxruntime are of 0 cards like NVIDIA GeForce"),
        (question("Apple M1 Max (32-core GPU)"), "rows of pytorch are of 0 cards like Apple M1"),
        (question("RX 7900 XTX"), "are of 0 cards like AMD Radeon RX 7900 XTX, and 3 are needed"),
        (
            replace(question(), family="ZImagePipeline"),
            "no published row is of models of ZImagePipeline",
        ),
        (
            question("RTX 4090", precision="fp32"),
            "is of fp32 without TF32 on cards like NVIDIA GeF",
        ),
        (question("RTX 4090", precision="tf32"), "no published row of pytorch is of fp32"),
    ],
)
def test_what_no_row_tells_of_is_refused(asked: Question, said: str, predictor: Predictor) -> None:
    assert said in str(predictor.why_not(asked))


@pytest.mark.parametrize(
    ("card", "variant", "said"),
    [
        ("GTX 1080 Ti", {}, "datasheet of NVIDIA GeForce GTX 1080 Ti has no peak in half"),
        ("Apple M4 (10-core GPU)", {"precision": "fp32"}, "has no peak in fp32"),
        ("T4", {"precision": "bf16"}, "NVIDIA T4 has no matrix units for bf16"),
        ("RTX 3090", {"options": "nf4-weights"}, "no published row says what nf4-weights costs"),
        ("RTX 3090", {"options": "attention-sliced"}, "says what attention-sliced costs"),
    ],
)
def test_what_has_no_term_is_refused(card: str, variant: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        question(card, **variant)


def test_no_card_is_slower_for_being_better() -> None:
    fitted = Fit({name: value for name, (value, _) in TERMS.items()}, {}, {}, {})
    for size in (1, 16):
        asked = question(batch_size=size)
        for number in ("half_tflops", "fp32_tflops", "bandwidth_gb_s", "tdp_w"):
            better = replace(asked.card, **{number: 2 * getattr(asked.card, number)})
            plain, fast = seconds(fitted, asked, replace(asked, card=better))
            assert 0.5 * plain < fast <= plain, number
    one, two = seconds(fitted, asked, replace(asked, batch_size=32))
    assert 1.7 * one < two < 2.1 * one


def test_questions_follow_scheduler_guidance_options_and_campaign() -> None:
    assert question().evaluations == 51 and question(model="sdxl").evaluations == 30
    assert question().work == ("sd-v1", 512, 512, 2)
    flux = GENERATIONS["sdxl"] | {"guidance": 3.5}
    assert work_key(ARCHITECTURES["flux.1-dev"], flux) == ("flux.1-dev", 1024, 1024, 1)
    assert question(options="vae-slicing+compile").engine == "pytorch compiled"
    assert question(backend="onnxruntime", options="tensorrt").engine == "tensorrt"
    assert question(options="attention-vanilla").attention == "vanilla"
    tf32: dict[str, Any] = {"precision": "fp32", "tf32_convolutions": True}
    first = question(campaign="lambda-2022-10", **tf32)
    later = question(campaign="lambda-2023-01-xformers", **tf32)
    assert (first.convolutions_tf32, first.products_tf32) == (True, False)
    assert (later.convolutions_tf32, later.products_tf32) == (True, True)


def test_each_that_was_left_out_counts_as_much_as_any_other() -> None:
    asked = question()
    misses = [Miss(asked, "many", 0.1)] * 99 + [Miss(asked, "one", -1.0)]
    assert quantile(misses, 0.49) == pytest.approx(np.exp(0.1))
    assert quantile(misses, 0.51) == pytest.approx(np.exp(1.0))


def test_the_shipped_rows_tell_of_many_cards_and_families() -> None:
    rows = read_rows(PUBLISHED_TABLE, PUBLISHED)
    samples = published_questions(rows, ARCHITECTURES, SHEETS)
    asked = [question for question, _ in samples]
    assert len(samples) > 600
    assert len({q.card.name for q in asked}) >= 25
    assert len({q.family for q in asked}) >= 4
    for engine in {q.engine for q in asked}:
        cards = {q.card.name for q in asked if q.engine == engine}
        assert len(cards) >= predicted_seconds.FEWEST_CARDS, engine
    # A slice of a card is not that card.
    whole = [row for row in rows if "MIG" not in row["device_name"]]
    assert len(published_questions(whole, ARCHITECTURES, SHEETS)) == len(samples)
    keys = published_keys([PUBLISHED_TABLE], ARCHITECTURES)
    assert {q.work for q in asked} <= keys and len(keys) < 20


def test_every_description_but_the_small_ones_is_known_by_name() -> None:
    for name, architecture in ARCHITECTURES.items():
        published = architecture.published or {"hub": architecture.source}
        assert find_described(published["hub"]) == name
    assert find_described("shapes") is None


def test_every_card_has_its_source() -> None:
    table = read_table(TABLE, GPUS)
    assert table["source"].str.len().gt(3).all()
    for sheet in SHEETS:
        assert find_datasheet(sheet.name, SHEETS) == sheet


MINE = {
    "memory_gb": 24, "bandwidth_gb_s": 900, "fp16_tflops": 90, "fp32_tflops": 45, "tdp_w": 300,
}  # fmt: skip


def test_a_card_of_the_config_needs_its_five_numbers() -> None:
    found = find_card("Mine", SHEETS, {"Mine": {**MINE, "price_per_hour": 1.0}})
    assert (found.name, found.half_tflops, found.tdp_w) == ("Mine", 90, 300)
    known = {"NVIDIA GeForce RTX 3090": {"price_per_hour": 0.5}}
    assert find_card("NVIDIA GeForce RTX 3090", SHEETS, known).memory_gb == 24
    with pytest.raises(UserError) as error:
        find_card("GeForce RTX 3091", SHEETS, {"GeForce RTX 3091": {"memory_gb": 24}})
    assert str(error.value) == (
        "found 'GeForce RTX 3091', of which no datasheet is known; near are "
        "NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 5090, NVIDIA GeForce RTX 4090: use one of "
        "these names, or give `bandwidth_gb_s`, `fp16_tflops`, `fp32_tflops`, `tdp_w` under it in "
        "`cards`"
    )


def test_numbers_that_no_card_has_are_refused_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cards:\n  Mine: {}\n")
    with pytest.raises(UserError, match=r"cards\.Mine: found 90 and 0\.9 for `fp16_tflops` and"):
        check_cards({"Mine": {**MINE, "bandwidth_gb_s": 0.9}}, TABLE, [file])
