"""Results that others published, and when two results may share an axis."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.tables.schemas import PUBLISHED, read_table

import pandas as pd

_SD_V1 = re.compile(r"(.*/)?(sd|stable-diffusion)-?v?1([-.].*)?", re.IGNORECASE)


def load_published(path: Path, campaigns: Sequence[str]) -> pd.DataFrame:
    """Read the rows of `campaigns` (config key `published`), in the order of the file.

    Returns:
        A table that `sdbench.tables.schemas.PUBLISHED` describes; without rows if no campaign is
        wanted.

    Raises:
        UserError: if the file is not such a table, or a campaign is not in it.
    """
    table = read_table(path, PUBLISHED)
    allowed = list(dict.fromkeys(table["campaign"]))
    for campaign in campaigns:
        if campaign not in allowed:
            raise UserError(
                f"config: published: found `{campaign}`, but {path.name} has only "
                f"{', '.join(f'`{name}`' for name in allowed)}: name one of these"
            )
    return table[table["campaign"].isin(list(campaigns))].reset_index(drop=True)


@dataclass(frozen=True, order=True)
class Condition:
    """What must agree for two results to share an axis: model family and what was drawn.

    Width and height are in pixels. `guided`: guidance above 1, so that each step evaluates the UNet
    for two prompts; the scale itself moves neither time nor memory.
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
        guided=float(row["guidance"]) > 1,
    )
