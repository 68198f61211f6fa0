"""Search for the best settings of an engine, for each variant that asks for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case
from sdbench.devices.machine import describe_machine
from sdbench.measure.settings_search import search_settings as search
from sdbench.runtime.files import write_json
from sdbench.runtime.progress import say


def search_settings(
    cases: Sequence[Mapping[str, Any]],
    model_folder: Path,
    graphs: Sequence[Path],
    output: Path,
    limit_s: float | None = None,
) -> None:
    """Write what the search found to `output`: `searches`, by `Variant.key`, and the `machine`.

    The `cases` are of each variant of a model, device and backend that is tuned, of one image each;
    next to the records `graphs` lie the exported networks that they read.
    """
    folders: dict[str | None, Path] = {one.parent.name: one.with_suffix("") for one in graphs}
    searches = {}
    tuned = [Case.from_dict(case) for case in cases]
    for case in tuned:
        say(f"searching settings of {case.variant.key}")
        graphs_folder = folders[case.variant.graphs]
        searches[case.variant.key] = search(case, model_folder, graphs_folder, limit_s)
    write_json(output, {"searches": searches, "machine": describe_machine(tuned[0].device)})


if __name__ == "__main__":
    from sdbench.runtime.job import run_script, time_limit_s

    run_script(snakemake, search_settings, limit_s=time_limit_s(snakemake.config))
