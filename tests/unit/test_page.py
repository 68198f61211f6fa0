"""The page as it is built; tests/page looks at it in a browser."""

import base64
import io
import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sdbench.report.page import images
from sdbench.report.page.answer import duration
from sdbench.report.page.document import vega
from sdbench.report.page.images import make_viewer
from sdbench.report.page.prose import render_markdown
from sdbench.tables.schemas import QUALITY
from tests.unit import page_factory as made
from tests.unit import tables_factory as factory
from write_page import write_page


class Page(HTMLParser):
    """What a browser makes of a page, as far as these tests ask."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts[-1] += data
        elif self.open != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.scripts[0])
        return loaded

    @property
    def cases(self) -> list[dict[str, Any]]:
        columns = self.data["columns"]
        return [dict(zip(columns["names"], row, strict=True)) for row in columns["rows"]]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    unknown = {"value": None, "low": None, "high": None, "verdict": "cannot be said"}
    onnx = {"claim": "onnx", "statement": "ONNX wins.", "low": None, "high": None}
    findings = [
        made.FINDING,
        made.FINDING | {"subject": "shapes on gpu", "verdict": "cannot be said", "value": 9.0},
        made.FINDING | onnx | {"verdict": "does not hold", "value": -3.0, "campaign": "lab"},
        made.FINDING
        | unknown
        | {"claim": "all", "statement": "All is known.", "figure": None, "rows": None}
        | {"reason": "No A100 was measured."},
    ]
    choices = [
        made.CHOICE,
        made.CHOICE | {"rank": 2, "meets": False, "misses": "0.3 s too slow", "precision": "fp32"},
    ]
    folder, campaigns = tmp_path_factory.mktemp("page"), ("lambda-2022-10",)
    return Page(made.make_page(folder, findings=findings, choices=choices, campaigns=campaigns))


def test_minutes_are_rounded_as_a_whole() -> None:
    assert [duration(s) for s in (9.0, 119.9, 179.7, 331.2)] == [
        *("9.00 s", "120 s", "3 min 0 s", "5 min 31 s"),
    ]


def test_the_answer_is_the_best_of_the_tables(page: Page) -> None:
    # 0.5 s in fp32, 0.6 of that in bf16; its rate grows with the batch.
    assert "0.300 s for one image AMD EPYC 7B13 (cpu): PyTorch, bf16" in page.text
    rate = 120 / 0.6 * 4**0.1
    best = f"{rate:.0f} images per minute AMD EPYC 7B13 (cpu): PyTorch, bf16, batch size 4"
    assert best in page.text
    assert "0.640 GB for one image" in page.text
    assert "2.10 % noise of the machine" in page.text
    # One model and published ones are no question.
    assert "Which model?" not in page.text
    said = (
        "One image takes 0.300 s (0.294 s to 0.306 s) on AMD EPYC 7B13 (cpu) (PyTorch, bf16) "
        "and 0.640 GB of memory."
    )
    assert page.text.count(said) == 1
    # Against fp32, one image at a time: rates are 1 / 0.6 and, with ten times the noise, alike.
    assert "bf16 fp32 AMD EPYC 7B13 (cpu) +67 %" in page.text


def test_no_first_number_was_taken_beside_other_work(tmp_path: Path) -> None:
    rows = made.default_rows()
    busy = [row | {"contended": row["precision"] == "bf16"} for row in rows]
    text = Page(made.make_page(tmp_path, rows=busy)).text
    assert "One image takes 0.400 s (0.392 s to 0.408 s) on AMD EPYC 7B13 (cpu) (ONNX" in text
    assert "0.400 s for one image" in text and "150 images per minute" not in text
    assert "bf16 fp32 AMD EPYC 7B13 (cpu) cannot be said device in use by others" in text
    # Where all were, only memory is known.
    busy = [row | {"contended": True} for row in rows]
    text = Page(made.make_page(tmp_path / "all", rows=busy)).text
    assert "Other processes used the device all the time: measure again." in text
    assert "s for one image AMD" not in text and "What to change" not in text
    assert "0.640 GB for one image" in text
    assert text.count("device in use by others: measure again") == 2


def test_what_cannot_be_told_apart_is_no_gain(tmp_path: Path) -> None:
    rows = [factory.latency_row(factory.SHAPES | {"precision": p}, 0.5) for p in ("fp32", "bf16")]
    rates = zip(rows, (100.0, 102.0), strict=True)
    rows = [factory.throughput_row(row, rate) for row, rate in rates]
    text = Page(made.make_page(tmp_path, rows=rows)).text
    assert "bf16 fp32 AMD EPYC 7B13 (cpu) cannot be told apart -1 to +5 %" in text


def test_it_says_what_was_measured_and_published(page: Page) -> None:
    assert "Measured on AMD EPYC 7B13 (cpu) on 2026-01-01: 9 cases, all ran." in page.text
    assert "58 published rows next to them." in page.text
    assert "Stable Diffusion v1, 512 × 512 px, 50 steps PNDM (published)" in page.text  # noqa: RUF001
    assert "RTX 3090 lambda-2022-10 4.83 PyTorch, fp16, autocast" in page.text


def test_findings_have_number_interval_verdict_and_figure(page: Page) -> None:
    assert "Half precision saves 40 % on Ampere. holds 38.2 % (36.9 to 39.6)" in page.text
    # Once with its verdict, and once in what cannot be said.
    assert page.text.count("Half precision saves 40 % on Ampere.") == 2
    assert "ONNX wins. does not hold -3.00 %" in page.text
    assert "Cannot be said here: 2 findings." in page.text
    assert "No A100 was measured (1)" in page.text
    assert "All is known. cannot be said" in page.text
    counts = "cannot be said: 2, holds: 1, does not hold: 1."
    more = "1 of them with results of other machines"
    assert f"3 claims, 4 findings, {more}; {counts}" in page.text
    anchors = {link["href"] for link in page.named("a")}
    targets = {f"#{attributes['id']}" for _, attributes in page.elements if "id" in attributes}
    assert "#figure-speed" in anchors
    assert {a for a in anchors if a and a.startswith("#")} <= targets


def test_choices_are_in_their_order_with_what_they_miss(page: Page) -> None:
    assert "1 of 2 settings meet the requirements" in page.text
    assert "shapes, 64 × 64 px, 20 steps DDIM 1 of 2 settings" in page.text  # noqa: RUF001
    first, second = (
        page.text.index(f"{row} AMD EPYC 7B13 (cpu) PyTorch, {precision}, batch size 4 1.31")
        for row, precision in (("1 yes", "bf16"), ("2 no 0.3 s too slow", "fp32"))
    )
    assert first < second


def test_choices_are_ranked_among_what_was_generated_alike(tmp_path: Path) -> None:
    name = "NVIDIA A100-SXM4-40GB"
    theirs = made.CHOICE | {"origin": "lambda-2022-10", "device": name, "device_name": name}
    theirs |= {"model": "sd-v1-4", "width": 512, "height": 512}
    own = [made.CHOICE | {"rank": rank, "batch_size": 100 + rank} for rank in range(1, 11)]
    page = Page(made.make_page(tmp_path, choices=[theirs, *own]))
    assert "Fastest first. The first 5 are shown; tables/choices.csv has all." in page.text
    assert "PyTorch, bf16, batch size 105 1.31" in page.text and "batch size 106" not in page.text
    assert page.text.index("batch size 105 1.31") < page.text.index("1 yes A100-SXM4-40GB")
    assert "1 yes A100-SXM4-40GB lambda-2022-10 PyTorch, bf16" in page.text


def test_choices_that_cannot_be_told_apart_share_a_rank(tmp_path: Path) -> None:
    ranks = (1, 2, 2, 2, None)
    page = Page(made.make_page(tmp_path, choices=[made.CHOICE | {"rank": rank} for rank in ranks]))
    assert page.text.count("2 cannot be told apart from 2 others yes AMD EPYC 7B13 (cpu)") == 3
    assert "1 yes AMD EPYC 7B13 (cpu)" in page.text


def test_every_case_is_in_the_data(page: Page) -> None:
    assert len(page.cases) == 9 + 58
    (row,) = [r for r in page.cases if (r["backend"], r["batch_size"]) == ("ONNX Runtime", 4)]
    assert row["latency_s"] == pytest.approx(0.5 * 0.8 * 4**0.9, rel=1e-3)
    assert row["latency_n"] == 12, "of the latency, not of the throughput"
    assert row["memory_gb"] == 0.76
    assert row["gate"] == "keeps"


def test_the_same_inputs_make_the_same_page(tmp_path: Path) -> None:
    one, two = (made.make_page(tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two


EMPTY = [
    "Nothing was measured here: the tables have no rows of this machine.",
    "The table of choices is empty.",
    "The table of findings is empty.",
    "There are no cases",
    "No quality comparison is configured",
    "No record names a machine.",
    "The table of noise is empty",
]
FAILED = [
    "No case ran: 1 out of memory, 1 not supported and 1 failed.",
    "No numbers: out of memory: because of oom",
]
ROWS = made.default_rows()
WRONG = [row | {"passes_gate": row["precision"] != "bf16"} for row in ROWS]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], EMPTY),
        (ROWS[:1], ["0.500 s for one image", "1 case, all ran"]),
        (made.failed_rows(), FAILED),
        (WRONG, ["0.400 s for one image AMD EPYC 7B13 (cpu): ONNX Runtime, fp32"]),
    ],
    ids=["none", "one row", "failures", "a speed that misses the gate"],
)
def test_a_page_says_what_there_is_not(rows: made.Rows, said: list[str], tmp_path: Path) -> None:
    page = Page(made.make_page(tmp_path, rows=rows, images=bool(rows)))
    assert all(words in page.text for words in said)
    reasons = {row["reason"] for row in rows if row["status"] != "ok"}
    assert {row["reason"] for row in page.cases if row["reason"]} == reasons


def test_two_thousand_cases_are_small_and_soon_made(tmp_path: Path) -> None:
    rows = made.many_rows(2000)
    vega()  # once for a process
    inputs = made.page_inputs(tmp_path, rows=rows)
    began = time.process_time()
    write_page(**inputs)
    assert time.process_time() - began < 20
    page = Page(inputs["page"])
    assert len(page.cases) == 2000
    assert len(page.source) < 5_000_000


def test_large_images_are_made_fewer_and_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BUDGET", 800_000)
    steps, names = list(range(1, 13)), ("none", "one", "two")
    folder = tmp_path / "m" / "cpu" / "pytorch" / "fp32"
    archives = [
        factory.write_images(folder / f"{name}.npz", noise, [], steps, side=320)
        for noise, name in enumerate(names)
    ]
    rows = []
    for name in names[1:]:
        base = factory.SHAPES | {"model": "m", "options": name}
        rows += factory.quality_rows(base, "trajectory", steps, [30.0] * 12, [0.9] * 12)
    table = factory.write_rows(rows, tmp_path / "quality.csv", QUALITY)
    viewer = make_viewer(table, archives[:1] * 2, archives[1:])
    # 2 series of 3 sheets: 8 images of 128 pixels a side are what the budget has room for.
    assert "they have 128 of 320 pixels a side; at most 8 of 12 steps" in viewer.notes[0]
    for series in viewer.series:
        assert len(series["steps"]) <= 8
        assert series["steps"][0] == 1 and series["steps"][-1] == 12
    # The reference's images are the same for both, and there once.
    assert len(viewer.sheets) == 1 + 2 * 2
    files = [io.BytesIO(base64.b64decode(sheet.partition(",")[2])) for sheet in viewer.sheets]
    sizes = [Image.open(file).size for file in files]
    assert {size[0] for size in sizes} == {3 * 128}
    assert sum(width * height for width, height in sizes) <= 800_000


def test_headings_of_a_document_go_below_those_of_the_page(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text("# Title\n\n## One\n\n### Two\n\n<b>raw</b>\n\n| a |\n| - |\n| 1 |\n")
    rendered = render_markdown(document, below=2)
    assert "Title" not in rendered
    assert "<h3>One</h3>" in rendered and "<h4>Two</h4>" in rendered
    assert "&lt;b&gt;raw" in rendered
    assert "<td>1</td>" in rendered


def test_models_of_the_same_networks_are_asked_about_together_and_named(tmp_path: Path) -> None:
    page = Page(made.page_of_models(tmp_path))
    asked = [attrs.get("value") for tag, attrs in page.elements if tag == "option"][:4]
    assert asked == ["shapes", "sdxl", "Stable Diffusion v1", "flux.1-dev"]
    parts = {attrs["data-family"] for _, attrs in page.elements if "data-family" in attrs}
    assert parts == set(asked)
    # Two models stand in one table: each number says which it is of.
    assert "AMD EPYC 7B13 (cpu): sd-v1, PyTorch, bf16" in page.text
    assert "sd-v1-4, PyTorch, bf16, batch size 4" in page.text
    assert "sdxl, PyTorch" not in page.text
    assert {row["family"] for row in page.cases} == set(asked)


def test_a_gpu_that_was_not_measured_is_named_with_the_remedy(tmp_path: Path) -> None:
    inputs = made.page_inputs(tmp_path)
    write_page(**inputs, notes=["an NVIDIA GPU is there, but its driver does not answer"])
    assert "An NVIDIA GPU is there, but its driver does not answer." in Page(inputs["page"]).text
