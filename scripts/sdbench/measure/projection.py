"""Calls that would take minutes, from a few of their steps: a step takes as long as any other."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdbench.backends.engine import Engine, Images
from sdbench.cases.measuring import SETTLED, SETTLED_COMPILED, Measuring
from sdbench.measure.latency import sample_latency
from sdbench.measure.phases import is_hooked, time_phases

import torch


@dataclass(frozen=True)
class Call:
    """A call that was made, or begun.

    `made_s`: what was made of it took; `phases`: its parts (`time_phases`), empty if it could not
    be looked into; `left_s`: what the rest of its steps would have taken, 0 of a whole call.
    `evaluations`: how many the denoiser has in the whole call, None if it was made. The images of a
    call that was only begun are decoded from the latents that it had come to, if at all.
    """

    images: Images | None
    made_s: float
    phases: Mapping[str, Any]
    left_s: float = 0.0
    evaluations: int | None = None


def begin_call(
    engine: Engine,
    generation: Mapping[str, Any],
    latents: torch.Tensor,
    limit_s: float,
    decode: bool = True,
    look: Callable[[], None] = lambda: None,
) -> Call:
    """Make a call; if it would take longer than `limit_s`, only its first steps and the decoder.

    Args:
        engine: what generates.
        generation: prompt, steps and guidance, as in the config.
        latents: of the batch.
        limit_s: seconds; 0 for no limit.
        decode: whether what was only begun is decoded too.
        look: called once in the middle of the call.
    """
    settled = _settled(engine)
    lefts: list[float] = []
    ended: list[bool] = []

    def is_enough(ends: Sequence[float]) -> bool:
        if not limit_s or len(ends) != settled:
            return False
        lefts.append((len(engine.pipeline.scheduler.timesteps) - settled) * (ends[-1] - ends[-2]))
        if lefts[0] and ends[-1] - begin + lefts[0] > limit_s:
            ended.append(True)
        return bool(ended)

    engine.synchronize()
    begin = time.perf_counter()
    phases, images = time_phases(
        engine, generation, latents, look, is_enough, decode, timed=not is_hooked(engine)
    )
    engine.synchronize()
    made_s = time.perf_counter() - begin
    if not ended:
        return Call(images, made_s, phases)
    evaluations = len(engine.pipeline.scheduler.timesteps)
    return Call(images, made_s, phases, lefts[0], evaluations)


def _settled(engine: Engine) -> int:
    return SETTLED if engine.compile_mode is None else SETTLED_COMPILED


def project(
    engine: Engine,
    generation: Mapping[str, Any],
    latents: torch.Tensor,
    evaluations: int,
    measuring: Measuring,
    look: Callable[[], None] = lambda: None,
    between: Callable[[], None] = lambda: None,
    begun: Call | None = None,
) -> dict[str, Any]:
    """Measure short calls, which end after `SETTLED` evaluations, and project the whole from each.

    The whole call is what a short one takes besides its steps, and for each evaluation of the
    denoiser the mean of its steps but the first, in which a process that has just begun sets up
    kernels. The device is synchronised around every part: what that costs is nothing next to steps
    of a second.

    Args:
        engine: what generates.
        generation: prompt, steps and guidance, as in the config.
        latents: of the batch.
        evaluations: how many evaluations of the denoiser the whole call has.
        measuring: how many samples, and how long.
        look: called once in the middle of each short call.
        between: called before, between and after the short calls.
        begun: a first such call that there is, decoded.

    Returns:
        `latency`, `phases`, as a launch holds them, of the whole call; `projection`: what it was
        projected from, but for its energy.
    """
    settled = _settled(engine)
    phases = [] if begun is None else [begun.phases]

    def call() -> None:
        phases.append(
            time_phases(engine, generation, latents, look, lambda ends: len(ends) == settled)[0]
        )

    sampled = sample_latency(
        call,
        engine.synchronize,
        replace(measuring, warmup_calls=0),
        between=between,
        taken_s=() if begun is None else (begun.made_s,),
    )
    calls = [
        {"call_s": seconds, "step_s": phase["step_s"]}
        for seconds, phase in zip(sampled["samples_s"], phases, strict=True)
    ]
    return {
        "latency": {
            "warmup_s": [],
            "samples_s": [call["call_s"] + _more_s(call["step_s"], evaluations) for call in calls],
        },
        "phases": [
            {
                **phase,
                "denoiser_s": phase["denoiser_s"]
                * (1 + _more_s(phase["step_s"], evaluations) / sum(phase["step_s"])),
                "denoiser_evaluations": evaluations,
            }
            for phase in phases
        ],
        "projection": {"steps": settled, "evaluations": evaluations, "calls": calls},
    }


def _more_s(steps: Sequence[float], evaluations: int) -> float:
    """Return what the steps of a whole call take more than those of a short one."""
    return evaluations * statistics.fmean(steps[1:]) - sum(steps)
