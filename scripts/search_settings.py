"""Search for the best settings of an engine, for each variant that asks for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case
from sdbench.devices.machine import describe_machine
from sdbench.measure.settings_search import search_settings as search
from sdbench.runtime.files import write_json


def search_settings(
    cases: Sequence[Mapping[str, Any]],
    model_folder: Path,
    graphs: Sequence[Path],
    output: Path,
    limit_s: float | None = None,
) -> None:
    """Write what the search found to `output`: `searches`, by `Variant.key`, and the `machine`.

    Args:
        cases: a case, of one image, of each variant of a model, device and backend that is tuned.
        model_folder: the model in the diffusers layout.
        graphs: the records of the exported networks that the cases read, which lie next to them.
        output: the JSON file.
        limit_s: the seconds that one candidate may take; None for any number.
    """
    folders = {record.parent.name: record.with_suffix("") for record in graphs}
    searches = {}
    tuned = [Case.from_dict(case) for case in cases]
    for case in tuned:
        print(f"{case.variant.key}: searching", flush=True)
        name = case.variant.graphs
        assert name is not None, "only backends that read exported networks are tuned"
        searches[case.variant.key] = search(case, model_folder, folders[name], limit_s)
    write_json(output, {"searches": searches, "machine": describe_machine(tuned[0].device)})


if __name__ == "__main__":
    from sdbench.runtime.job import logged, time_limit_s

    with logged(snakemake.log[0]):
        search_settings(
            cases=snakemake.params.cases,
            model_folder=Path(snakemake.input.model),
            graphs=[Path(path) for path in snakemake.input.graphs],
            output=Path(snakemake.output[0]),
            limit_s=time_limit_s(snakemake.config),
        )
