"""Make the page: one HTML file with the answer and everything behind it, to be opened offline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import sdbench
from sdbench.analysis.question import answer_question
from sdbench.report.figures.results import grouped
from sdbench.report.figures.style import colour
from sdbench.report.page.advice import advice_rows
from sdbench.report.page.answer import Stat, best_by_condition, subjects
from sdbench.report.page.charts import MARKS, charts
from sdbench.report.page.document import read_svg, render_page
from sdbench.report.page.images import make_gallery, make_viewer
from sdbench.report.page.machine import read_machines
from sdbench.report.page.prose import first_sentence, render_caption, render_markdown
from sdbench.report.page.rows import Case, as_columns, case_rows, distinct, own
from sdbench.report.page.verdicts import figure_anchor, read_choices, read_claims
from sdbench.runtime.endings import ANSWER
from sdbench.runtime.files import write_whole
from sdbench.runtime.job import run_script
from sdbench.tables.files import read_rows
from sdbench.tables.labels import STATUSES, listing, number, plural
from sdbench.tables.schemas import ADVICE, CASES, NOISE

HEADERS = {
    "device": "device",
    "backend": "backend",
    "precision": "precision",
    "options": "options",
    "batch_size": "batch size",
    "status": "status",
    "basis": "basis",
    "latency_s": "s per call",
    "launches": "launches",
    "latency_n": "timed calls",
    "images_per_minute": "images per minute",
    "memory_gb": "GB",
    "ssim": "SSIM",
    "gate": "quality gate",
    "energy_j_per_image": "J per image",
    "cost_per_1000_images": "cost of 1,000 images",
    "noise": "noise (share)",
    "contended": "device in use by others",
    "memory_counter": "memory counter",
    "model": "model",
    "origin": "from",
    "reason": "reason",
    "condition": "what was generated",
}
"""Column of the table of all cases -> its heading."""

LONG = ("reason", "condition", "memory_counter")
"""Columns whose cells may break into lines."""

MOST_DEVICES = 4
"""Devices that the first sentence names."""


def write_page(
    results: Path,
    published: Path,
    noise: Path,
    cases: Path,
    quality: Path,
    findings: Path,
    choices: Path,
    advice: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    quality_set: Path,
    quality_pairs: Path,
    set_references: Sequence[Path],
    set_others: Sequence[Path],
    indexes: Sequence[Path],
    figures: Sequence[Path],
    captions: Sequence[Path],
    method: Path,
    page: Path,
    notes: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        results, published, noise, cases, quality, findings, choices, advice: tables of these
            schemas.
        references, others: archives of images, as `load_comparisons` reads them.
        quality_set, quality_pairs: tables of these schemas.
        set_references, set_others: archives of sets of images, as `load_sets` reads them.
        indexes: the index of each job's records, for the machines they name.
        figures: SVG.
        captions: reStructuredText, one for each figure.
        method: Markdown.
        page: HTML to write.
        notes: what is said of GPUs of this machine that were not measured.

    Raises:
        UserError: if an input is not what it should be; it names the file.
    """
    rows = case_rows(results, published)
    noises = [_noise(row) for row in read_rows(noise, NOISE)]
    machines, dates = read_machines(indexes)
    absent = _absent(read_rows(cases, CASES))
    plotted = [_figure(*pair) for pair in zip(figures, captions, strict=True)]
    filled = [figure for figure in plotted if not figure["empty"]]
    told = read_rows(advice, ADVICE)
    inputs = (results, quality, quality_set, noise, cases, published, findings, choices, advice)
    gallery = make_gallery(quality_set, quality_pairs, set_references, set_others)
    viewers = [("", make_viewer(quality, references, others)), ("pairs-", gallery)]
    content = {
        "version": sdbench.__version__,
        "summary": _summary(rows, dates),
        "subjects": [_subject(subject, rows, noises) for subject in subjects(rows)],
        "nothing": _nothing(rows),
        "notes": notes,
        "choices": read_choices(choices),
        "question": answer_question(told),
        "advice": as_columns(advice_rows(told)),
        "priced": any(row["cost_per_1000_images"] for row in told),
        "currency": next((row["currency"] for row in told if row["currency"]), "money"),
        "groups": best_by_condition(rows),
        **read_claims(findings),
        "answer": next((f for f in filled if f["anchor"] == figure_anchor("answer")), None),
        "data": as_columns(rows),
        "headers": _headers(rows),
        "filters": _filters(rows),
        "specs": charts(distinct(rows, "precision"), distinct(rows, "backend")),
        "absent": absent,
        "absent_count": sum(len(cells) for _, cells in absent),
        "figures": filled,
        "empty": listing(figure["title"] for figure in plotted if figure["empty"]),
        "viewers": viewers,
        "shown": [
            {"prefix": prefix, "series": viewer.series, "sheets": viewer.sheets}
            for prefix, viewer in viewers
        ],
        "machines": machines,
        "noise": noises,
        "method": render_markdown(method, below=2),
        "tables": [path.name for path in inputs],
    }
    write_whole(page, render_page(content).encode())
    sentences = [subject["sentence"] for subject in content["subjects"][:1]]
    for line in (*filter(None, sentences), f"open {page}"):
        print(f"{ANSWER}{line}")


def _summary(rows: Sequence[Case], dates: tuple[str, str] | None) -> str:
    measured = own(rows)
    published = len(rows) - len(measured)
    if not measured:
        text = "Nothing was measured here."
    else:
        devices = distinct(measured, "device")
        if len(devices) > MOST_DEVICES:
            devices[MOST_DEVICES - 1 :] = [f"{len(devices) - MOST_DEVICES + 1} more"]
        text = f"Measured on {listing(devices)}"
        if dates:
            first, last = dates
            text += f" on {first}" if first == last else f" from {first} to {last}"
        text += f": {plural(len(measured), 'case')}, {_statuses(measured)}."
    return f"{text} {plural(published, 'published row')} next to them." if published else text


def _statuses(rows: Sequence[Case]) -> str:
    counts = Counter(row["status"] for row in rows)
    if set(counts) == {"ok"}:
        return "all ran"
    words = {"ok": "ran", "error": "failed"}
    return listing(
        f"{count} {words.get(status, STATUSES.get(status, status))}"
        for status, count in counts.most_common()
    )


def _nothing(rows: Sequence[Case]) -> str:
    measured = own(rows)
    if not measured:
        return "Nothing was measured here: the tables have no rows of this machine."
    return f"No case ran: {_statuses(measured)}. See the table of all cases for the reasons."


def _subject(
    subject: Mapping[str, Any], rows: Sequence[Case], noises: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the answer says of a model, in words where there are no numbers."""
    cards = subject["cards"] and [*subject["cards"], *_noise_card(noises)]
    words = _nothing([row for row in rows if row["family"] == subject["family"]])
    return {**subject, "cards": cards, "nothing": words}


def _noise(row: Mapping[str, Any]) -> dict[str, Any]:
    job = f"{row['model']} on {row['device']} with {row['backend']}"
    return {"job": job, "n": row["n"], "share": row["noise"], "noise": _percent(row["noise"])}


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{number(100 * share)} %"


def _noise_card(noises: Sequence[Mapping[str, Any]]) -> list[Stat]:
    known = [row["share"] for row in noises if row["share"] is not None]
    if not known:
        return []
    how = "by which two processes that do the same work differ, at most"
    return [Stat(number(100 * max(known)), "%", "noise of the machine", how)]


def _absent(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each reason why cells cannot exist, with the cells."""
    absent = grouped((r for r in rows if r["absent_because"]), itemgetter("absent_because"))
    names = itemgetter("model", "device", "backend", "precision", "options")
    return [
        (reason, [f"{', '.join(names(row))}, batch size {row['batch_size']}" for row in cells])
        for reason, cells in absent.items()
    ]


def _headers(rows: Sequence[Case]) -> list[dict[str, Any]]:
    """Return the columns of the table of all cases, without those that are empty."""
    return [
        {"name": name, "title": title, "long": name in LONG}
        for name, title in HEADERS.items()
        if any(row[name] not in (None, "", False) for row in rows)
    ]


def _filters(rows: Sequence[Case]) -> list[tuple[str, str, list[dict[str, str]]]]:
    columns = ("device", "precision", "backend", "options", "origin")
    filters = []
    for name in columns:
        values = [{"value": value, "colour": "", "mark": ""} for value in distinct(rows, name)]
        for place, value in enumerate(values):
            if name == "precision":
                value["colour"] = colour(value["value"])
            if name == "backend":
                value["mark"] = MARKS[place % len(MARKS)]
        filters.append((name, HEADERS[name].capitalize(), values))
    return filters


def _figure(svg: Path, caption: Path) -> dict[str, Any]:
    rendered = render_caption(caption)
    numbers = svg.with_suffix(".csv")  # of the same job
    return {
        "anchor": figure_anchor(svg.name),
        "empty": numbers.exists() and len(numbers.read_text("utf-8").splitlines()) < 2,
        "title": svg.stem.replace("_", " ").capitalize(),
        "drawing": read_svg(svg),
        "alt": first_sentence(rendered),
        "caption": rendered,
    }


if __name__ == "__main__":
    run_script(snakemake, write_page)
