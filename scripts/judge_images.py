"""Score how well each image of a set follows its prompt, and how far it looks from another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.measure.judges import NONE, find_judge, find_lpips
from sdbench.records.image_archive import read_images
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def judge_images(
    archives: Sequence[Path],
    judge: str | Mapping[str, str],
    judge_folder: Path | Sequence[Path],
    output: Path,
) -> None:
    """Write the JSON `output`: `judge` and `version`, `reason` if there is none, and by archive in
    their order the `scores`, and the `lpips` to the first of them, one for each image wanted, None
    where there is no image, or nothing to say.

    Args:
        archives: of the reference, and then of the others.
        judge: as the config has it.
        judge_folder: the model that judges; an empty list without.
        output: written.
    """
    sets = [read_images(path) for path in archives]
    reason = ""
    try:
        folder = judge_folder if isinstance(judge_folder, Path) else None
        score, name, version = find_judge(judge, folder)
    except UserError as error:
        score, _, _ = find_judge(NONE, None)
        name, version, reason = NONE, "", str(error)
    found: dict[str, list[list[float | None]]] = {"scores": [], "lpips": []}
    for one in sets:
        places, wanted = one["set_at"].tolist(), one["set_prompts"].tolist()
        scores = score(one["set"], [wanted[place] for place in places])
        found["scores"].append(_placed(len(wanted), places, scores))
    look = find_lpips()
    for one in sets[1:]:
        if look is None:
            break
        here, there = (each["set_at"].tolist() for each in (one, sets[0]))
        both = [place for place in here if place in there]
        own = one["set"][[here.index(place) for place in both]]
        reference = sets[0]["set"][[there.index(place) for place in both]]
        found["lpips"].append(_placed(len(one["set_prompts"]), both, look(reference, own)))
    write_json(output, {"judge": name, "version": version, "reason": reason, **found})


def _placed(count: int, places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    by_place = dict(zip(places, values, strict=True))
    return [by_place.get(place) for place in range(count)]


if __name__ == "__main__":
    run_script(snakemake, judge_images)
