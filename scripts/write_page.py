"""Make the page: one HTML file with the answer and everything behind it, to be opened offline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sdbench
from sdbench.report.figures.style import colour
from sdbench.report.page.answer import Stat, Subject, best_by_condition, subjects
from sdbench.report.page.charts import MARKS, charts
from sdbench.report.page.document import read_svg, render_page
from sdbench.report.page.images import make_viewer
from sdbench.report.page.machine import read_machines
from sdbench.report.page.prose import first_sentence, render_caption, render_markdown
from sdbench.report.page.rows import CaseRow, as_columns, case_rows
from sdbench.report.page.verdicts import count_verdicts, figure_anchor, read_choices, read_claims
from sdbench.runtime.files import write_whole
from sdbench.tables.files import read_table
from sdbench.tables.labels import STATUSES, listing, number, plural
from sdbench.tables.schemas import CASES, NOISE

import pandas as pd

HEADERS = {
    "device": "device",
    "backend": "backend",
    "precision": "precision",
    "options": "options",
    "batch_size": "batch size",
    "status": "status",
    "latency_s": "s per call",
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

CHARTS = (
    ("time", "Seconds for one image, by device"),
    ("throughput", "Images per minute, by batch size"),
    ("memory", "Seconds and memory for one image"),
)


SECTIONS = (
    ("answer", "Answer"),
    ("findings", "Findings"),
    ("cases", "All cases"),
    ("figures", "Figures"),
    ("images", "Images"),
    ("machine", "Machine"),
    ("method", "Method"),
)
"""Anchor and title of each part of the page."""


def write_page(
    results: Path,
    published: Path,
    noise: Path,
    cases: Path,
    quality: Path,
    findings: Path,
    choices: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    indexes: Sequence[Path],
    figures: Sequence[Path],
    captions: Sequence[Path],
    method: Path,
    page: Path,
) -> None:
    """Write the page.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED.
        noise: table of schema NOISE.
        cases: table of schema CASES.
        quality: table of schema QUALITY.
        findings: table of schema FINDINGS.
        choices: table of schema CHOICES.
        references: for each of `others` the archive of its reference's images.
        others: archives of images (`sdbench.report.figures.images`).
        indexes: the index of each job's records, for the machines they name.
        figures: SVG.
        captions: reStructuredText, one for each figure.
        method: Markdown.
        page: HTML to write.

    Raises:
        UserError: if an input is not what it should be; it names the file.
    """
    rows = case_rows(results, published)
    noises = _noises(read_table(noise, NOISE))
    machines, dates = read_machines(indexes)
    absent = _absent(read_table(cases, CASES))
    claims = read_claims(findings)
    inputs = (results, quality, noise, cases, published, findings, choices)
    content = {
        "version": sdbench.__version__,
        "sections": SECTIONS,
        "summary": _summary(rows, dates),
        "subjects": [_subject(subject, rows, noises) for subject in subjects(rows)],
        "nothing": _nothing(rows),
        "choices": read_choices(choices),
        "groups": best_by_condition(rows),
        "claims": claims,
        "verdicts": count_verdicts(claims),
        "data": as_columns(rows),
        "headers": _headers(rows),
        "filters": _filters(rows),
        "charts": CHARTS,
        "specs": charts(_distinct(rows, "precision"), _distinct(rows, "backend")),
        "absent": absent,
        "absent_count": sum(len(cells) for _, cells in absent),
        "figures": [_figure(*pair) for pair in zip(figures, captions, strict=True)],
        "viewer": make_viewer(quality, references, others),
        "machines": machines,
        "noise": noises,
        "method": render_markdown(method, below=2),
        "tables": [path.name for path in inputs],
    }
    write_whole(page, render_page(content).encode())


def _summary(rows: Sequence[CaseRow], dates: tuple[str, str] | None) -> str:
    own = [row for row in rows if not row.published]
    published = len(rows) - len(own)
    if not own:
        text = "Nothing was measured here."
    else:
        devices = _distinct(own, "device")
        if len(devices) > MOST_DEVICES:
            devices[MOST_DEVICES - 1 :] = [f"{len(devices) - MOST_DEVICES + 1} more"]
        text = f"Measured on {listing(devices)}"
        if dates:
            first, last = dates
            text += f" on {first}" if first == last else f" from {first} to {last}"
        text += f": {plural(len(own), 'case')}, {_statuses(own)}."
    return f"{text} {plural(published, 'published row')} next to them." if published else text


def _statuses(rows: Sequence[CaseRow]) -> str:
    counts = Counter(row.status for row in rows)
    if set(counts) == {"ok"}:
        return "all ran"
    words = {"ok": "ran", "error": "failed"}
    return listing(
        f"{count} {words.get(status, STATUSES.get(status, status))}"
        for status, count in counts.most_common()
    )


def _nothing(rows: Sequence[CaseRow]) -> str:
    own = [row for row in rows if not row.published]
    if not own:
        return "Nothing was measured here: the tables have no rows of this machine."
    return f"No case ran: {_statuses(own)}. See the table of all cases for the reasons."


def _subject(
    subject: Subject, rows: Sequence[CaseRow], noises: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the answer says of a model, in words where there are no numbers."""
    cards = subject.cards and [*subject.cards, *_noise_card(noises)]
    words = _nothing([row for row in rows if row.family == subject.family])
    return {**vars(subject), "cards": cards, "nothing": words}


def _noises(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for row in table.to_dict("records"):
        job = f"{row['model']} on {row['device']} with {row['backend']}"
        shares = {name: _percent(row[name]) for name in ("noise", "drift", "spread")}
        rows.append({"job": job, "n": row["n"], "share": row["noise"], **shares})
    return rows


def _percent(share: float) -> str:
    return "unknown" if pd.isna(share) else f"{number(100 * share)} %"


def _noise_card(noises: Sequence[Mapping[str, Any]]) -> list[Stat]:
    known = [row["share"] for row in noises if not pd.isna(row["share"])]
    if not known:
        return []
    how = "the largest of all jobs: smaller differences are not significant"
    return [Stat(number(100 * max(known)), "%", "noise of the machine", how)]


def _absent(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return each reason why cells cannot exist, with the cells."""
    found: dict[str, list[str]] = {}
    for row in table[table["absent_because"].notna()].to_dict("records"):
        names = ("model", "device", "backend", "precision", "options")
        cell = f"{', '.join(str(row[name]) for name in names)}, batch size {row['batch_size']}"
        found.setdefault(str(row["absent_because"]), []).append(cell)
    return list(found.items())


def _distinct(rows: Sequence[CaseRow], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(row, name)) for row in rows))


def _headers(rows: Sequence[CaseRow]) -> list[dict[str, Any]]:
    """Return the columns of the table of all cases, without those that are empty."""
    return [
        {"name": name, "title": title, "long": name in LONG}
        for name, title in HEADERS.items()
        if any(getattr(row, name) not in (None, "", False) for row in rows)
    ]


def _filters(rows: Sequence[CaseRow]) -> list[tuple[str, str, list[dict[str, str]]]]:
    titles = {
        "device": "Device",
        "precision": "Precision",
        "backend": "Backend",
        "options": "Options",
        "origin": "From",
    }
    filters = []
    for name, title in titles.items():
        values = [{"value": value, "colour": "", "mark": ""} for value in _distinct(rows, name)]
        for place, value in enumerate(values):
            if name == "precision":
                value["colour"] = colour(value["value"])
            if name == "backend":
                value["mark"] = MARKS[place % len(MARKS)]
        filters.append((name, title, values))
    return filters


def _figure(svg: Path, caption: Path) -> dict[str, Any]:
    rendered = render_caption(caption)
    return {
        "anchor": figure_anchor(svg.name),
        "title": svg.stem.replace("_", " ").capitalize(),
        "drawing": read_svg(svg),
        "alt": first_sentence(rendered),
        "caption": rendered,
    }


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, write_page, page=Path(snakemake.output[0]))
