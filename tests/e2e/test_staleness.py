"""What runs again after a change, and nothing else: a row of docs/staleness.md each, on the real
DAG.

Dry runs on a finished run of the default workflow. Each test takes its change back.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench.report.figures.catalogue import FIGURES
from tests.conftest import ROOT, planned
from tests.finished import copy_run

Jobs = dict[str, int]

ENDS = {"write_page": 1, "check_results": 1, "all": 1}
"""What follows from any table, figure or image."""


def figures_of(*tables: str) -> Jobs:
    return {f"plot_{name}": 1 for name, fig in FIGURES.items() if {*tables} & {*fig.tables}}


BAR_FIGURES = figures_of("results", "fits", "advice")
"""The figures of speed and memory."""
IMAGE_FIGURES = figures_of("quality")
SET_FIGURES = figures_of("quality_set")
"""The figures of verdicts."""
PUBLISHED = figures_of("published") | {
    "collect_published": 1,
    "write_findings": 1,
    "rank_choices": 1,
    **ENDS,
}
"""What follows from published results."""
LADDER = {"plot_ladder": 1} if list((ROOT / "resources/races").glob("*.csv")) else {}
"""The figure of races, where those of another machine are shown."""
ANSWERS = {"write_findings": 1, "rank_choices": 1, "predict_fits": 1, "give_advice": 1}
AFTER_RECORDS = {"collect_records": 1, **BAR_FIGURES, **ANSWERS, **ENDS}
"""What follows from a record."""
COMPUTED = {"count_work": 1, "predict_memory": 1, "collect_predicted_memory": 1}
"""What is computed of described models, as far as it does not ship."""
GENERATED = {"search_settings": 2, "generate_images": 5}
"""What is done again where an image is another one, or another is generated."""
AFTER_VERDICTS = {"collect_quality_set": 1, **SET_FIGURES, **AFTER_RECORDS}
"""What follows from what is said of a set of images: the gate uses it."""
AFTER_COMPARED = {"compare_quality": 4, "collect_quality": 1, **IMAGE_FIGURES, **ENDS}
"""What follows from images that are compared by step."""
AFTER_IMAGES = {"judge_images": 1, **AFTER_VERDICTS, **AFTER_COMPARED}
SWEEPS = {"measure_sweep": 10}
"""All that is measured."""
RACE_TABLE = {"collect_races": 1, "plot_ladder": 1}
"""What follows from a race."""


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(finished, tmp_path_factory.mktemp("stale") / "clone")


Config = dict[str, Any]


def edited(folder: Path, name: str, change: Callable[[str], str]) -> Jobs:
    """Return what a dry run plans once a file was changed, which then gets its content and its
    dates back."""
    path = folder / name
    before, dates = path.read_text(), path.stat()
    after = change(before)
    assert after != before
    path.write_text(after)
    try:
        return planned(folder)
    finally:
        path.write_text(before)
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def test_nothing_changed(folder: Path) -> None:
    assert planned(folder) == {}


def measured_more(**changes: Any) -> Callable[[Config], object]:
    """Append the first block with these changes, and one image."""
    return lambda c: c["matrix"].append(c["matrix"][0] | {"batch_sizes": [1]} | changes)


def generated_with(**changes: Any) -> Callable[[Config], object]:
    def change(config: Config) -> None:
        for model in ("shapes", "tiny"):
            config["models"][model]["generation"].update(changes)

    return change


def add_device(config: Config) -> None:
    config["devices"]["cpu1"] = {"kind": "cpu", "threads": 1}
    measured_more(devices=["cpu1"])(config)


ONE_SWEEP = {"measure_sweep": 1, "collect_cases": 1, **AFTER_RECORDS}
PEAK = {"measure_peak_throughput": 1}
RACE = {"model": "tiny", "device": "cpu", "sizes": [128], "variants": [{}]}
IMAGED = {"collect_cases": 1, **GENERATED, **AFTER_RECORDS, **AFTER_IMAGES}
"""What follows from measuring and generating another image."""
OTHER_IMAGES = {"measure_sweep": 6, **IMAGED}
RECOUNTED = {"count_operations": 2, **OTHER_IMAGES}
ALL_MEASURED = {**SWEEPS, "measure_peak_throughput": 2, "race_denoisers": 1}

IN_CONFIG: dict[str, tuple[Callable[[Config], object], Jobs]] = {
    # The job that has it runs: it keeps its other records (test_default_workflow sees to that).
    "a batch size": (lambda c: c["matrix"][0]["batch_sizes"].append(3), ONE_SWEEP),
    "an option": (measured_more(options=["channels-last"]), ONE_SWEEP),
    "a precision": (measured_more(precisions=["fp16"]), ONE_SWEEP),
    "a device": (add_device, ONE_SWEEP | PEAK),
    "a race": (
        lambda c: c["races"].append(RACE),
        {"race_denoisers": 1, "count_operations": 1, "write_findings": 1, **RACE_TABLE, **ENDS},
    ),
    # A new case, and a new peak to hold it against; the other device has its own.
    "threads": (
        lambda c: c["devices"]["cpu"].update(threads=2),
        {"measure_sweep": 8, **PEAK, **IMAGED},
    ),
    # No export: a graph does not depend on what is generated with it, nor do peaks. There are
    # families that read no more of a prompt than it has.
    "the prompt": (generated_with(prompt="a green square on a red background"), RECOUNTED),
    "the seed": (generated_with(seed=7), OTHER_IMAGES),
    "the steps": (generated_with(steps=9), OTHER_IMAGES),
    "the height": (generated_with(height=128), RECOUNTED),
    "the width": (generated_with(width=128), RECOUNTED),
    "where others use the device": (
        lambda c: c["measuring"].update(contention="wait"),
        ALL_MEASURED | RACE_TABLE | AFTER_RECORDS,
    ),
    "how is measured": (
        lambda c: c["measuring"].update(min_samples=9),
        SWEEPS | AFTER_RECORDS,
    ),
    "launches": (
        lambda c: c["measuring"].update(launches=4),
        {**SWEEPS, "race_denoisers": 1, **RACE_TABLE, **AFTER_RECORDS},
    ),
    "a price": (lambda c: c["devices"]["cpu"].update(price_per_hour=1), AFTER_RECORDS),
    "the gate": (lambda c: c.update(quality_gate={"min_ssim": 0.5}), AFTER_VERDICTS),
    "the margin": (lambda c: c["quality_set"][0].update(margin=0.1), AFTER_VERDICTS),
    # Of the reference and two others; those without a set are compared with it as well.
    "the prompts of the set": (
        lambda c: c["quality_set"][0]["prompts"].append("a red square on a blue background"),
        {**AFTER_IMAGES, "generate_images": 3},
    ),
    "the need": (lambda c: c.update(need={"memory_gb": 8}), {"rank_choices": 1, **ENDS}),
    "which published": (lambda c: c.update(published=["fal-2023"]), PUBLISHED),
    "the steps of the images": (
        lambda c: c["quality"][0].update(runs=[1, 2]),
        {"generate_images": 5, **AFTER_IMAGES},
    ),
    # Two engines read graphs of two models, one those that a third cannot have; three of the four
    # series that are compared are theirs.
    "the export": (
        lambda c: c.update(export={"opset": 22}),
        {
            **{"export_onnx": 3, "quantize_onnx": 1, "convert_openvino": 3},
            **{"search_settings": 2, "measure_sweep": 5, "generate_images": 3},
            **AFTER_RECORDS,
            **AFTER_IMAGES,
            "compare_quality": 3,
        },
    ),
}


@pytest.mark.parametrize(("change", "expected"), IN_CONFIG.values(), ids=IN_CONFIG)
def test_the_config(folder: Path, change: Callable[[Config], object], expected: Jobs) -> None:
    def edit(text: str) -> str:
        config = yaml.safe_load(text)
        change(config)
        return yaml.safe_dump(config)

    assert edited(folder, "config/config.yaml", edit) == expected


LIBRARY = "scripts/sdbench"
IN_FILES: dict[str, Jobs] = {
    # What no rule reads, and code that no number depends on.
    **{name: {} for name in ("README.md", "docs/slurm.md", "tests/conftest.py", "Makefile")},
    **{f"{LIBRARY}/{name}.py": {} for name in ("runtime/job", "runtime/progress")},
    f"{LIBRARY}/models/duration.py": {},
    f"{LIBRARY}/measure/disturbance.py": SWEEPS | AFTER_RECORDS,
    f"{LIBRARY}/export/conversion.py": {
        **{"convert_openvino": 3, "search_settings": 1, "measure_sweep": 2},
        **AFTER_RECORDS,
        # The set of images has none of OpenVINO's.
        **AFTER_COMPARED,
        **{"generate_images": 2, "compare_quality": 2},
    },
    "scripts/search_settings.py": {"search_settings": 2, "measure_sweep": 2, **AFTER_RECORDS},
    "report/speed.rst": {"plot_speed": 1, **ENDS},
    "scripts/plot_speed.py": {"plot_speed": 1, **ENDS},
    f"{LIBRARY}/report/figures/style.py": {
        **BAR_FIGURES,
        **IMAGE_FIGURES,
        **SET_FIGURES,
        **LADDER,
        **ENDS,
    },
    "docs/method.md": ENDS,
    "scripts/write_page.py": ENDS,
    f"{LIBRARY}/report/page/answer.py": ENDS,
    f"{LIBRARY}/report/page/page.js": ENDS,
    f"{LIBRARY}/measure/throughput.py": SWEEPS | AFTER_RECORDS,
    f"{LIBRARY}/measure/peak_throughput.py": {
        "measure_peak_throughput": 2,
        **RACE_TABLE,
        **AFTER_RECORDS,
    },
    f"{LIBRARY}/models/operations.py": {"count_operations": 3, **COMPUTED, **AFTER_RECORDS},
    f"{LIBRARY}/backends/onnxruntime.py": {
        **{"search_settings": 1, "measure_sweep": 4},
        **AFTER_RECORDS,
        **AFTER_IMAGES,
        **{"generate_images": 2, "compare_quality": 2},
    },
    # Of any family: only the files of a model say which is its own. The bundled one is not made.
    f"{LIBRARY}/models/families/flux.py": {
        **{"build_model": 2, "outline_model": 1},
        **{"describe_model": 3, "count_operations": 3, **COMPUTED},
        **{"export_onnx": 3, "quantize_onnx": 1, "convert_openvino": 3},
        **SWEEPS,
        **RACE_TABLE,
        **AFTER_RECORDS,
        **AFTER_IMAGES,
        **{"search_settings": 2, "race_denoisers": 1, "generate_images": 7, "compare_quality": 5},
    },
    # Without conda too: it is part of a record's fingerprint. The others: tests/conda.
    "envs/pytorch.yaml": {
        **ALL_MEASURED,
        **RACE_TABLE,
        **AFTER_RECORDS,
        "measure_sweep": 4,
    },
}


@pytest.mark.parametrize("name", IN_FILES)
def test_a_comment_in_a_file(folder: Path, name: str) -> None:
    mark = ".. changed\n" if name.endswith(".rst") else "# changed\n"
    assert edited(folder, name, lambda text: text + mark) == IN_FILES[name]


@pytest.mark.parametrize(
    ("theirs", "source", "expected"),
    [
        ("races/theirs.csv", "results/tables/races.csv", RACE_TABLE | {"write_findings": 1} | ENDS),
        # And what is predicted of other cards.
        (
            "theirs.csv",
            "resources/published.csv",
            PUBLISHED | {"count_work": 1, "give_advice": 1, "plot_cards": 1},
        ),
    ],
)
def test_a_table_from_another_machine(
    folder: Path, theirs: str, source: str, expected: Jobs
) -> None:
    path = folder / "resources" / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text((folder / source).read_text())
    try:
        assert planned(folder) == expected
    finally:
        path.unlink()
