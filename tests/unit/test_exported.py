"""Results leave as a table and come back next to those of another machine."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collect_published import collect_published
from collect_races import collect_races
from export_results import export_results
from sdbench.report.figures.results import published
from sdbench.report.figures.sheets import source_note
from sdbench.runtime.errors import UserError
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED, RACES, RESULTS
from tests.unit import tables_factory as made
from tests.unit.tables_factory import RESOURCES, SD_V1, SHAPES, failed_race, failed_row, race_row


def export(
    folder: Path, campaign: str = "lab-2026-11", races: list[dict[str, Any]] | None = None
) -> Path:
    """Export a CPU's case, a GPU's, one out of memory and one that broke."""
    failed = [failed_row(SD_V1, "oom", batch_size=64), failed_row(SHAPES, "error", batch_size=2)]
    measured = [
        made.memory_row(made.latency_row(made.throughput_row(base, rate), took, **more), gigabytes)
        for base, rate, took, more, gigabytes in (
            (SHAPES, 130.0, 0.5, {"contended": True}, 0.5),
            (SD_V1, 31.0, 2.0, {"ssim": 0.7}, 4.0),
        )
    ]
    table = folder / f"{campaign}.csv"
    export_results(
        made.write_rows([*measured, *failed], folder / "results.csv", RESULTS),
        made.write_rows(races or [], folder / "races.csv", RACES),
        campaign,
        table,
        folder / f"{campaign}-races.csv",
    )
    return table


def collect(tables: list[Path], folder: Path, campaigns: list[str]) -> pd.DataFrame:
    collect_published(RESOURCES / "published.csv", tables, campaigns, folder / "all.csv")
    return read_table(folder / "all.csv", PUBLISHED)


def test_what_was_measured_comes_back_as_it_was(tmp_path: Path) -> None:
    results = published(collect([export(tmp_path)], tmp_path, []))
    assert {result.campaign for result in results} == {"lab-2026-11"}
    cpu, gpu, oom = results
    assert (cpu.kind, cpu.device, cpu.precision) == ("cpu", "AMD EPYC 7B13 (cpu)", "fp32")
    assert (cpu.numbers["latency_s"], cpu.numbers["images_per_minute"]) == (0.5, 130.0)
    assert (cpu.numbers["n"], cpu.numbers["memory_bytes"]) == (12, 5e8)
    assert cpu.contended
    assert (gpu.kind, gpu.device) == ("cuda", "H100 80GB HBM3 (gpu)")
    assert gpu.counter == "peak memory of the process on the GPU"
    assert gpu.numbers["memory_bytes"] == 4e9
    assert not gpu.contended
    # And not what broke.
    assert (oom.status, oom.batch_size, oom.numbers) == ("oom", 64, {})


def test_campaigns_are_chosen_and_dropped_in_tables_are_shown_whole(tmp_path: Path) -> None:
    own = [export(tmp_path), export(tmp_path, "other-lab")]
    table = collect(own, tmp_path, ["fal-2023", "lambda-2022-10"])
    shown = ["lambda-2022-10", "fal-2023", "lab-2026-11", "other-lab"]
    assert list(table["campaign"].unique()) == shown


def test_the_same_rows_cannot_be_shown_twice(tmp_path: Path) -> None:
    first = export(tmp_path)
    second = tmp_path / "copy.csv"
    second.write_text(first.read_text())
    with pytest.raises(UserError, match=r"lab-2026-11\.csv: campaign: .*a separate campaign"):
        collect([first, second], tmp_path, [])
    second.write_text(first.read_text() + first.read_text().splitlines()[1] + "\n")
    twice = r"copy\.csv: found a row twice .*correct it, or remove it from"
    with pytest.raises(UserError, match=twice):
        collect([second], tmp_path, [])


def test_a_row_that_ran_has_its_numbers(tmp_path: Path) -> None:
    rows = pd.read_csv(export(tmp_path))
    rows.loc[1, "images_per_minute"] = None
    table = tmp_path / "by-hand.csv"
    rows.to_csv(table, index=False)
    with pytest.raises(UserError, match=r"images_per_minute: row 2: found an empty cell"):
        collect([table], tmp_path, [])


def test_devices_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Threads differ, or there are two equal GPUs."""
    base = made.latency_row(made.throughput_row(SHAPES, 130.0), 0.5)
    rows = [base | {"device": f"cpu-{threads}", "threads": threads} for threads in (1, 2)]
    rows += [made.latency_row(made.throughput_row(SD_V1, 31.0), 2.0) | {"device": d} for d in "ab"]
    table = tmp_path / "lab.csv"
    results = made.write_rows(rows, tmp_path / "results.csv", RESULTS)
    races = made.write_rows([], tmp_path / "races.csv", RACES)
    export_results(results, races, "lab", table, tmp_path / "exported-races.csv")
    found = collect([table], tmp_path, [])
    assert found["threads"].tolist()[:2] == [1, 2]
    assert [result.device for result in published(found)] == [
        *("AMD EPYC 7B13 (cpu-1)", "AMD EPYC 7B13 (cpu-2)"),
        *("H100 80GB HBM3 (a)", "H100 80GB HBM3 (b)"),
    ]


SPREADSHEETS: dict[str, Callable[[str], str]] = {
    "capitals": lambda text: text.replace("True", "TRUE").replace("False", "FALSE"),
    "a mark and line ends of Windows": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "blank columns": lambda text: "".join(f",{line},,\n" for line in text.splitlines()),
    "blank rows": lambda text: text + "\n".join(["," * text.splitlines()[0].count(",")] * 3),
    "quotes": lambda text: "".join(
        '"' + line.replace(",", '","') + '"\n' for line in text.splitlines()
    ),
    "rounded digits": lambda text: re.sub(r"4000000000\.0", "4.00E+09", text),
}


@pytest.mark.parametrize("program", SPREADSHEETS)
def test_what_a_spreadsheet_saved_is_the_same_table(program: str, tmp_path: Path) -> None:
    table = export(tmp_path)
    before = collect([table], tmp_path, [])
    changed = SPREADSHEETS[program](table.read_text())
    assert changed != table.read_text()
    (tmp_path / "saved.csv").write_bytes(changed.encode())
    assert collect([tmp_path / "saved.csv"], tmp_path, []).equals(before)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",", ";", "found semicolons between columns; allowed are commas, and points in numbers"),
        ("130.0", '"130,5"', "row 1: found '130,5'; allowed is a number, with a point"),
        ("4000000000.0", '"4,000,000,000"', "found '4,000,000,000'; allowed is a number"),
        ("False", "FALSCH", "found 'FALSCH'; allowed is True or False"),
    ],
)
def test_what_a_spreadsheet_made_unreadable_is_refused_in_one_line(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    table = export(tmp_path)
    text = table.read_text().replace(old, new)
    (tmp_path / "saved.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)):
        collect([tmp_path / "saved.csv"], tmp_path, [])


def test_a_row_from_elsewhere_names_its_campaign(tmp_path: Path) -> None:
    rows = collect([export(tmp_path)], tmp_path, ["lambda-2022-10"])
    note = source_note(published(rows), "")
    assert "Published, without spread: lambda-2022-10" in note
    assert "Published: lab-2026-11" in note


def test_own_races_leave_with_the_name_of_the_campaign_and_come_back(tmp_path: Path) -> None:
    rows = [
        race_row(0.6, backend="onnxruntime"),
        failed_race("unsupported", precision="bf16", device_name=None),
        failed_race("error", options="compile"),
        race_row(0.7, campaign="another", backend="onnxruntime"),
    ]
    export(tmp_path, races=rows)
    exported = tmp_path / "lab-2026-11-races.csv"
    collect_races([], [], [], [exported], 0.25, tmp_path / "races.csv")
    table = read_table(tmp_path / "races.csv", RACES)
    assert set(table["campaign"]) == {"lab-2026-11"}
    assert list(table["status"]) == ["ok", "unsupported"]
    assert table["ratio"][0] == 0.6
    assert table["device_name"].tolist() == [SHAPES["device_name"], "cpu"]
