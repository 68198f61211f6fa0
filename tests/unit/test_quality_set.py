"""What sets of images say: pairs, intervals, verdicts, prompts, and how all of it is shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collect_quality_set import collect_quality_set
from judge_images import judge_images
from plot_quality_verdicts import plot_quality_verdicts, plot_verdicts
from plot_quality_worst import plot_quality_worst, plot_worst
from plot_speed_quality import speed_quality_sheet
from sdbench.analysis.estimates import Estimate
from sdbench.analysis.quality_set import FEWEST, judge_difference, paired_difference
from sdbench.measure.judges import judge_shapes
from sdbench.models.planning import LONGEST_PROMPT, MOST_BYTES, read_prompts
from sdbench.models.shapes.scenes import descriptions, draw, random_scene
from sdbench.report.figures.images import NO_SET, load_sets, verdict_text
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json, write_json
from sdbench.tables.files import read_rows
from sdbench.tables.quality import compare_cases
from sdbench.tables.schemas import QUALITY_PAIRS, QUALITY_SET, RESULTS
from tests.conftest import ROOT
from tests.unit.figure_reading import faults, texts
from tests.unit.records_factory import make_case, make_record
from tests.unit.tables_factory import (
    SET_PROMPTS,
    SHAPES,
    figure_files,
    latency_row,
    set_rows,
    write_rows,
    write_set,
)

BF16 = SHAPES | {"precision": "bf16"}
WAY = {name: BF16[name] for name in ("model", "device", "backend", "precision", "options")}


def test_an_interval_covers_the_mean_and_narrows_with_the_root_of_n() -> None:
    random = np.random.default_rng(1)
    held, wide = 0, {}
    for n in (25, 100):
        found = [paired_difference(random.normal(0.02, 0.1, n).tolist()) for _ in range(60)]
        held += sum(one.low <= 0.02 <= one.high for one in found if one.low and one.high)
        wide[n] = np.mean([(one.high or 0) - (one.low or 0) for one in found])
    assert held >= 0.88 * 120
    assert 1.7 < wide[25] / wide[100] < 2.3


def test_where_all_agree_there_is_room_for_what_was_not_seen() -> None:
    assert paired_difference([0.0] * 64) == Estimate(0.0, 0.0, 0.0)
    found = paired_difference([0.0] * 64, step=1 / 3)
    # 1 - 0.025^(1/64) = 5.6 % of all prompts, a third each.
    assert found.high == pytest.approx(0.0187, abs=1e-4)
    assert judge_difference(found, 0.05, 64)[0] == "same"
    few = paired_difference([0.0] * 16, step=1 / 3)
    assert judge_difference(few, 0.05, 16)[0] == "cannot be said"
    assert paired_difference([0.0] * (FEWEST - 1)).low is None


@pytest.mark.parametrize(
    ("found", "verdict", "decides"),
    [
        (Estimate(0.0, -0.03, 0.03), "same", None),
        (Estimate(-0.02, -0.04, -0.001), "same", None),
        (Estimate(-0.1, -0.2, -0.01), "worse", None),
        (Estimate(0.1, 0.01, 0.2), "better", None),
        # Half as wide is enough to lie within the margin: four times as many.
        (Estimate(0.0, -0.1, 0.1), "cannot be said", 400),
        # Or to lie beside 0, where that is nearer.
        (Estimate(-0.04, -0.09, 0.01), "cannot be said", 157),
        (Estimate(0.0), "cannot be said", None),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    found: Estimate, verdict: str, decides: int | None
) -> None:
    assert judge_difference(found, 0.05, 100) == (verdict, decides)


def collected(folder: Path, others: dict[str, Path], judge: str = "shapes") -> list[dict[str, Any]]:
    """Judge and collect sets of these precisions; return the rows of verdicts."""
    reference = write_set(folder / "fp32.npz", 0.0)
    archives = [reference, *others.values()]
    judge_images(archives, judge, [], folder / "judged.json")
    write_json(folder / "shapes.json", {"weights": "trained"})
    asked = {
        "reference": WAY | {"precision": "fp32"},
        "others": [WAY | {"precision": precision} for precision in others],
        "settings": {"width": 16, "height": 16, "steps": 1, "scheduler": "ddim", "guidance": 1.0},
        "margin": 0.05,
    }
    tables = folder / "quality_set.csv", folder / "quality_pairs.csv"
    gate = {"min_ssim": 0.9, "min_psnr_db": 20.0}
    made = [folder / "judged.json"], [folder / "shapes.json"], archives
    collect_quality_set(*made, [asked], gate, *tables)
    return read_rows(tables[0], QUALITY_SET)


def test_pairs_are_of_the_same_prompt_and_seed_and_missing_ones_are_counted(tmp_path: Path) -> None:
    failed = {"set_status": np.array("oom"), "set_reason": np.array("no room")}
    same, some, none = collected(
        tmp_path,
        {
            "bf16": write_set(tmp_path / "bf16.npz", 0.0),
            "fp16": write_set(tmp_path / "fp16.npz", 0.0, missing=[0, 2], **failed),
            "tf32": write_set(tmp_path / "tf32.npz", 0.0, missing=range(4), **failed),
        },
    )
    assert (same["n"], same["missing"], same["status"]) == (4, 0, "ok")
    assert same["psnr_db"] == same["psnr_q3_db"] == float("inf")
    assert same["below_gate"] == 0.0
    # Those that are there are of the same place: as alike.
    assert (some["n"], some["missing"], some["psnr_db"]) == (2, 2, float("inf"))
    assert (some["status"], some["reason"], some["verdict"]) == ("oom", "no room", "cannot be said")
    assert (none["n"], none["missing"], none["psnr_db"]) == (0, 4, None)
    pairs = read_rows(tmp_path / "quality_pairs.csv", QUALITY_PAIRS)
    assert len(pairs) == 12
    assert [row["psnr_db"] is None for row in pairs[4:8]] == [True, False, True, False]
    # Two prompts are too few for any verdict, whatever their images.
    assert (same["verdict"], same["decides_n"]) == ("cannot be said", 2 * FEWEST)


def test_a_judge_that_is_not_there_is_said_and_leaves_the_pairs(tmp_path: Path) -> None:
    (tmp_path / "failed.txt").write_text("owner/clip: was not reached")
    archives = [write_set(tmp_path / f"{name}.npz", 0.0) for name in ("one", "two")]
    judge = {"hub": "owner/clip", "revision": "0" * 40}
    judge_images(archives, judge, tmp_path, tmp_path / "judged.json")
    found = read_json(tmp_path / "judged.json")
    assert (found["judge"], found["reason"]) == ("none", "owner/clip: was not reached")
    (row,) = collected(tmp_path, {"bf16": archives[1]}, "none")
    assert (row["verdict"], row["score_difference"], row["n"]) == ("cannot be said", None, 4)


def test_the_judge_of_shapes_counts_the_parts_that_are_right() -> None:
    scenes = [random_scene(np.random.default_rng(number)) for number in range(20)]
    images = np.stack([draw(scene) for scene in scenes])
    captions = [scene.description.caption for scene in scenes]
    assert judge_shapes(images, captions) == [1.0] * 20
    (what,) = (one for one in descriptions() if one.caption == SET_PROMPTS[0])
    other = [what.caption] * 20
    wrong = judge_shapes(images, other)
    for scene, score in zip(scenes, wrong, strict=True):
        right = sum(vars(scene.description)[part] == vars(what)[part] for part in vars(what))
        assert score == pytest.approx(right / 3)
    assert judge_shapes(images[:1], ["a house"]) == [None]


def test_the_set_decides_the_gate_of_a_case_and_not_its_one_image(tmp_path: Path) -> None:
    records = [(tmp_path / "a.json", make_record(make_case(precision="bf16"), image=None))]
    said = {}
    for verdict in ("same", "better", "worse", "cannot be said"):
        row, _ = set_rows(BF16, verdict=verdict)
        (found,) = compare_cases(records, {"min_ssim": 0.9, "min_psnr_db": 20.0}, [row])
        said[verdict] = found["passes_gate"], found["quality_verdict"] == verdict
    assert said == {
        "same": (True, True),
        "better": (True, True),
        "worse": (False, True),
        "cannot be said": (None, True),
    }
    # Without a judge half of the pairs must keep the gate.
    for share, passes in ((0.4, True), (0.6, False)):
        row, _ = set_rows(BF16, score_difference=None, below_gate=share)
        assert compare_cases(records, {}, [row]) == [{"passes_gate": passes}]
    # Where images are missing neither does.
    for missing in (None, 0.0):
        row, _ = set_rows(BF16, score_difference=None, below_gate=missing, status="oom")
        unsaid = {"passes_gate": None, "quality_verdict": "cannot be said"}
        assert compare_cases(records, {}, [row]) == [unsaid]
    seeded = [
        (
            tmp_path / "a.json",
            make_record(make_case(precision="bf16"), image=None, weights="seeded"),
        )
    ]
    assert compare_cases(seeded, {}, [row]) == [{}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found 0 prompts; allowed are 1 to 10,000"),
        (b"\n \n", "found 0 prompts"),
        (b"a cat\n\xff\n", "byte 6: not UTF-8: save it as UTF-8 text"),
        (b"a cat\na dog\n\na cat \n", "line 4: found 'a cat', as line 1 has it"),
        (b"x" * (LONGEST_PROMPT + 1), "1,001 characters; allowed are 1,000: shorten it"),
        (b"a\x00b", "line 1: found \"'a\\\\x00b'\"; allowed is text without control characters"),
        (b"x\n" * (MOST_BYTES // 2 + 1), "more than 4,000,000 bytes"),
        (b"\n".join(b"%d" % n for n in range(10_001)), "found 10,001 prompts"),
    ],
)
def test_a_file_of_prompts_that_is_wrong_is_refused(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_prompts(path)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_the_prompts_that_ship() -> None:
    shapes = read_prompts(ROOT / "resources/prompts/shapes.txt")
    assert len(shapes) == 64 and set(shapes) <= {what.caption for what in descriptions()}
    assert len(read_prompts(ROOT / "resources/prompts/general.txt")) == 100


def sets(folder: Path, missing: tuple[int, ...] = (), **changes: Any) -> tuple[Any, ...]:
    """Write a set of one variant; return what `load_sets` reads."""
    row, pairs = set_rows(BF16, missing, **changes)
    archives = [
        write_set(folder / f"shapes/cpu/pytorch/{precision}/none.npz", noise, gone)
        for precision, noise, gone in (("fp32", 0.0, ()), ("bf16", 9.0, missing))
    ]
    tables = (
        write_rows([row], folder / "quality_set.csv", QUALITY_SET),
        write_rows(pairs, folder / "quality_pairs.csv", QUALITY_PAIRS),
    )
    return *tables, archives[:1], archives[1:]


def test_the_worst_pairs_come_first_with_their_own_images(tmp_path: Path) -> None:
    made = sets(tmp_path, missing=(1,))
    (one,) = load_sets(*made)
    # Scores fall from place to place, and one is missing.
    assert [pair["place"] for pair in one.pairs] == [3, 2, 0]
    figure = plot_worst([one])
    assert len(figure.axes) == 3 * 3 + 1
    assert faults(figure) == []
    shown = " ".join(texts(figure))
    assert "1.00 → 0.00, 37.0 dB" in shown
    assert "worse: -0.500 (-0.700 to -0.300)" in shown
    files = figure_files(tmp_path)
    table, pairs, references, others = made
    plot_quality_worst(table, pairs, references, others, files)
    assert list(pd.read_csv(files.csv)["psnr_db"]) == [37.0, 38.0, 40.0]


def test_verdicts_are_plotted_with_what_is_missing(tmp_path: Path) -> None:
    table, pairs, *_ = sets(tmp_path, missing=(1,), verdict="cannot be said", decides_n=300)
    files = figure_files(tmp_path)
    plot_quality_verdicts(table, pairs, files)
    assert len(pd.read_csv(files.csv)) == 1
    rows = read_rows(table, QUALITY_SET)
    figure = plot_verdicts(rows, {tuple(WAY.values()): read_rows(pairs, QUALITY_PAIRS)})
    assert faults(figure) == []
    # Numbers and their units do not part at the end of a line.
    shown = " ".join(texts(figure)).replace("\xa0", " ")
    assert "n = 3, 1 missing" in shown and "about 300 pairs would decide" in shown


def test_figures_without_a_set_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_rows([], tmp_path / "s.csv", QUALITY_SET)
    pairs = write_rows([], tmp_path / "p.csv", QUALITY_PAIRS)
    plot_quality_verdicts(table, pairs, figure_files(tmp_path))
    plot_quality_worst(table, pairs, [], [], figure_files(tmp_path))
    assert capsys.readouterr().out.count(NO_SET) == 2
    assert NO_SET in texts(plot_worst([])) and NO_SET in texts(plot_verdicts([], {}))


def test_a_verdict_without_a_score_says_so() -> None:
    row, _ = set_rows(BF16, score_difference=None, verdict="cannot be said", decides_n=None)
    assert verdict_text(row) == "cannot be said: no score of a judge"


def test_speed_stands_next_to_the_verdict_and_what_is_dominated_is_pale(tmp_path: Path) -> None:
    alike = {"ssim": 0.9, "psnr_db": 30.0}
    row, _ = set_rows(BF16, verdict="cannot be said", n=64)
    rows = [
        latency_row(SHAPES, 1.0, ssim=1.0, psnr_db=float("inf"), passes_gate=True),
        latency_row(BF16, 0.5, **alike, quality_verdict="cannot be said"),
        latency_row(SHAPES | {"options": "channels-last"}, 0.8, **alike, passes_gate=True),
    ]
    sheet = speed_quality_sheet(
        write_rows(rows, tmp_path / "results.csv", RESULTS),
        write_rows([row], tmp_path / "set.csv", QUALITY_SET),
    )
    shown = {one.label: one for panel in sheet.panels for one in panel.rows}
    judged, dominated = shown["bf16"], shown["fp32, channels-last"]
    assert judged.cells[1].value == 0.99 and "n = 64, cannot be said" in judged.cells[1].extra
    assert judged.cells[0].extra.startswith("0.50 ")
    assert [one.pale for one in (shown["fp32"], judged, dominated)] == [False, False, True]
