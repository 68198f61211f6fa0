"""What runs again after a change, and nothing else: a row of docs/staleness.md each, on the real
DAG.

Dry runs on a finished run of the default workflow. Each test takes its change back.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
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
BAR_FIGURES = {
    f"plot_{name}": 1 for name, figure in FIGURES.items() if {"results", "fits"} & {*figure.tables}
}
"""The figures of speed and memory."""
IMAGE_FIGURES = {
    f"plot_{name}": 1 for name, figure in FIGURES.items() if "quality" in figure.tables
}
BESIDE_PUBLISHED = {
    f"plot_{name}": 1 for name, figure in FIGURES.items() if "published" in figure.tables
} | {"write_findings": 1, "rank_choices": 1}
LADDER = {"plot_ladder": 1} if list((ROOT / "resources/races").glob("*.csv")) else {}
"""The figure of races, where those of another machine are shown."""
ANSWERS = {"write_findings": 1, "rank_choices": 1, "predict_fits": 1}
AFTER_RECORDS = {"collect_records": 1, **BAR_FIGURES, **ANSWERS, **ENDS}
"""What follows from a record."""
GENERATED = {"search_settings": 2, "generate_images": 5}
"""What is done again where an image is another one, or another is generated."""
AFTER_IMAGES = {
    "compare_quality": 4,
    "collect_quality": 1,
    "write_findings": 1,
    **IMAGE_FIGURES,
    **ENDS,
}
SWEEPS = {"measure_sweep": 15}
"""All that is measured."""
RACE_TABLE = {"collect_races": 1, "plot_ladder": 1}
"""What follows from a race."""


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(finished, tmp_path_factory.mktemp("stale") / "clone")


@contextlib.contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Change a file, and give it its content and its dates back."""
    before, dates = path.read_text(), path.stat()
    after = change(before)
    assert after != before
    path.write_text(after)
    try:
        yield
    finally:
        path.write_text(before)
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def after_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> Jobs:
    """Return what a dry run plans once `change` was made to the config."""

    def edit(text: str) -> str:
        config = yaml.safe_load(text)
        change(config)
        return yaml.safe_dump(config)

    with changed(folder / "config/config.yaml", edit):
        return planned(folder)


def after_file(folder: Path, name: str) -> Jobs:
    """Return what a dry run plans once a comment was added to a file."""
    mark = ".. changed\n" if name.endswith(".rst") else "# changed\n"
    with changed(folder / name, lambda text: text + mark):
        return planned(folder)


def test_nothing_changed(folder: Path) -> None:
    assert planned(folder) == {}


@pytest.mark.parametrize("name", ["README.md", "docs/slurm.md", "tests/conftest.py", "Makefile"])
def test_what_no_rule_reads(folder: Path, name: str) -> None:
    assert after_file(folder, name) == {}


def test_a_batch_size(folder: Path) -> None:
    """The job that has it runs: it keeps its other records (test_default_workflow sees to that)."""
    jobs = after_config(folder, lambda c: c["matrix"][0]["batch_sizes"].append(3))
    assert jobs == {"measure_sweep": 1, "collect_cases": 1, **AFTER_RECORDS}


@pytest.mark.parametrize(
    "block",
    [{"options": ["channels-last"]}, {"precisions": ["fp16"]}],
    ids=["option", "precision"],
)
def test_an_option_or_a_precision(folder: Path, block: dict[str, Any]) -> None:
    def add(config: dict[str, Any]) -> None:
        config["matrix"].append(config["matrix"][0] | {"batch_sizes": [1]} | block)

    assert after_config(folder, add) == {"measure_sweep": 1, "collect_cases": 1, **AFTER_RECORDS}


def test_a_device(folder: Path) -> None:
    def add(config: dict[str, Any]) -> None:
        config["devices"]["cpu1"] = {"kind": "cpu", "threads": 1}
        config["matrix"].append(config["matrix"][0] | {"devices": ["cpu1"], "batch_sizes": [1]})

    expected = {"measure_sweep": 1, "measure_peak_throughput": 1, "collect_cases": 1}
    assert after_config(folder, add) == expected | AFTER_RECORDS


def test_a_race(folder: Path) -> None:
    race = {"model": "tiny", "device": "cpu", "sizes": [128], "variants": [{}]}
    jobs = after_config(folder, lambda c: c["races"].append(race))
    expected = {"race_denoisers": 1, "collect_races": 1, "count_operations": 1, "plot_ladder": 1}
    assert jobs == expected | {"write_findings": 1, **ENDS}


def test_races_of_another_machine(folder: Path) -> None:
    theirs = folder / "resources" / "races" / "theirs.csv"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text((folder / "results" / "tables" / "races.csv").read_text())
    try:
        expected = {"collect_races": 1, "plot_ladder": 1, "write_findings": 1}
        assert planned(folder) == expected | ENDS
    finally:
        theirs.unlink()


def test_the_threads_of_a_device(folder: Path) -> None:
    """A new case, and a new peak to hold it against; the other device has its own."""
    jobs = after_config(folder, lambda c: c["devices"]["cpu"].update(threads=2))
    expected = {"measure_sweep": 13, "measure_peak_throughput": 1, "collect_cases": 1, **GENERATED}
    assert jobs == expected | AFTER_RECORDS | AFTER_IMAGES


@pytest.mark.parametrize(
    ("key", "value"), [("prompt", "a green square on a red background"), ("seed", 7), ("steps", 9)]
)
def test_what_is_generated(folder: Path, key: str, value: object) -> None:
    def change(config: dict[str, Any]) -> None:
        for model in ("shapes", "tiny"):
            config["models"][model]["generation"][key] = value

    # No export: a graph does not depend on what is generated with it, nor do peaks. There are
    # families that read no more of a prompt than it has.
    counted = {"count_operations": 2} if key == "prompt" else {}
    expected = {"measure_sweep": 6, "collect_cases": 1, **counted, **GENERATED}
    assert after_config(folder, change) == expected | AFTER_RECORDS | AFTER_IMAGES


@pytest.mark.parametrize("key", ["height", "width"])
def test_how_large_it_is_generated(folder: Path, key: str) -> None:
    def change(config: dict[str, Any]) -> None:
        for model in ("shapes", "tiny"):
            config["models"][model]["generation"][key] = 128

    expected = {"measure_sweep": 6, "collect_cases": 1, "count_operations": 2, **GENERATED}
    assert after_config(folder, change) == expected | AFTER_RECORDS | AFTER_IMAGES


def test_what_is_done_where_others_use_the_device(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c["measuring"].update(contention="wait"))
    measured = {**SWEEPS, "measure_peak_throughput": 2, "race_denoisers": 1}
    assert jobs == measured | RACE_TABLE | AFTER_RECORDS


def test_how_is_measured(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c["measuring"].update(min_samples=9))
    assert jobs == SWEEPS | AFTER_RECORDS


def test_a_price(folder: Path) -> None:
    assert after_config(folder, lambda c: c["devices"]["cpu"].update(price_per_hour=1)) == (
        AFTER_RECORDS
    )


def test_the_gate(folder: Path) -> None:
    assert after_config(folder, lambda c: c.update(quality_gate={"min_ssim": 0.5})) == AFTER_RECORDS


def test_the_need(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c.update(need={"memory_gb": 8}))
    assert jobs == {"rank_choices": 1, **ENDS}


def test_which_published_results_are_shown(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c.update(published=["fal-2023"]))
    assert jobs == {"collect_published": 1, **BESIDE_PUBLISHED, **ENDS}


def test_a_table_from_another_machine(folder: Path) -> None:
    theirs = folder / "resources" / "theirs.csv"
    theirs.write_text((folder / "resources" / "published.csv").read_text())
    try:
        assert planned(folder) == {"collect_published": 1, **BESIDE_PUBLISHED, **ENDS}
    finally:
        theirs.unlink()


def test_the_steps_of_the_images(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c["quality"][0].update(runs=[1, 2]))
    assert jobs == {"generate_images": 5, **AFTER_IMAGES}


def test_how_networks_are_exported(folder: Path) -> None:
    jobs = after_config(folder, lambda c: c.update(export={"opset": 22}))
    made = {"export_onnx": 3, "quantize_onnx": 1, "convert_openvino": 3, "collect_exports": 1}
    # Two engines read graphs of two models, one those that a third cannot have; three of the four
    # series that are compared are theirs.
    read = {"search_settings": 2, "measure_sweep": 5, "generate_images": 3}
    assert jobs == made | read | AFTER_RECORDS | AFTER_IMAGES | {"compare_quality": 3}


def test_the_code_that_converts(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/export/conversion.py")
    expected = {"convert_openvino": 3, "collect_exports": 1, "search_settings": 1}
    read = {"measure_sweep": 2, "generate_images": 2, "compare_quality": 2}
    assert jobs == expected | AFTER_RECORDS | AFTER_IMAGES | read


def test_the_code_that_searches_settings(folder: Path) -> None:
    jobs = after_file(folder, "scripts/search_settings.py")
    assert jobs == {"search_settings": 2, "measure_sweep": 2, **AFTER_RECORDS}


def test_a_caption(folder: Path) -> None:
    assert after_file(folder, "report/speed.rst") == {"plot_speed": 1, **ENDS}


def test_a_colour(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/report/figures/style.py")
    assert jobs == BAR_FIGURES | IMAGE_FIGURES | LADDER | ENDS


def test_the_code_of_a_plot(folder: Path) -> None:
    assert after_file(folder, "scripts/plot_speed.py") == {"plot_speed": 1, **ENDS}


@pytest.mark.parametrize(
    "name",
    [
        "docs/method.md",
        "scripts/write_page.py",
        "scripts/sdbench/report/page/answer.py",
        "scripts/sdbench/report/page/page.js",
    ],
)
def test_what_only_the_page_has(folder: Path, name: str) -> None:
    assert after_file(folder, name) == ENDS


def test_the_code_of_a_meter(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/measure/throughput.py")
    assert jobs == SWEEPS | AFTER_RECORDS


def test_the_code_that_peaks_are_measured_with(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/measure/peak_throughput.py")
    assert jobs == {"measure_peak_throughput": 2, **RACE_TABLE, **AFTER_RECORDS}


def test_the_code_that_counts_operations(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/models/operations.py")
    assert jobs == {"count_operations": 8, **AFTER_RECORDS}


def test_the_code_of_a_backend(folder: Path) -> None:
    jobs = after_file(folder, "scripts/sdbench/backends/onnxruntime.py")
    expected = {"search_settings": 1, "measure_sweep": 4, "generate_images": 2}
    assert jobs == expected | AFTER_RECORDS | AFTER_IMAGES | {"compare_quality": 2}


def test_the_code_of_a_family(folder: Path) -> None:
    """Of any: which one a model is of, only its files say. Only the bundled model is not made."""
    jobs = after_file(folder, "scripts/sdbench/models/families/flux.py")
    made = {"build_model": 7, "outline_model": 1, "describe_model": 8, "count_operations": 8}
    exported = {"export_onnx": 3, "quantize_onnx": 1, "convert_openvino": 3, "collect_exports": 1}
    run = {"search_settings": 2, "race_denoisers": 1, "generate_images": 7, "compare_quality": 5}
    expected = SWEEPS | RACE_TABLE | AFTER_RECORDS | AFTER_IMAGES | made | exported | run
    assert jobs == expected


def test_the_code_that_no_number_depends_on(folder: Path) -> None:
    assert after_file(folder, "scripts/sdbench/runtime/job.py") == {}


def test_the_environment_of_a_backend(folder: Path) -> None:
    """Without conda too: it is part of a record's fingerprint. The others: tests/conda."""
    jobs = after_file(folder, "envs/pytorch.yaml")
    measured = {"measure_sweep": 9, "measure_peak_throughput": 2, "race_denoisers": 1}
    assert jobs == measured | RACE_TABLE | AFTER_RECORDS
