"""Measure all cases of one model on one device with one backend."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases import Case, Variant, digest
from sdbench.files import read_json, sha256
from sdbench.machine import identify_machine
from sdbench.measurement import Graphs, Sweep
from sdbench.settings import chosen_settings
from sdbench.sweep import run_sweep


def measure_sweep(
    cases: Sequence[Mapping[str, Any]],
    searches: Sequence[Mapping[str, Any]],
    measuring: Mapping[str, Any],
    manifest: Path,
    model_folder: Path,
    graphs: Sequence[Path],
    code: str,
    environment_file: Path,
    folder: Path,
    granted_bytes: int | None = None,
    settings: Path | None = None,
) -> None:
    """Leave a record for each case, and an index of them, in `folder`.

    Args:
        cases: the cases, as `Case.as_dict` gives them.
        searches: each a `variant` whose largest batch is searched for, and the `cap` of the search.
        measuring: the config's section of that name.
        manifest: what the model stage knows of the model; its digest is the model's identity.
        model_folder: the model in the diffusers layout.
        graphs: the records of the exported networks that the cases read, which lie beside them.
        code: digest of the modules that decide the numbers.
        environment_file: the conda environment of the rule.
        folder: where the records of this model, device and backend lie.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where no case asks for it.
    """
    model = read_json(manifest)
    sweep = Sweep(
        folder=folder,
        model_folder=model_folder,
        graphs={
            record.parent.name: Graphs(record.with_suffix(""), _identity(record))
            for record in graphs
        },
        weights=model["weights"],
        measuring=measuring,
        decided_by={
            "model": model["digest"],
            "code": code,
            "environment": sha256(environment_file),
            "machine": digest(identify_machine(cases[0]["device"])),
        },
        granted_bytes=granted_bytes,
        tuned=chosen_settings(settings),
    )
    caps = {Variant(**search["variant"]): search["cap"] for search in searches}
    run_sweep([Case.from_dict(case) for case in cases], sweep, caps)


def _identity(record: Path) -> str:
    """Return the identity of exported networks: how long the export took is no part of it."""
    networks = read_json(record).values()
    return digest([{k: v for k, v in network.items() if k != "export_s"} for network in networks])


if __name__ == "__main__":
    from sdbench.job import granted_bytes, logged

    with logged(snakemake.log[0], snakemake.output):
        measure_sweep(
            cases=snakemake.params.cases,
            searches=snakemake.params.searches,
            measuring=snakemake.params.measuring,
            manifest=Path(snakemake.input.manifest),
            model_folder=Path(snakemake.input.model),
            graphs=[Path(path) for path in snakemake.input.graphs],
            code=snakemake.params.code,
            environment_file=Path(snakemake.input.environment_file),
            folder=Path(snakemake.output.index).parent,
            granted_bytes=granted_bytes(snakemake.resources),
            settings=next(map(Path, snakemake.input.settings), None),
        )
