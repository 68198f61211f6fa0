"""Is a whole call what its first steps promise?

    PYTHONPATH=scripts python benchmarks/projection.py resources/models/shapes --size 64 \
        --steps 20 --scheduler ddim
    PYTHONPATH=scripts python benchmarks/projection.py results/models/sd-v1 --precision bf16
    PYTHONPATH=scripts python benchmarks/projection.py resources/models/shapes --size 64 \
        --steps 20 --scheduler ddim --backend onnxruntime --graphs results/onnx/shapes

In one process and in turns: short calls as `sdbench.measure.projection` makes them, for a second or
one call, from which the whole is projected, and the whole call itself. Prints the ratio of the
medians, projected by whole, with its 95 % interval over the rounds; ends with status 1 if it is off
by more than 3 %.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from sdbench import backends
from sdbench.cases.case import Case, Device, Variant
from sdbench.cases.measuring import Measuring
from sdbench.measure.latency import time_call
from sdbench.measure.projection import begin_call, project
from sdbench.records.intervals import launch_interval

TOLERANCE = 0.03
A_SECOND = Measuring(
    contention="warn", max_busy_cores=99, contention_wait_s=0, warmup_calls=1, launches=1,
    case_time_limit_s=0, min_samples=1, min_duration_s=1, max_duration_s=2, min_samples_capped=1,
    phase_samples=1, precision=0, project_above_s=1, throughput_duration_s=1,
)  # fmt: skip


def main() -> int:
    """Print the ratio; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="in the diffusers layout")
    parser.add_argument("--backend", default="pytorch")
    parser.add_argument("--graphs", type=Path, help="the exported networks that the backend reads")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--size", type=int, default=256, help="width and height in pixels")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--scheduler", default="pndm")
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    generation = {
        "prompt": "a red circle on a blue background",
        "steps": given.steps,
        "scheduler": given.scheduler,
        "guidance": 7.5,
        "height": given.size,
        "width": given.size,
        "seed": 0,
    }
    variant = Variant("model", "cpu", given.backend, given.precision, "none")
    case = Case(variant, 1, generation, Device("cpu", threads=torch.get_num_threads()))
    engine = backends.load(case, given.model, given.graphs)
    latents = engine.latents(generation, 1)
    evaluations = begin_call(engine, generation, latents, 1e-9).evaluations
    assert evaluations is not None, "two steps are the whole call: give more"

    def projected_s() -> float:
        found = project(engine, generation, latents, evaluations, A_SECOND)
        return float(np.median(found["latency"]["samples_s"]))

    def whole_s() -> float:
        return time_call(lambda: engine.generate(generation, latents), engine.synchronize)

    whole_s()
    projected: list[float] = []
    whole: list[float] = []
    for i in range(given.rounds):
        for way, samples in ((projected_s, projected), (whole_s, whole))[:: 1 - 2 * (i % 2)]:
            samples.append(way())
    ratio, low, high = launch_interval(list(np.divide(projected, whole)))
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    print(
        f"{given.model.name}, {given.backend} {given.precision}, {given.size} px, {given.steps} "
        f"steps: whole {np.median(whole):.3f} s, projected / whole = {ratio:.3f}{interval}"
    )
    return int(abs(ratio - 1) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
