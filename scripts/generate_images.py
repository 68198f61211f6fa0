"""Generate the images of one variant: over the number of steps, and of a set of prompts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.devices.machine import budget_bytes
from sdbench.export.exported import exported_beside
from sdbench.measure.image_series import generate_runs, generate_set, generate_trajectory
from sdbench.measure.memory import check_weights_fit, memory_limit
from sdbench.measure.status import status_from_error
from sdbench.models.computed import Peaks
from sdbench.models.manifest import why_unusable
from sdbench.models.weights import Components
from sdbench.records.image_archive import save_images
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json
from sdbench.runtime.ownership import claim
from sdbench.runtime.processes import Ended, run_in_subprocess

import numpy as np


def generate_images(
    images: Mapping[str, Any],
    components: Components,
    model_folder: Path | None,
    graphs: Path | None,
    output: Path,
    granted_bytes: int | None = None,
    settings: Path | None = None,
    limit_s: float | None = None,
    failed: str | None = None,
    peaks: Peaks = MappingProxyType({}),
) -> None:
    """Generate the series of a variant and its images of a set, and leave them in `output`, an .npz
    file. It has no series where `trajectory_steps` is 0.

    A variant that fails leaves what was generated until then, with status and reason: the others go
    on.

    Args:
        images: the `case`, as `Case.as_dict` gives it; `runs`, numbers of steps of the full runs;
            `trajectory_steps`, length of the run whose every state is decoded; `spread`, full runs
            with other seeds: the seed, counted from the case's, and the steps; and `wanted`, the
            set, in calls of `batch_size` images.
        components: the model's, as its manifest has them.
        model_folder: None where the model has room nowhere.
        graphs: the record of the exported networks that the variant reads, which lie next to it.
        output: written.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where the variant is not tuned.
        limit_s: the seconds that the trajectory, or a run, may take; None for any number.
        failed: why the model cannot be used; None where it can.
        peaks: what is computed of the model on its device.

    Raises:
        TakenOver: if another job has begun to generate the same.
        UserError: if the exported networks are not those that were exported.
    """
    generated, wanted = Case.from_dict(images["case"]), images["wanted"]
    graphs_folder = exported_beside(graphs) if graphs else None
    chosen = backends.chosen_settings(settings).get(generated.variant.key)
    owner = claim(output.with_name(f".{output.name}.owner"))
    loaded_from = (components, model_folder, graphs_folder, granted_bytes, chosen, peaks)
    sent: list[Any] = []
    try:
        if failed is not None:
            raise UserError(failed)
        sent = run_in_subprocess(_generate, generated, images, *loaded_from, limit_s=limit_s)
    except Ended as error:
        sent = [*error.args[1], ("status", ("error", error.reason("it generated")))]
    except UserError as error:
        sent = [("status", ("error", str(error)))]
    side = generated.generation["height"], generated.generation["width"]
    nothing = np.empty((0, *side, 3), np.uint8)
    made: dict[str, list[Any]] = {
        kind: [] for kind in ("trajectory", "run", "spread", "set", "status")
    }
    for kind, content in sent:
        made[kind].append(content)
    states = made["trajectory"][0] if made["trajectory"] else nothing
    ends = [
        (n, end) for n, end in zip(images["runs"], made["run"], strict=False) if end is not None
    ]
    (status, reason), (set_status, set_reason) = made["status"][0], made["status"][-1]
    owner.assert_held()
    save_images(
        output,
        status,
        reason,
        runs=np.stack([end for _, end in ends]) if ends else nothing,
        runs_steps=np.array([n for n, _ in ends], np.int64),
        trajectory=states,
        trajectory_steps=np.arange(1, len(states) + 1),
        spread=np.stack([image for _, _, image in made["spread"]]) if made["spread"] else nothing,
        spread_seeds=np.array([seed for seed, _, _ in made["spread"]], np.int64),
        spread_steps=np.array([count for _, count, _ in made["spread"]], np.int64),
        set=np.concatenate([nothing, *(images for _, images in made["set"])]),
        set_at=np.array([place for places, _ in made["set"] for place in places], np.int64),
        set_prompts=np.array([prompt for prompt, _, _ in wanted], np.str_),
        set_seeds=np.array([seed for _, _, seed in wanted], np.int64),
        set_status=np.array(set_status if wanted else "ok"),
        set_reason=np.array(set_reason if wanted else ""),
    )


def _generate(
    send: Callable[[Any], None],
    case: Case,
    images: Mapping[str, Any],
    components: Components,
    model_folder: Path | None,
    graphs_folder: Path | None,
    granted_bytes: int | None,
    settings: Mapping[str, Any] | None,
    peaks: Peaks,
) -> None:
    """Send the images of the trajectory, then that of each run, None where the sampler has no such
    run, those of other seeds, and the status and reason of all; then the batches of the set, and
    status and reason of that. Each stands after what it is."""

    def end(error: Exception | None = None) -> None:
        send(("status", status_from_error(error) if error else ("ok", "")))

    try:
        with memory_limit(budget_bytes(case.device, granted_bytes)):
            check_weights_fit(case, components, granted_bytes, peaks)
            engine = backends.load(
                case, backends.require_model(model_folder), graphs_folder, settings
            )
            if steps := images["trajectory_steps"]:
                states = generate_trajectory(engine, case, steps)
                send(("trajectory", states))
                for image in generate_runs(engine, case, images["runs"], states):
                    send(("run", image))
                for seed, count in images["spread"]:
                    for image in generate_runs(engine, case, [count], seed=seed):
                        if image is not None:
                            send(("spread", (seed, count, image)))
    except Exception as error:
        return end(error)
    end()
    try:
        with memory_limit(budget_bytes(case.device, granted_bytes)):
            for batch in generate_set(engine, case, images["wanted"], images["batch_size"]):
                send(("set", batch))
    except Exception as error:
        return end(error)
    end()


if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, logged, optional, time_limit_s

    with logged(snakemake.log[0], snakemake.output):
        manifest = Path(snakemake.input.manifest)
        model_folder = optional(snakemake.input.model)
        generate_images(
            images=snakemake.params.images,
            components=read_json(manifest)["components"],
            model_folder=model_folder,
            graphs=optional(snakemake.input.graphs),
            output=Path(snakemake.output[0]),
            granted_bytes=granted_bytes(snakemake.resources),
            settings=optional(snakemake.input.settings),
            limit_s=time_limit_s(snakemake.config),
            failed=why_unusable(model_folder, manifest),
            peaks=snakemake.params.peaks,
        )
