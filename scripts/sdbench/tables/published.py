"""Results that others published, and when two results may share an axis."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError, plain
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED, PUBLISHED_KEY, PUBLISHED_MUST

import pandas as pd

FP32_TF32 = "fp32 (TF32 conv.)"
"""What a published "fp32" is called whose convolutions cuDNN ran in TF32."""

_SD_V1 = re.compile(r"(.*/)?(sd|stable-diffusion)-?v?1([-.].*)?", re.IGNORECASE)

_Z_IMAGE = re.compile("z-image", re.IGNORECASE)
"""Guidance above 0 takes a second prompt there; everywhere else it is above 1."""

_FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet takes for a formula."""


def read_published(path: Path, remedy: str) -> pd.DataFrame:
    """Read a table of schema PUBLISHED.

    Raises:
        UserError: if the file is not such a table, does not say in a row what was measured, or has
            a row twice; `remedy` says what to do.
    """
    table = read_table(path, PUBLISHED, remedy)
    for column, wrong, found, allowed in _checks(table):
        if wrong.any():
            place = int(wrong.argmax())
            said = found or repr(plain(table[column].iloc[place]))
            raise UserError(
                f"{path}: {column}: row {place + 1}: found {said}; allowed is {allowed}: {remedy}"
            )
    key = table[PUBLISHED_KEY]
    if key.duplicated().any():
        row = plain(" ".join(map(str, key[key.duplicated()].iloc[0])), 200)
        raise UserError(f"{path}: found a row twice ({row}); allowed is once: {remedy}")
    return table


def _checks(table: pd.DataFrame) -> Iterator[tuple[str, pd.Series, str, str]]:
    """Yield a column, which of its cells are wrong, what they are called, and what is allowed."""
    for name in PUBLISHED_MUST:
        yield name, table[name].isna(), "an empty cell", "a value"
    for name in ("latency_s", "images_per_minute"):
        yield name, table[name].isna() & (table["status"] == "ok"), "an empty cell", "a number"
    for label, cells in table.select_dtypes("number").items():
        if label != "psnr_db":
            yield str(label), cells.isin([math.inf]), "inf", "a number"
    allowed = (
        "text without control characters that does not begin with = + - or @ (spreadsheets would "
        "run it)"
    )
    for label, cells in table.select_dtypes("str").items():
        texts = cells.fillna("")
        wrong = texts.str.startswith(_FORMULA) | ~texts.map(str.isprintable)
        yield str(label), wrong, "", allowed


@dataclass(frozen=True, order=True)
class Condition:
    """What must agree for two results to share an axis: model family and what was generated.

    Width and height are in pixels. `guided`: each step evaluates the denoiser for two prompts, if
    the family does so at all; the scale itself moves neither time nor memory.
    """

    family: str
    width: int
    height: int
    steps: int
    scheduler: str
    guided: bool


def model_family(model: str) -> str:
    """Return the name that models of the same networks share, which is what decides speed.

    Stable Diffusion 1.1 to 1.5 differ in their weights alone: `CompVis/stable-diffusion-v1-4`,
    `runwayml/stable-diffusion-v1-5` and our `sd-v1` or `sd-v1-4` are one family. Any other model is
    a family of its own.
    """
    return "Stable Diffusion v1" if _SD_V1.fullmatch(model) else model


def condition(row: Mapping[str, Any]) -> Condition:
    """Return the condition under which a row of a table, measured or published, was taken."""
    return Condition(
        family=model_family(str(row["model"])),
        width=int(row["width"]),
        height=int(row["height"]),
        steps=int(row["steps"]),
        scheduler=str(row["scheduler"]).lower(),
        guided=float(row["guidance"]) > (0 if _Z_IMAGE.search(str(row["model"])) else 1),
    )
