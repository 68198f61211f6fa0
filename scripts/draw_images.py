"""Draw the pictures of one variant over the number of steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.cases import Case
from sdbench.measurement import classify, refuse_misfit
from sdbench.meters.memory import budget_bytes, memory_limit
from sdbench.ownership import claim
from sdbench.quality import draw_runs, draw_trajectory, save_pictures
from sdbench.settings import chosen_settings

import numpy as np


def draw_images(
    case: Mapping[str, Any],
    runs: Sequence[int],
    trajectory_steps: int,
    model_folder: Path,
    graphs: Path | None,
    output: Path,
    granted_bytes: int | None = None,
    settings: Path | None = None,
) -> None:
    """Draw both series of a variant and leave them in `output`.

    A variant that fails leaves what was drawn until then, with status and reason: the others go on.

    Args:
        case: the variant and its settings, as `Case.as_dict` gives them.
        runs: numbers of steps of the full runs.
        trajectory_steps: length of the run whose every state is decoded.
        model_folder: the model in the diffusers layout.
        graphs: the record of the exported networks that the variant reads, which lie beside it;
            None where it reads none.
        output: the .npz file to write.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where the variant is not tuned.

    Raises:
        TakenOver: if another job has begun to draw the same.
    """
    owner = claim(output.with_name(f".{output.name}.owner"))
    drawn = Case.from_dict(case)
    status, reason = "ok", ""
    side = drawn.generation["height"], drawn.generation["width"]
    runs_drawn = states_drawn = np.empty((0, *side, 3), np.uint8)
    try:
        with memory_limit(budget_bytes(drawn.device, granted_bytes)):
            refuse_misfit(drawn, model_folder)
            engine = backends.load(
                drawn,
                model_folder,
                graphs and graphs.with_suffix(""),
                chosen_settings(settings).get(drawn.variant.key),
            )
            states_drawn = draw_trajectory(engine, drawn, trajectory_steps)
            runs_drawn = draw_runs(engine, drawn, runs, states_drawn)
    except Exception as error:
        status, reason = classify(error)
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


if __name__ == "__main__":
    from sdbench.job import granted_bytes, logged

    with logged(snakemake.log[0], snakemake.output):
        draw_images(
            case=snakemake.params.case,
            runs=snakemake.params.runs,
            trajectory_steps=snakemake.params.trajectory_steps,
            model_folder=Path(snakemake.input.model),
            graphs=next(map(Path, snakemake.input.graphs), None),
            output=Path(snakemake.output[0]),
            granted_bytes=granted_bytes(snakemake.resources),
            settings=next(map(Path, snakemake.input.settings), None),
        )
