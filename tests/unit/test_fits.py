"""What fits: never a smaller batch in more memory, or with fewer bytes; and its figure."""

import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given
from matplotlib.figure import Figure

import plot_fits as figure_of_fits
from plot_fits import cell_text, plot_fits
from predict_fits import predict_fits
from sdbench.analysis.fits import (
    GB,
    MemoryConfig,
    find_memory_configs,
    fit_rows,
    judge,
    judge_weights,
)
from sdbench.models.weights import ITEM_BYTES, device_bytes, host_bytes, weight_bytes
from sdbench.runtime.files import write_json
from sdbench.tables.files import read_rows
from sdbench.tables.schemas import FITS, LARGEST, NO, RESULTS, UNKNOWN, YES
from tests.unit import tables_factory as factory
from tests.unit.figure_reading import faults, texts
from tests.unit.fits_factory import largest_row, make_components, memory_rows

PEAKS = st.dictionaries(st.integers(1, 64), st.integers(1, 10**9), max_size=5)
"""Any peaks at all, those of a counter that wavers included."""
LIMITS = st.integers(0, 2 * 10**9)


def size_of(verdict: Any) -> int:
    return verdict.largest_batch or 0


@given(PEAKS, LIMITS, LIMITS)
def test_more_memory_never_means_a_smaller_batch(
    peaks: dict[int, int], one: int, other: int
) -> None:
    small, large = sorted((one, other))
    assert size_of(judge(peaks, small)) <= size_of(judge(peaks, large))
    if judge(peaks, large).fits == NO:
        assert judge(peaks, small).fits == NO


@given(PEAKS, LIMITS, st.integers(0, 10**9))
def test_fewer_bytes_of_weights_never_mean_a_smaller_batch(
    peaks: dict[int, int], limit: int, saved: int
) -> None:
    less = {size: peak - saved for size, peak in peaks.items()}
    assert size_of(judge(less, limit)) >= size_of(judge(peaks, limit))


@given(PEAKS, LIMITS)
def test_what_was_measured_is_believed(peaks: dict[int, int], limit: int) -> None:
    verdict = judge(peaks, limit)
    fails = [size for size, peak in peaks.items() if peak > limit]
    assert size_of(verdict) < min(fails, default=10**12)
    runs = [size for size in peaks if size < min(fails, default=10**12)]
    assert size_of(verdict) >= max(runs, default=0)
    assert (verdict.fits == YES) == (size_of(verdict) > 0)


@given(st.integers(0, 10**10), LIMITS)
def test_weights_alone_never_say_that_something_fits(needed: int, limit: int) -> None:
    assert judge_weights(needed, limit).fits == (NO if needed > limit else UNKNOWN)


@pytest.mark.parametrize(
    ("peaks", "limit", "wanted"),
    [
        ({1: 200, 2: 300, 4: 500}, 1000, (YES, 9, False)),
        ({1: 200, 2: 300, 4: 500}, 350, (YES, 2, False)),
        ({1: 200, 2: 300, 4: 500}, 199, (NO, None, False)),
        ({4: 500, 8: 900}, 250, (YES, 1, False)),
        ({4: 500, 8: 900}, 150, (NO, None, False)),
        ({1: 200}, 1000, (YES, 1, True)),
        ({1: 200}, 100, (NO, None, False)),
        ({4: 500}, 400, (UNKNOWN, None, False)),
        ({1: 200, 2: 200}, 1000, (YES, 2, True)),
    ],
)
def test_the_largest_batch_is_on_the_line(
    peaks: dict[int, int], limit: int, wanted: tuple[str, int | None, bool]
) -> None:
    assert judge(peaks, limit) == wanted


@given(
    st.sampled_from(sorted(ITEM_BYTES)),
    st.sampled_from([(), ("int8-weights",), ("nf4-weights",), ("model-offload",)]),
    st.integers(1, 5),
)
def test_no_option_takes_more_weights_than_none(
    precision: str, switches: tuple[str, ...], scale: int
) -> None:
    components = make_components(scale)
    plain = sum(weight_bytes(components, precision, ()).values())
    assert device_bytes(components, precision, switches) <= plain
    assert device_bytes(components, "fp16", switches) <= device_bytes(components, "fp32", switches)
    offloaded = "model-offload" in switches
    assert host_bytes(components, precision, switches) == (plain if offloaded else 0)


def test_weights_are_counted_where_they_are() -> None:
    components = make_components()
    assert weight_bytes(components, "fp16", ()) == {
        "reader": 600_000_000,
        "painter": 1_200_000_000,
        "decoder": 200_000_000,
    }
    assert device_bytes(components, "fp16", ("model-offload",)) == 1_200_000_000
    assert device_bytes(components, "fp16", ("group-offload",)) == 2 * 2 * 1024**2
    # Each tensor is pinned in a block of its own, a power of two: half again as much here.
    assert host_bytes(components, "fp16", ("group-offload",)) == 3_000_000_000
    assert host_bytes(components, "fp16", ("model-offload",)) == 2_000_000_000
    quantized = weight_bytes(components, "fp16", ("nf4-weights",))
    assert quantized["reader"] == 600_000_000, "only what each step evaluates is quantized"
    assert quantized["painter"] < 500_000_000
    both = device_bytes(components, "fp16", ("nf4-weights", "model-offload"))
    assert both == 600_000_000, "what is offloaded takes what it has as it is kept"


def ways(*memory: dict[str, Any], largest: Any = ()) -> dict[tuple[str, str], MemoryConfig]:
    components = {row["model"]: make_components() for row in memory}
    found = find_memory_configs(memory, largest, components)
    return {(way.variant.precision, way.variant.options): way for way in found}


def rows_of(*memory: dict[str, Any], largest: Any = ()) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = ways(*memory, largest=largest)
    return {
        (row["precision"], row["options"], row["memory_gb"]): row
        for row in fit_rows(list(found.values()))
    }


def test_a_straight_line_is_predicted_without_error() -> None:
    rows = rows_of(*memory_rows(5e9, 1e9), largest=[largest_row(18, 18)])
    row = rows["fp32", "none", 24]
    # 0.5 GB are the driver's own.
    assert (row["fits"], row["largest_batch"], row["basis"]) == (YES, 18, "measured")
    assert row["batch_sizes"] == "4 8"
    assert (row["weights_bytes"], row["image_bytes"]) == (4e9, 1e9)
    assert row["other_bytes"] == pytest.approx(1.5e9)
    assert row["peak_error"] == pytest.approx(0)
    assert (row["found_batch"], row["predicted_batch"]) == (18, 18)


def test_the_error_is_that_of_a_prediction_that_did_not_see_what_it_predicts() -> None:
    memory = memory_rows(5e9, 1e9)
    memory[-1]["peak_reserved_bytes"] *= 1.1
    error = rows_of(*memory)["fp32", "none", 8]["peak_error"]
    assert error == pytest.approx(13.5 / (1.1 * 13 + 0.5) - 1)
    assert rows_of(*memory[:2])["fp32", "none", 8]["peak_error"] is None


def test_what_was_not_measured_is_derived_with_its_own_weights() -> None:
    rows = rows_of(*memory_rows(5e9, 1e9))
    derived = rows["fp32", "model-offload", 8]
    assert (derived["basis"], derived["largest_batch"]) == ("derived", 4)
    assert derived["device_weights_bytes"] == 2.4e9
    assert rows["fp32", "none", 8]["largest_batch"] == 2
    assert rows["fp16", "none", 8]["basis"] == "weights"


@pytest.mark.parametrize("measured", ["fp16", "bf16"])
@pytest.mark.parametrize("tried", [False, True])
def test_int8_weights_are_offered_in_bf16_where_they_overflow_in_fp16(
    measured: str, tried: bool
) -> None:
    memory = memory_rows(5e9, 1e9, precision=measured)
    if tried:  # and refused
        base = factory.SD_V1 | {"precision": "fp16", "options": "int8-weights"}
        memory.append(factory.failed_row(base, "unsupported"))
    rows = rows_of(*memory)
    assert ("fp16", "int8-weights", 8) not in rows
    assert rows["fp16", "nf4-weights", 8]["basis"] == (
        "derived" if measured == "fp16" else "weights"
    )
    int8 = rows["bf16", "int8-weights", 8]
    assert int8["basis"] == ("derived" if measured == "bf16" else "weights")
    assert int8["weights_bytes"] < 2e9


def test_what_was_measured_tells_how_good_a_derivation_would_have_been() -> None:
    memory = [*memory_rows(5e9, 1e9), *memory_rows(3.4e9, 1.1e9, options="model-offload")]
    row = rows_of(*memory)["fp32", "model-offload", 8]
    assert row["basis"] == "measured"
    assert row["derived_error"] == pytest.approx((5.5 - 1.6 + 8) / (3.4 + 0.5 + 8.8) - 1)


def test_a_search_that_ended_at_its_cap_checks_nothing() -> None:
    rows = rows_of(*memory_rows(5e9, 1e9), largest=[largest_row(512, 600, cap=512)])
    assert rows["fp32", "none", 8]["found_batch"] is None


def test_offload_is_no_way_to_run_on_a_cpu() -> None:
    memory = [
        factory.SHAPES | {"batch_size": n, "resident_peak_bytes": 6e8 + 4e7 * n} for n in (1, 2)
    ]
    found = ways(*memory)
    assert {options for _, options in found} == {"none", "int8-weights", "nf4-weights"}
    assert found["fp32", "none"].counter == "resident_peak_bytes"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Models that fit everywhere, in parts and nowhere, on two devices."""
    memory, manifests = [], []
    for model, scale in (("sd-v1-4", 1), ("a-" + "very-" * 20 + "large-one", 40)):
        components = make_components(scale)
        manifests.append(tmp_path / f"{model}.json")
        write_json(manifests[-1], {"components": components})
        if scale == 1:
            memory += memory_rows(5e9, 1e9, model=model)
            memory += memory_rows(2.6e9, 5e8, (1,), model=model, precision="fp16")
        else:
            memory.append(factory.failed_row(factory.SD_V1, "unsupported", model=model))
    predict_fits(
        factory.write_rows(memory, tmp_path / "results.csv", RESULTS),
        factory.write_rows([largest_row(18, 19)], tmp_path / "largest.csv", LARGEST),
        manifests,
        tmp_path / "fits.csv",
    )
    return tmp_path / "fits.csv"


def generated(table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Figure, Any]:
    kept: list[Any] = []
    monkeypatch.setattr(figure_of_fits, "save_figure", lambda *args: kept.extend(args))
    plot_fits(table, factory.figure_files(folder))
    return kept[0], kept[1]


def test_the_figure_says_what_the_table_says(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure, data = generated(table, tmp_path, monkeypatch)
    assert faults(figure) == []
    written = texts(figure)
    rows = read_rows(table, FITS)
    shown = [row for row in rows if row["precision"] == "fp32" and row["options"] == "none"]
    assert {cell_text(row) for row in shown} <= set(written)
    assert "≥1" in written, "one batch size says no more"
    assert "~4" in written, "derived"
    assert "no" in written and "?" in written
    assert any("batch 19, found 18" in text for text in written)
    assert not any("nan" in text.lower().split() for text in written)
    assert set(data["fits"]) == {YES, NO, UNKNOWN}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"largest_batch": 12}, "12"),
        ({"largest_batch": 12, "basis": "derived"}, "~12"),
        ({"largest_batch": 12, "at_least": True}, "≥12"),
        ({"largest_batch": 12345, "basis": "derived"}, ">999"),
        ({"fits": NO}, "no"),
        ({"fits": UNKNOWN}, "?"),
    ],
)
def test_a_cell_says_how_much_is_known(changes: dict[str, Any], text: str) -> None:
    cell = {"fits": YES, "largest_batch": None, "at_least": False, "basis": "measured"}
    assert cell_text(cell | changes) == text


def test_a_model_on_a_device_has_one_panel_wherever_its_rows_stand(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame(read_rows(table, FITS))
    places = list(dict.fromkeys(zip(rows["model"], rows["device"], strict=True)))
    assert len(places) > 1
    other = rows[rows["model"] == rows["model"].iloc[0]].assign(backend="onnxruntime")
    mixed = factory.write_rows(
        pd.concat([rows, other]).to_dict("records"), tmp_path / "mixed.csv", FITS
    )
    figure, _ = generated(mixed, tmp_path, monkeypatch)
    headings = [text for text in texts(figure) if re.match(r"\S+ on \S+, ", text)]
    assert len(headings) == len(set(headings)) == len(places)


def test_ways_of_which_nothing_is_known_are_in_the_table_alone(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = generated(table, tmp_path, monkeypatch)
    unknown = pd.DataFrame(read_rows(table, FITS)).groupby(
        ["model", "device", "precision", "options"]
    )["fits"]
    silent = {key for key, fits in unknown if set(fits) == {UNKNOWN}}
    keys = set(zip(data["model"], data["device"], data["precision"], data["options"], strict=True))
    assert silent and not silent & keys


def test_an_empty_table_is_a_figure_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = factory.write_rows([], tmp_path / "fits.csv", FITS)
    figure, data = generated(empty, tmp_path, monkeypatch)
    assert any("No case was measured" in text for text in texts(figure))
    assert data.empty


def test_files_are_written(table: Path, tmp_path: Path) -> None:
    files = factory.figure_files(tmp_path)
    plot_fits(table, files)
    assert files.png.read_bytes().startswith(b"\x89PNG")
    assert files.svg.read_text().startswith("<?xml")
    assert (pd.read_csv(files.csv)["memory_gb"] * GB).max() == 80 * GB
