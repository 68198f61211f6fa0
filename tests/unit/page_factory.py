"""Made-up inputs of the page: tables, images, records and figures, as few or as many as asked."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from sdbench.runtime.files import write_json
from sdbench.tables import schemas
from sdbench.tables.schemas import CHOICES
from tests.unit import tables_factory as factory
from tests.unit.records_factory import make_case, make_record
from tests.unit.tables_factory import Rows
from write_page import write_page

ROOT = Path(__file__).parents[2]

FINDING = {
    **{"claim": "half-ampere", "statement": "Half precision saves 40 % on Ampere."},
    **{"subject": "shapes on cpu, bf16 against fp32", "verdict": "holds", "reason": None},
    **{"value": 38.2, "low": 36.9, "high": 39.6, "unit": "%"},
    **{"figure": "speed.png", "rows": "results.csv: 2, 5"},
}
CHOICE = {
    **{name: value for name, value in factory.SHAPES.items() if name in CHOICES.columns},
    **{"rank": 1, "origin": "measured", "precision": "bf16", "batch_size": 4},
    **{"latency_s": 1.31, "images_per_minute": 183.4, "cost_per_1000_images": 0.13},
    **{"memory_bytes": 0.61e9, "memory_counter": "peak resident memory of the process"},
    **{"currency": "EUR", "passes_gate": True, "meets": True, "misses": None},
}


def advice_rows() -> Rows:
    """Rows of ADVICE: of two models in two batch sizes, predicted, published and refused."""
    rows = []
    for model, batch, share in (("sd-v1", 1, 1.0), ("sd-v1", 4, 3.0), ("sdxl", 1, 5.0)):
        of: dict[str, Any] = {"model": model, "batch_size": batch}
        rows += [
            factory.advice_row("NVIDIA GeForce RTX 3090", 2.5 * share, **of),
            factory.advice_row("NVIDIA GeForce RTX 4090", 1.28 * share, "published", **of),
            factory.advice_row("NVIDIA L4", 3.2 * share, memory_bytes=2e9, **of),
            factory.advice_row("NVIDIA GeForce RTX 2060", None, **of),
        ]
    return rows


def default_rows() -> Rows:
    """Rows such as a small run has."""
    rows = []
    settings = [("pytorch", "fp32", 1.0), ("pytorch", "bf16", 0.6), ("onnxruntime", "fp32", 0.8)]
    for (backend, precision, share), batch in itertools.product(settings, (1, 2, 4)):
        attention = "fused" if backend == "onnxruntime" else "sdpa"
        base = {"backend": backend, "precision": precision, "attention": attention}
        quality = {"noise": 0.021, "ssim": 0.99, "psnr_db": 40.0, "passes_gate": True}
        row = factory.SHAPES | base | {"batch_size": batch}
        row = factory.latency_row(row, 0.5 * share * batch**0.9, **quality)
        row = factory.throughput_row(row, 120 / share * batch**0.1)
        rows.append(factory.memory_row(row, 0.6 + 0.04 * batch))
    return rows


def failed_rows() -> Rows:
    """Rows of a run of which nothing came."""
    return [
        factory.failed_row(factory.SHAPES, status, batch_size=batch)
        for batch, status in enumerate(("oom", "unsupported", "error"), 1)
    ]


MODELS = ("shapes", "sdxl", "sd-v1", "sd-v1-4", "flux.1-dev")
"""Models of four kinds of networks, the last of which did not run."""


def rows_of_models() -> Rows:
    """Rows of a run of several models, each slower than the one before."""
    rows = [
        row | {"model": model, "latency_s": row["latency_s"] * place}
        for place, model in enumerate(MODELS[:-1], start=1)
        for row in default_rows()
    ]
    return [*rows, factory.failed_row(factory.SHAPES, "unsupported", model=MODELS[-1])]


def page_of_models(folder: Path) -> Path:
    """Make a page of several models, of which all but one have choices."""
    choices = [CHOICE | {"model": model} for model in MODELS[:-1]]
    return make_page(folder, rows=rows_of_models(), choices=choices, campaigns=("lambda-2022-10",))


HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>\'"&'
"""A name that is HTML, and ends every quote and script that it may stand in."""


def hostile_page(folder: Path) -> Path:
    """Make a page whose every name and text is hostile."""
    rows = default_rows()
    names = dict.fromkeys(("model", "device", "device_name"), HOSTILE)
    for row in rows:
        row |= names | {"scheduler": HOSTILE}
    rows[0] |= {"options": HOSTILE, "precision": HOSTILE, "backend": HOSTILE}
    rows[1] |= {"status": "error", "reason": HOSTILE}
    texts = ("claim", "statement", "subject", "unit", "reason", "figure", "rows")
    choice = ("origin", "device", "model", "backend", "precision", "options", "scheduler",
              "memory_counter", "currency", "misses")  # fmt: skip
    return make_page(
        folder,
        rows=rows,
        findings=[FINDING | dict.fromkeys(texts, HOSTILE)],
        choices=[CHOICE | dict.fromkeys(choice, HOSTILE)],
        advice=[
            factory.advice_row(HOSTILE, 1.0, source=HOSTILE, model=HOSTILE),
            factory.advice_row(HOSTILE, None, reason=HOSTILE, precision="bf16"),
        ],
        environment={"host": HOSTILE, "device_name": HOSTILE, HOSTILE: [HOSTILE]},
        caption=f".. raw:: html\n\n   {HOSTILE}\n\nA caption. {HOSTILE}\n",
        hostile=HOSTILE,
    )


def many_rows(count: int) -> Rows:
    """Rows of `count` cases: devices, precisions, options and batch sizes of a large campaign."""
    rows = []
    options = ("none", "autocast", "vae-slicing", "channels-last", "attention-vanilla")
    every = itertools.product(
        range(40), ("pytorch", "onnxruntime"), ("fp32", "tf32", "fp16", "bf16"), options,
        (1, 2, 4, 8, 16),
    )  # fmt: skip
    for device, backend, precision, option, batch in itertools.islice(every, count):
        seconds = (1 + device) * (0.6 if precision in ("fp16", "bf16") else 1.0)
        names = {"device": f"gpu{device}", "device_name": f"NVIDIA RTX {1000 + device}"}
        base = {"backend": backend, "precision": precision, "options": option, "batch_size": batch}
        row = factory.SD_V1 | names | base
        row = factory.latency_row(row, seconds * batch**0.9, ssim=0.97, passes_gate=True)
        row = factory.throughput_row(row, 60 / seconds * batch**0.1)
        rows.append(factory.memory_row(row, 3 + batch))
    return rows


def write_records(folder: Path, **environment: Any) -> Path:
    """Write a job's index and its one record; return the index."""
    folder.mkdir(parents=True, exist_ok=True)
    record = make_record(make_case())
    record["environment"] |= environment
    write_json(folder / "batch-1.json", record)
    index = folder / "index.json"
    write_json(index, {"records": {"batch-1.json": "0" * 64}, "largest": []})
    return index


NOISE = {
    **{"model": "shapes", "device": "cpu", "device_name": "A CPU", "backend": "pytorch", "n": 10},
    **{"reference_s": 1.0, "noise": 0.021},
}
CELL = {
    **{"model": "shapes", "device": "cpu", "backend": "onnxruntime", "precision": "bf16"},
    **{"options": "none", "batch_size": 1, "absent_because": "onnxruntime has no bf16 here"},
}


def page_inputs(
    folder: Path,
    rows: Rows | None = None,
    findings: Rows = [],  # noqa: B006
    choices: Rows = [],  # noqa: B006
    advice: Rows = [],  # noqa: B006
    campaigns: tuple[str, ...] = (),
    images: bool = True,
    steps: int = 12,
    caption: str = "Seconds of one call. Look at the bars.",
    environment: dict[str, Any] | None = None,
    hostile: str = "",
) -> dict[str, Any]:
    """Write everything that a page is made of to `folder`; return what `write_page` takes.

    `hostile` stands for the names in the tables of noise and of the matrix, too.
    """
    rows = default_rows() if rows is None else rows
    where = {name: hostile or value for name, value in NOISE.items() if isinstance(value, str)}
    noise = [NOISE | where | {"device": row["device"]} for row in rows[:1]]
    cells = [CELL | {"model": hostile, "absent_because": hostile} if hostile else CELL]
    generated = folder / "quality" / "shapes" / "cpu" / "pytorch"
    made = {"runs": [1, 2, 5, 10], "trajectory": list(range(1, steps + 1))}
    archives, quality = [], []
    if images:
        archives = [
            factory.write_images(
                generated / precision / "none.npz", noisy, made["runs"], made["trajectory"]
            )
            for precision, noisy in (("fp32", 0.0), ("bf16", 6.0))
        ]
        base = factory.SHAPES | {"precision": "bf16"}
        for mode, numbers in made.items():
            scores = [30.0 + step for step in numbers], [0.9] * len(numbers)
            quality += factory.quality_rows(base, mode, numbers, *scores)
    verdict, pairs = factory.set_rows(factory.SHAPES | {"precision": "bf16"})
    of_set = [
        factory.write_set(folder / f"sets/shapes/cpu/pytorch/{precision}/none.npz", noisy)
        for precision, noisy in (("fp32", 0.0), ("bf16", 6.0))
    ]
    if hostile:
        pairs[0]["prompt"] = hostile
        prompts = np.array([row["prompt"] for row in pairs])
        factory.write_set(of_set[1], 6.0, set_prompts=prompts)
    svg = folder / "figures" / "speed.svg"
    svg.parent.mkdir(parents=True, exist_ok=True)
    svg.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 300">'
        '<rect width="860" height="300" fill="#eee"/></svg>'
    )
    (folder / "speed.rst").write_text(caption)
    tables = {"results": rows, "noise": noise, "cases": cells, "quality": quality,
              "findings": findings, "choices": choices, "advice": advice,
              "quality_set": [verdict] if images else [],
              "quality_pairs": pairs if images else []}  # fmt: skip
    records = folder / "records" / "shapes" / "cpu" / "pytorch"
    return {
        **{
            name: factory.write_rows(
                shown, folder / "tables" / f"{name}.csv", getattr(schemas, name.upper())
            )
            for name, shown in tables.items()
        },
        "published": factory.published(campaigns),
        "references": archives[:1],
        "others": archives[1:],
        "set_references": of_set[:1] if images else [],
        "set_others": of_set[1:] if images else [],
        "indexes": [write_records(records, **(environment or {}))] if rows else [],
        "figures": [svg],
        "captions": [folder / "speed.rst"],
        "method": ROOT / "docs" / "method.md",
        "page": folder / "report.html",
    }


def make_page(folder: Path, **changes: Any) -> Path:
    """Make a page of made-up inputs and return it."""
    inputs = page_inputs(folder, **changes)
    write_page(**inputs)
    page: Path = inputs["page"]
    return page
