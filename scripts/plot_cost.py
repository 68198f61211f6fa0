"""Plot energy and money for each image, at the batch size with most images per minute."""

from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, best_of, rate_interval, read_results
from sdbench.report.figures.sheets import Cell, Sheet, calls_note, make_sheet
from sdbench.tables.files import read_table
from sdbench.tables.labels import number
from sdbench.tables.schemas import RESULTS

ENERGY, MONEY = "energy_j_per_image", "cost_per_1000_images"


def cost_sheet(results: Path) -> Sheet:
    """Return joules for each image, and the price of a thousand images."""
    currencies = read_table(results, RESULTS)["currency"].dropna()
    currency = next(iter(currencies), "money")
    best = best_of(
        [r for r in read_results(results) if r.ok],
        key=lambda r: (r.place, r.options),
        value=lambda r: -r.numbers["images_per_minute"],
    )
    shown = [r for r in best if ENERGY in r.numbers or MONEY in r.numbers]
    return make_sheet(
        shown,
        lambda _: ("joules per image", f"{currency} per 1,000 images"),
        lambda result: (
            _cell(result, ENERGY, "no energy counter"),
            _cell(result, MONEY, "the config has no price"),
        ),
        f"{calls_note(shown, 'throughput_n')} back to back",
        title="Energy and cost of an image",
        subtitle="Energy of the device and price, at the batch size with most images per minute. "
        "Shorter is better. The price per hour is from the config, for a device never idle.",
        missing="No case was measured on a device with an energy counter, or with a price in the "
        "config (`price_per_hour`).",
        interval="95 % interval of the time",
    )


def _cell(result: Result, column: str, absent: str) -> Cell:
    if column not in result.numbers:
        return Cell(None, absent)
    value = result.numbers[column]
    # A counter is read once for all calls; money is time, whose spread is known.
    spread = rate_interval(result, value, inverse=True) if column == MONEY else (None, None)
    return Cell(value, number(value), f"batch {result.batch_size}", *spread)


if __name__ == "__main__":
    run_sheet(snakemake, cost_sheet)
