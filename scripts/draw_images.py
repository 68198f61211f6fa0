"""Draw the pictures of one variant over the number of steps."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.devices.machine import budget_bytes
from sdbench.export.exported import exported_beside
from sdbench.measure.image_series import draw_runs, draw_trajectory
from sdbench.measure.memory import memory_limit, refuse_misfit
from sdbench.measure.status import classify
from sdbench.models.manifest import check_model
from sdbench.models.weights import Components
from sdbench.records.image_archive import save_pictures
from sdbench.runtime.files import read_json
from sdbench.runtime.ownership import claim
from sdbench.runtime.processes import Ended, run_apart

import numpy as np


def draw_images(
    case: Mapping[str, Any],
    runs: Sequence[int],
    trajectory_steps: int,
    components: Components,
    model_folder: Path | None,
    graphs: Path | None,
    output: Path,
    granted_bytes: int | None = None,
    settings: Path | None = None,
    limit_s: float | None = None,
) -> None:
    """Draw both series of a variant and leave them in `output`.

    A variant that fails leaves what was drawn until then, with status and reason: the others go on.

    Args:
        case: the variant and its settings, as `Case.as_dict` gives them.
        runs: numbers of steps of the full runs.
        trajectory_steps: length of the run whose every state is decoded.
        components: the model's, as its manifest has them.
        model_folder: the model in the diffusers layout; None where it has room nowhere.
        graphs: the record of the exported networks that the variant reads, which lie beside it;
            None where it reads none.
        output: the .npz file to write.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where the variant is not tuned.
        limit_s: the seconds that the trajectory, or a run, may take; None for any number.

    Raises:
        TakenOver: if another job has begun to draw the same.
        UserError: if the exported networks are not those that were exported.
    """
    drawn = Case.from_dict(case)
    graphs_folder = exported_beside(graphs) if graphs else None
    chosen = backends.chosen_settings(settings).get(drawn.variant.key)
    owner = claim(output.with_name(f".{output.name}.owner"))
    loaded_from = (components, model_folder, graphs_folder, granted_bytes, chosen)
    try:
        *pictures, (status, reason) = run_apart(
            _draw, drawn, runs, trajectory_steps, *loaded_from, limit_s=limit_s
        )
    except Ended as error:
        status, reason, pictures = "error", error.reason("it drew"), error.args[1]
    side = drawn.generation["height"], drawn.generation["width"]
    nothing = np.empty((0, *side, 3), np.uint8)
    states_drawn = pictures[0] if pictures else nothing
    runs_drawn = np.stack(pictures[1:]) if pictures[1:] else nothing
    owner.assert_held()
    save_pictures(
        output,
        status,
        reason,
        runs=runs_drawn,
        runs_steps=np.array(runs[: len(runs_drawn)], np.int64),
        trajectory=states_drawn,
        trajectory_steps=np.arange(1, len(states_drawn) + 1),
    )


def _draw(
    send: Callable[[Any], None],
    case: Case,
    runs: Sequence[int],
    trajectory_steps: int,
    components: Components,
    model_folder: Path | None,
    graphs_folder: Path | None,
    granted_bytes: int | None,
    settings: Mapping[str, Any] | None,
) -> None:
    """Send the pictures of the trajectory, then that of each run, then a status and a reason."""
    status, reason = "ok", ""
    try:
        with memory_limit(budget_bytes(case.device, granted_bytes)):
            refuse_misfit(case, components, granted_bytes)
            engine = backends.load(case, backends.made(model_folder), graphs_folder, settings)
            states = draw_trajectory(engine, case, trajectory_steps)
            send(states)
            for picture in draw_runs(engine, case, runs, states):
                send(picture)
    except Exception as error:
        status, reason = classify(error)
    send((status, reason))


if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, logged, optional, time_limit_s

    with logged(snakemake.log[0], snakemake.output):
        manifest = Path(snakemake.input.manifest)
        model_folder = optional(snakemake.input.model)
        if model_folder is not None:
            check_model(model_folder, manifest)
        draw_images(
            case=snakemake.params.case,
            runs=snakemake.params.runs,
            trajectory_steps=snakemake.params.trajectory_steps,
            components=read_json(manifest)["components"],
            model_folder=model_folder,
            graphs=optional(snakemake.input.graphs),
            output=Path(snakemake.output[0]),
            granted_bytes=granted_bytes(snakemake.resources),
            settings=optional(snakemake.input.settings),
            limit_s=time_limit_s(snakemake.config),
        )
