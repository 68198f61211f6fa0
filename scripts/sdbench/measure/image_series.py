"""Images of one variant: over the number of steps from one prompt and latents, and of many prompts.

Over the number of steps there are two modes: `runs`, a full run of N steps for each N, and
`trajectory`, the states of one long run, each decoded. The N-th of these is not what an N-step run
makes, whose timesteps differ.
"""

from collections.abc import Iterator, Sequence

from sdbench.backends.engine import Engine, Images, Images8Bit, check_images, to_8_bits
from sdbench.backends.schedules import refuse_steps, steps_fault
from sdbench.cases.case import Case
from sdbench.measure.status import status_from_error

import numpy as np
import torch

Wanted = tuple[str, int, int]
"""An image of a set: its prompt, the number of that, and a seed."""


def generate_runs(
    engine: Engine,
    case: Case,
    steps: Sequence[int],
    trajectory: Images8Bit | None = None,
    seed: int = 0,
) -> Iterator[Images8Bit | None]:
    """Generate the image of a full N-step run for each N in `steps`, of shape (height, width, 3);
    None where the sampler does not make such a run. The run that is as long as the trajectory has
    been made: its image is the last state's. `seed` is counted from the case's."""
    generation = {**case.generation, "seed": case.generation["seed"] + seed}
    latents = engine.latents(generation, 1)
    for count in steps:
        if fault := steps_fault(engine.pipeline.scheduler, count):
            print(f"{fault}: no image of {count} steps", flush=True)
            yield None
        elif trajectory is not None and count == len(trajectory):
            yield trajectory[-1]
        else:
            yield _first(engine.generate(case.generation, latents, steps=count))
            print(f"run of {count} steps generated, seed {generation['seed']}", flush=True)


def generate_trajectory(engine: Engine, case: Case, steps: int) -> Images8Bit:
    """Generate one run of `steps` steps and decode its state after each of them.

    PNDM evaluates the denoiser once more than there are steps, and replaces its first state by a
    better one: the replaced one is left out, so that there are always `steps` states.

    Raises:
        UnsupportedError: if the sampler does not make such a run.
    """
    refuse_steps(engine.pipeline.scheduler, steps)
    states: list[torch.Tensor] = []
    engine.generate(
        case.generation,
        engine.latents(case.generation, 1),
        steps=steps,
        on_step_end=lambda state: states.append(state.clone()),
    )
    stack = [_first(engine.decode(case.generation, state)) for state in states[-steps:]]
    print(f"{steps} states of one run decoded", flush=True)
    return np.stack(stack)


def generate_set(
    engine: Engine, case: Case, wanted: Sequence[Wanted], batch_size: int
) -> Iterator[tuple[list[int], Images8Bit]]:
    """Generate an image of each of `wanted`, in batches: yield their places in it, and the images.

    The latents of an image are those of its seed and the number of its prompt alone, whatever the
    batch. A batch that does not fit into memory is halved, and so are those after it.
    """
    left = list(range(len(wanted)))
    while left:
        batch = left[:batch_size]
        rows = [wanted[place] for place in batch]
        seeds = [seed * PROMPTS + number for _, number, seed in rows]
        latents = [engine.latents({**case.generation, "seed": seed}, 1) for seed in seeds]
        try:
            prompts = [prompt for prompt, _, _ in rows]
            images = engine.generate(case.generation, torch.cat(latents), prompts=prompts)
        except Exception as error:
            if len(batch) == 1 or status_from_error(error)[0] != "oom":
                raise
            batch_size = len(batch) // 2
            print(f"a batch of {len(batch)} does not fit: {batch_size} from here on", flush=True)
            continue
        check_images(images)
        yield batch, to_8_bits(images)
        left = left[len(batch) :]
        print(f"{len(wanted) - len(left)} of {len(wanted)} images of the set", flush=True)


PROMPTS = 1_000_000
"""More than there are prompts: the seeds of two images of a set differ."""


def _first(images: Images) -> Images8Bit:
    check_images(images)
    image: Images8Bit = to_8_bits(images)[0]
    return image
