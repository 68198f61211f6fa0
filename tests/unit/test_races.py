"""Races: which there are, what their records keep, and the numbers that are made of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collect_races import collect_races
from sdbench.cases.case import Pair
from sdbench.cases.expansion import RunConfig, expand_races, thread_families
from sdbench.config.check import Config, check_config
from sdbench.records.record import (
    read_record,
    write_index,
    write_record,
)
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_json
from sdbench.tables.files import read_table
from sdbench.tables.rows import race_row
from sdbench.tables.schemas import RACES
from tests.conftest import BASE
from tests.unit import tables_factory
from tests.unit.records_factory import (
    OPERATIONS,
    make_failed_race,
    make_pair,
    make_peaks,
    make_race,
    make_run,
)
from tests.unit.tables_factory import failed_race, write_rows

RACE: dict[str, Any] = {
    "model": "shapes",
    "device": "cpu",
    "sizes": [64, 128],
    "variants": [{}, {"options": "channels-last+attention-vanilla"}, {"backend": "onnxruntime"}],
}


def raced(config: Config, schema: dict[str, Any], *races: dict[str, Any]) -> list[Pair]:
    return expand_races(
        RunConfig.of(check_config({**config, "races": list(races)}, schema, [BASE]))
    )


def test_every_variant_is_raced_at_every_size(raw_config: Config, schema: dict[str, Any]) -> None:
    pairs = raced(raw_config, schema, RACE)
    keys = [(p.case.generation["width"], p.case.variant.backend, p.case.variant.key) for p in pairs]
    assert keys == [
        (size, *variant)
        for size in (64, 128)
        for variant in (
            ("pytorch", "fp32/none"),
            ("pytorch", "fp32/attention-vanilla+channels-last"),
            ("onnxruntime", "fp32/none"),
        )
    ]
    for pair in pairs:
        assert pair.case.generation["height"] == pair.case.generation["width"]
        reference = pair.reference_case
        assert (reference.variant.backend, reference.variant.key) == ("pytorch", "fp32/none")
        assert reference.generation == pair.case.generation
        assert (pair.case.batch_size, pair.rounds) == (1, 6)
        assert Pair.from_dict(pair.as_dict()) == pair


WRONG = [
    ({"model": "x"}, "model: 'x' is not defined"),
    ({"device": "x"}, "device: 'x' is not defined"),
    ({"variants": [{}, {"options": "compile+compile"}]}, "variants[1].options: repeated option"),
    (
        {"variants": [{"precision": "tf32"}]},
        "variants[0]: found a variant that cannot exist: TF32",
    ),
    (
        {"reference": {"backend": "onnxruntime"}},
        "reference.backend: found 'onnxruntime'; allowed are `pytorch`",
    ),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_wrong_race_is_refused_in_one_line(
    changes: dict[str, Any], said: str, raw_config: Config, schema: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=re.escape(f"races[0].{said}")) as caught:
        raced(raw_config, schema, RACE | changes)
    assert "\n" not in str(caught.value)


def test_a_variant_is_raced_once_at_a_size(raw_config: Config, schema: dict[str, Any]) -> None:
    other = RACE | {"sizes": [128], "variants": [{"backend": "onnxruntime"}], "rounds": 3}
    with pytest.raises(UserError, match=r"races\[1\]\.variants\[0\]: .* already raced at 128 px"):
        raced(raw_config, schema, RACE, other)
    assert len(raced(raw_config, schema, RACE, other | {"sizes": [256]})) == 7
    assert raced(raw_config, schema) == [], "nothing is raced by default"


def test_devices_that_differ_in_threads_are_a_family(
    raw_config: Config, schema: dict[str, Any]
) -> None:
    raw_config["devices"] = {
        "cpu": {"kind": "cpu"},
        "one": {"kind": "cpu", "threads": 1, "price_per_hour": 0.1},
        "small": {"kind": "cpu", "threads": 1, "memory_budget_gb": 2},
    }
    checked = check_config(raw_config, schema, [BASE])
    families = thread_families(RunConfig.of(checked).devices)
    assert families == {"cpu": "cpu", "one": "cpu", "small": "small"}


@pytest.mark.parametrize("side", ["challenger", "reference"])
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("backend", "tensorflow", "found tensorflow"), ("options", "warp", "unknown option 'warp'")],
)
def test_a_race_of_what_there_is_not_is_refused(
    side: str, key: str, value: str, said: str, tmp_path: Path
) -> None:
    """Its seal holds where another version of sdbench wrote it."""
    record = make_race(make_pair(), [1.0] * 3, [2.0] * 3)
    (record["reference"] if side == "reference" else record["case"]["variant"])[key] = value
    write_json(tmp_path / "race.json", record)
    with pytest.raises(UserError, match=f"race.json: {key}: {said}"):
        read_record(tmp_path / "race.json")


def test_a_row_has_the_ratio_over_launches_and_their_range() -> None:
    row = race_row(make_race(make_pair(), [3.0, 4.0, 9.0], [2.0, 8.0, 6.0]), 0.25)
    assert row["ratio"] == pytest.approx((1.5 * 0.5 * 1.5) ** (1 / 3))
    assert (row["ratio_min"], row["ratio_max"], row["launches"]) == (0.5, 1.5, 3)
    assert row["ratio_ci_low"] < row["ratio_min"] < row["ratio_max"] < row["ratio_ci_high"]
    assert (row["memory_bytes"], row["attention"], row["threads"]) == (2000, "vanilla", 1)
    assert row["waiting_cores"] == pytest.approx(0.01)
    assert row["contended"] is False
    # Two launches have a range and no interval.
    row = race_row(make_race(make_pair(), [3.0, 4.0], [2.0, 8.0]), 0.25)
    assert row["ratio_ci_low"] is row["ratio_ci_high"] is None
    # One that spins while it waits counts as contention.
    record = make_race(make_pair(), [1.0] * 3, [2.0] * 3)
    record["launches"][1]["reference_run"] = make_run([2.0], waited_cpu_s=[1.8])
    row = race_row(record, 0.25)
    assert (row["waiting_cores"], row["contended"]) == (pytest.approx(0.9), True)


def test_what_slows_both_of_a_launch_leaves_the_ratio_as_it_is() -> None:
    """The reason for taking turns: a machine that becomes slower does not widen the interval."""
    base = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5]
    row = race_row(make_race(make_pair(), [0.5 * b for b in base], base), 0.25)
    assert [row["ratio_ci_low"], row["ratio_ci_high"]] == pytest.approx([0.5, 0.5])
    row = race_row(make_race(make_pair(), [0.5 * b for b in reversed(base)], base), 0.25)
    assert row["ratio_ci_high"] / row["ratio_ci_low"] > 1.2


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=5))
def test_the_ratio_lies_in_the_range_of_the_rounds(rounds: list[tuple[float, float]]) -> None:
    own, base = (list(times) for times in zip(*rounds, strict=True))
    row = race_row(make_race(make_pair(), own, base), 0.25)
    assert row["ratio_min"] * 0.999999 <= row["ratio"] <= row["ratio_max"] * 1.000001


def test_the_table_has_every_race_and_those_of_other_machines(tmp_path: Path) -> None:
    pairs = [make_pair(), make_pair("channels-last")]
    folder = tmp_path / "races"
    write_record(folder, pairs[0], make_race(pairs[0], [3.0], [4.0]))
    write_record(folder, pairs[1], make_failed_race(pairs[1], "unsupported", "no such thing"))
    write_index(folder, pairs)
    write_json(tmp_path / "cpu.json", make_peaks({"fp32": 4.0}))
    write_json(tmp_path / "shapes/64x64.json", OPERATIONS)
    theirs = [tables_factory.race_row(0.6, campaign="lab", backend="onnxruntime")]

    def collect(*tables: Path) -> Any:
        inputs = ("races/index.json", "cpu.json", "shapes/64x64.json")
        index, peaks, operations = ([tmp_path / name] for name in inputs)
        collect_races(index, peaks, operations, tables, 0.25, tmp_path / "races.csv")
        return read_table(tmp_path / "races.csv", RACES)

    lab = write_rows(theirs, tmp_path / "lab.csv", RACES)
    table = collect(lab)
    assert list(table["status"]) == ["ok", "unsupported", "ok"]
    assert list(table["campaign"].fillna("")) == ["", "", "lab"]
    # One image with guidance: two evaluations of 2 TFLOP in three seconds.
    assert table["tflop"][0] == 4.0
    assert table["tflops"][0] == pytest.approx(4 / 3)
    assert table["utilization"][0] == pytest.approx(1 / 3)
    assert table["reason"][1] == "no such thing"
    assert table[["ratio", "tflop", "utilization", "contended"]].iloc[1].isna().all()
    copy = tmp_path / "other.csv"
    copy.write_text(lab.read_text())
    with pytest.raises(UserError, match=r"other\.csv: campaign: found none, or that of another"):
        collect(lab, copy)
    nameless = write_rows([failed_race("oom")], tmp_path / "nameless.csv", RACES)
    with pytest.raises(UserError, match=r"nameless\.csv: campaign"):
        collect(nameless)
    collect_races([], [], [], [], 0.25, tmp_path / "races.csv")
    assert read_table(tmp_path / "races.csv", RACES).empty
