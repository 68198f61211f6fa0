"""What fits: never a smaller batch in more memory, or with fewer bytes; and its figure."""

import re
from collections.abc import Callable
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
    REACH,
    MemoryConfig,
    batch_error,
    find_memory_configs,
    fit_rows,
    judge,
    judge_weights,
)
from sdbench.models.weights import ITEM_BYTES, device_bytes, host_bytes, weight_bytes
from sdbench.runtime.files import write_json
from sdbench.tables.files import read_rows
from sdbench.tables.schemas import FITS, LARGEST, NO, PREDICTED_MEMORY, RESULTS, UNKNOWN, YES
from tests.unit import tables_factory as factory
from tests.unit.figure_reading import faults, texts

Components = dict[str, dict[str, Any]]


def make_components(scale: int = 1) -> Components:
    """Return the components of a model with 10^9 weights by `scale`, six tenths in the denoiser."""

    side = 1024
    return {
        name: {
            "parameters": 10**6 * millions * scale,
            "largest": side**2,
            "pinned": 10**6 * millions * scale * 3 // 2,
            "matrices": [[side, side, 10**6 * millions // side**2 * scale * 8 // 10]],
            "denoiser": name == "painter",
        }
        for name, millions in {"reader": 300, "painter": 600, "decoder": 100}.items()
    }


def memory_rows(
    constant: float, image: float, sizes: tuple[int, ...] = (1, 2, 4, 8), **changes: Any
) -> list[dict[str, Any]]:
    """Return rows of a GPU whose peaks lie on a line, in bytes."""
    return [
        {
            **factory.SD_V1,
            "batch_size": size,
            "peak_reserved_bytes": constant + image * size,
            "reserved_after_run_bytes": constant,
            "nvml_process_bytes": constant + 5e8,
            **changes,
        }
        for size in sizes
    ]


def largest_row(found: int, predicted: int, **changes: Any) -> dict[str, Any]:
    """Return a row of LARGEST."""
    base = {name: factory.SD_V1[name] for name in ("model", "device", "backend", "precision")}
    return {**base, "options": "none", "largest_batch": found, "cap": 512,
            "predicted_batch": predicted, "probes": 2, "limit_bytes": 24e9, "reason": None,
            **changes}  # fmt: skip


PEAKS = st.dictionaries(st.integers(1, 64), st.integers(1, 10**9), max_size=5)
"""Any peaks at all, those of a counter that wavers included."""
LIMITS = st.integers(0, 2 * 10**9)


def size_of(verdict: Any) -> int:
    return verdict.largest_batch or 0


@given(PEAKS, LIMITS, LIMITS, st.integers(0, 10**9))
def test_more_memory_or_fewer_bytes_never_mean_a_smaller_batch(
    peaks: dict[int, int], one: int, other: int, saved: int
) -> None:
    small, large = sorted((one, other))
    assert size_of(judge(peaks, small)) <= size_of(judge(peaks, large))
    if judge(peaks, large).fits == NO:
        assert judge(peaks, small).fits == NO
    less = {size: peak - saved for size, peak in peaks.items()}
    assert size_of(judge(less, one)) >= size_of(judge(peaks, one))


@given(PEAKS, LIMITS)
def test_what_was_measured_is_believed(peaks: dict[int, int], limit: int) -> None:
    verdict = judge(peaks, limit)
    first_failure = min((size for size, peak in peaks.items() if peak > limit), default=10**12)
    runs = [size for size in peaks if size < first_failure]
    assert max(runs, default=0) <= size_of(verdict) < first_failure
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
        ({1: 200, 2: 300, 4: 500}, 1700, (YES, 4 * REACH, False)),
        # No batch is printed that lies far outside of what was measured.
        ({1: 200, 2: 300, 4: 500}, 1800, (YES, 4 * REACH, True)),
        ({1: 10**9, 2: 10**9 + 1}, 8 * 10**10, (YES, 2 * REACH, True)),
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
def test_no_option_takes_more_weights(
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


def ways(*memory: factory.Row, largest: Any = ()) -> list[MemoryConfig]:
    return find_memory_configs(memory, largest, {row["model"]: make_components() for row in memory})


def row_of(memory: factory.Rows, gb: int, way: str = "fp32 none", largest: Any = ()) -> Any:
    rows = pd.DataFrame(fit_rows(ways(*memory, largest=largest)))
    named = rows["precision"] + " " + rows["options"]
    (row,) = rows[(named == way) & (rows["memory_gb"] == gb)].astype(object).to_dict("records")
    return {name: None if value != value else value for name, value in row.items()}


LINE = memory_rows(5e9, 1e9)
"""Rows of which the peaks lie on a line, and 0.5 GB are the driver's own."""


def test_a_straight_line_is_predicted_without_error() -> None:
    row = row_of(LINE, 24, largest=[largest_row(20, 20)])
    assert (row["fits"], row["largest_batch"], row["basis"]) == (YES, 20, "measured")
    assert row["batch_sizes"] == "4 8"
    assert (row["weights_bytes"], row["image_bytes"]) == (4e9, 1e9)
    assert row["other_bytes"] == pytest.approx(1.5e9)
    assert row["batch_error"] == pytest.approx(0)
    assert (row["found_batch"], row["predicted_batch"]) == (20, 20)
    # A search that ended at its cap checks nothing.
    assert row_of(LINE, 8, largest=[largest_row(512, 600, cap=512)])["found_batch"] is None


def test_the_error_is_that_of_the_batch_and_not_of_its_memory() -> None:
    """Of a line whose constant is most of the memory: a slope that is wrong by two thirds moves the
    peak by 3 %, and the batches of larger memories by nearly as much as itself."""
    peaks = {1: 10_050, 2: 10_100, 4: 10_200, 8: 10_600}
    seen_by_peak = (10_400 - 10_600) / 10_600
    assert abs(seen_by_peak) < 0.03
    for limit, batch, without in ((10_600, 8, 12), (12_600, 28, 52)):
        assert batch_error(peaks, limit) == pytest.approx(without / batch - 1)
    assert batch_error({1: 200, 2: 300, 4: 500}, 1000) == pytest.approx(0)
    assert batch_error({1: 200, 2: 300}, 1000) is None
    assert batch_error(peaks, 9_000) is None


def test_a_batch_that_is_not_printed_has_no_error() -> None:
    *others, last = LINE
    last = last | {"peak_reserved_bytes": last["peak_reserved_bytes"] * 1.1}
    within, beyond = (row_of([*others, last], gb) for gb in (24, 80))
    assert within["at_least"] is False and within["batch_error"] > 0.2
    assert (beyond["largest_batch"], beyond["at_least"]) == (8 * REACH, True)
    assert beyond["batch_error"] is None
    assert row_of(LINE[:2], 8)["batch_error"] is None


def test_what_was_not_measured_is_derived_with_its_own_weights() -> None:
    derived = row_of(LINE, 8, "fp32 model-offload")
    assert (derived["basis"], derived["largest_batch"]) == ("derived", 4)
    assert derived["device_weights_bytes"] == 2.4e9
    assert row_of(LINE, 8)["largest_batch"] == 3
    assert row_of(LINE, 8, "fp16 none")["basis"] == "weights"
    # What was measured tells how good a derivation would have been.
    both = [*LINE, *memory_rows(3.4e9, 1.1e9, options="model-offload")]
    row = row_of(both, 8, "fp32 model-offload")
    assert row["basis"] == "measured"
    # Derived: 3.9 GB and 1 GB for each image. The eight take 12.7 GB.
    assert row["derived_error"] == pytest.approx((12.7 - 3.9) / 8 - 1)


def test_what_was_not_measured_is_computed_where_its_model_is_described() -> None:
    model = LINE[0]["model"]
    computed = {(model, p, "none"): {1: 6 * 10**9, 2: 7 * 10**9} for p in ("fp16", "fp32")}
    found = find_memory_configs(LINE, [], {model: make_components()}, computed)
    rows = {
        (row["precision"], row["options"], row["memory_gb"]): row
        for row in fit_rows(found)
        if row["options"] == "none"
    }
    half = rows["fp16", "none", 8]
    assert (half["basis"], half["largest_batch"], half["counter"]) == (
        *("predicted", 3, "peak_reserved_bytes"),
    )
    assert half["predicted_error"] is None
    # What was measured says how far off a prediction is: of two images, 7 GB.
    whole = rows["fp32", "none", 8]
    assert whole["basis"] == "measured"
    assert whole["predicted_error"] == pytest.approx(7e9 / found[0].peaks[2] - 1)


def test_offload_is_no_way_to_run_on_a_cpu() -> None:
    peaks = {size: 6e8 + 4e7 * size for size in (1, 2)}
    found = ways(
        *(factory.SHAPES | {"batch_size": n, "resident_peak_bytes": p} for n, p in peaks.items())
    )
    assert {way.variant.options for way in found} == {"none", "int8-weights", "nf4-weights"}
    assert found[0].counter == "resident_peak_bytes"


def predicted_row(batch: int, reserved: float) -> dict[str, Any]:
    return {
        **{"model": "sd-v1", "width": 512, "height": 512, "precision": "fp16", "options": "none"},
        **{"batch": batch, "predicted_allocated_bytes": 2e9, "predicted_reserved_bytes": reserved},
    }


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
        factory.write_rows([predicted_row(1, 4e9)], tmp_path / "predicted.csv", PREDICTED_MEMORY),
        {"sd-v1-4": "sd-v1"},
        tmp_path / "fits.csv",
    )
    return tmp_path / "fits.csv"


Plot = Callable[[Path], tuple[Figure, Any]]


@pytest.fixture
def plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plot:
    """Plots a table; returns the figure and the data behind it."""

    def plotted(table: Path) -> tuple[Figure, Any]:
        kept: list[Any] = []
        monkeypatch.setattr(figure_of_fits, "save_figure", lambda *args: kept.extend(args))
        plot_fits(table, factory.figure_files(tmp_path))
        return kept[0], kept[1]

    return plotted


def test_the_figure_says_what_the_table_says(table: Path, plot: Plot) -> None:
    figure, data = plot(table)
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
    # Ways of which nothing is known are in the table alone.
    way = ["model", "device", "precision", "options"]
    silent = {
        key for key, fits in pd.DataFrame(rows).groupby(way)["fits"] if set(fits) == {UNKNOWN}
    }
    assert silent and not silent & set(data[way].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"largest_batch": 12}, "12"),
        ({"largest_batch": 12, "basis": "derived"}, "~12"),
        ({"largest_batch": 12, "at_least": True}, "≥12"),
        ({"fits": NO}, "no"),
        ({"fits": UNKNOWN}, "?"),
    ],
)
def test_a_cell_says_how_much_is_known(changes: dict[str, Any], text: str) -> None:
    cell = {"fits": YES, "largest_batch": None, "at_least": False, "basis": "measured"}
    assert cell_text(cell | changes) == text


def test_a_model_on_a_device_has_one_panel_wherever_its_rows_stand(
    table: Path, plot: Plot, tmp_path: Path
) -> None:
    rows = pd.DataFrame(read_rows(table, FITS))
    places = rows[["model", "device"]].drop_duplicates()
    assert len(places) > 1
    other = rows[rows["model"] == rows["model"].iloc[0]].assign(backend="onnxruntime")
    mixed = pd.concat([rows, other]).to_dict("records")
    figure, _ = plot(factory.write_rows(mixed, tmp_path / "mixed.csv", FITS))
    headings = [text for text in texts(figure) if re.match(r"\S+ on \S+, ", text)]
    assert len(headings) == len(set(headings)) == len(places)


def test_an_empty_table_is_a_figure_that_says_so(
    plot: Plot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = factory.write_rows([], tmp_path / "fits.csv", FITS)
    plot_fits(table, factory.figure_files(tmp_path))
    assert "figure.png is empty: No case was measured" in capsys.readouterr().out
    figure, data = plot(table)
    assert any("No case was measured" in text for text in texts(figure))
    assert data.empty


@pytest.mark.parametrize("measured", ["fp16", "bf16"])
@pytest.mark.parametrize("tried", [False, True])
def test_int8_weights_are_offered_in_bf16_where_they_overflow_in_fp16(
    measured: str, tried: bool
) -> None:
    memory = memory_rows(5e9, 1e9, precision=measured)
    if tried:  # and refused
        base = factory.SD_V1 | {"precision": "fp16", "options": "int8-weights"}
        memory.append(factory.failed_row(base, "unsupported"))
    rows = pd.DataFrame(fit_rows(ways(*memory)))
    assert not ((rows["precision"] == "fp16") & (rows["options"] == "int8-weights")).any()
    nf4, int8 = (row_of(memory, 8, way) for way in ("fp16 nf4-weights", "bf16 int8-weights"))
    assert nf4["basis"] == ("derived" if measured == "fp16" else "weights")
    assert int8["basis"] == ("derived" if measured == "bf16" else "weights")
    assert int8["weights_bytes"] < 2e9
