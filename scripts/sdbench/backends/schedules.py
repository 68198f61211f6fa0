"""Whether a sampler makes the run that a number of steps stands for.

For some numbers diffusers' timesteps do not: strides are rounded down, and rounding errors add a
step. docs/method.md has which.
"""

from typing import Any

from sdbench.runtime.errors import UnsupportedError

MOST_LEFT_OUT = 0.1
"""Share of the noise schedule that rounded strides may leave out."""
_STRIDES = ("DDIMScheduler", "PNDMScheduler")
"""Samplers whose step is a whole stride, wherever the next timestep is."""


def refuse_steps(scheduler: Any, steps: int) -> None:
    """Raise `UnsupportedError`, with a number near by that is right, if `steps` is wrong."""
    if fault := steps_fault(scheduler, steps):
        right = next((n for n in range(steps - 1, 0, -1) if not steps_fault(scheduler, n)), 0)
        raise UnsupportedError(f"{fault}: use {right} steps")


def steps_fault(scheduler: Any, steps: int) -> str | None:
    """Say what is wrong with the timesteps of a run of `steps` steps; None if nothing is."""
    config, kind = scheduler.config, type(scheduler).__name__
    if "timestep_spacing" not in config:
        return None  # of a flow, whose pipeline chooses the moments
    what = f"{steps} steps of {kind} with {config['timestep_spacing']} spacing"
    trained = config["num_train_timesteps"]
    try:
        scheduler.set_timesteps(steps)
    except (IndexError, ValueError) as error:
        return f"{what} fail ({error})"
    times = scheduler.timesteps.tolist()
    first, last = times[0], times[-1]
    if last < 0 or first >= trained:
        return (
            f"{what} go from timestep {first:g} to {last:g}, and the model knows 0 to {trained - 1}"
        )
    if len(set(times)) < len(times) - (kind == "PNDMScheduler"):  # which has one of them twice
        return f"{what} have a timestep twice, which makes numbers that are none"
    late = trained - trained / steps - first
    if late > (MOST_LEFT_OUT * trained if 2 * steps <= trained else 0):
        return f"{what} begin at timestep {first:g} of {trained}, not at noise"
    left = trained - trained // steps * steps
    if kind in _STRIDES and left > MOST_LEFT_OUT * trained:
        return f"{what} take strides of {trained // steps} timesteps, which leaves out {left}"
    return None
