"""Whether an exported engine generates PyTorch's image, asked before its speed is believed.

An engine that computes something else in fp32 is no faster way to the same image. What PyTorch
makes of a case on the same device is made once for each job, in a process of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdbench.backends.engine import DenoiserInputs, Engine, Images
from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Case
from sdbench.cases.measuring import Measuring
from sdbench.cases.options import NONE
from sdbench.devices.machine import budget_bytes
from sdbench.measure.context import SweepContext
from sdbench.measure.memory import check_weights_fit, memory_limit
from sdbench.measure.projection import begin_call
from sdbench.runtime.errors import UserError, one_line
from sdbench.runtime.processes import Ended, run_in_subprocess
from sdbench.runtime.progress import say

import numpy as np
from numpy.typing import NDArray

MOST_DIVERGENCE = 1e-3
"""Of the denoiser's outputs, as a share of the largest. ONNX Runtime was at 1e-6."""
LEAST_PSNR_DB = 40.0
"""Of the image. A graph that lacked an input had 33 dB, and the status `ok`."""
IDENTICAL = 1e-20
"""The least mean square error that is told apart from none: 200 dB."""
FEW_STEPS = 4
"""Of the call that is looked at where a whole one would take too long. It has no image."""


@dataclass(frozen=True)
class Expected:
    """What PyTorch makes in fp32: of the denoiser's `inputs` in the first and in a middle
    evaluation of a call the `outputs`, and the `image`, (1, height, width, 3) from 0 to 1."""

    inputs: Sequence[DenoiserInputs]
    outputs: Sequence[NDArray[np.float32]]
    image: Images | None


def is_judged(case: Case) -> bool:
    """Tell whether a case is to have PyTorch's image: graphs in fp32, and not quantized ones."""
    variant = case.variant
    exact = BACKENDS[variant.backend].graphs
    return exact is not None and variant.graphs == exact and variant.precision == "fp32"


def expect(cases: Sequence[Case], sweep: SweepContext) -> Expected | None:
    """Return what PyTorch makes of the cases of a job, by which those are judged that `is_judged`;
    None where there are none, or PyTorch cannot do it here, which is said."""
    case = next(filter(is_judged, cases), None)
    if case is None or sweep.model_folder is None:
        return None
    exact = replace(case.variant, backend="pytorch", precision="fp32", options=NONE)
    try:
        (found,) = run_in_subprocess(
            _send_expected, replace(case, variant=exact, batch_size=1), sweep, limit_s=sweep.limit_s
        )
    except Ended as error:
        found = error.args[0]
    if not isinstance(found, Expected):
        say(f"not held against PyTorch's image: {found}")
        return None
    return found


def _send_expected(send: Callable[[Any], None], case: Case, sweep: SweepContext) -> None:
    assert isinstance(sweep.measuring, Measuring)
    try:
        with memory_limit(budget_bytes(case.device, sweep.granted_bytes)):
            check_weights_fit(case, sweep.components, sweep.granted_bytes)
            engine, _ = sweep.load(case)
            send(expected_by(engine, case, sweep.measuring.project_above_s))
    except Exception as error:
        send(one_line(error))


def expected_by(engine: Engine, case: Case, limit_s: float) -> Expected:
    """Return what an engine makes of a case; of `FEW_STEPS` where a call takes over `limit_s`."""
    latents = engine.latents(case.generation, 1)
    is_whole = begin_call(engine, case.generation, latents, limit_s, decode=False).left_s == 0
    generation = case.generation if is_whole else {**case.generation, "steps": FEW_STEPS}
    middle = len(engine.pipeline.scheduler.timesteps) // 2 if is_whole else FEW_STEPS // 2
    with engine.evaluations_taken({0, middle}) as taken:
        image = engine.generate(generation, latents)
    inputs, outputs = zip(*taken, strict=True)
    return Expected(inputs, outputs, image if is_whole else None)


def compare(engine: Engine, case: Case, expected: Expected | None) -> dict[str, Any] | None:
    """Return how far an engine is from PyTorch; None for a case that is not judged.

    Returns:
        `denoiser_divergence`, of the first and of a middle evaluation: the largest difference of
        the outputs, as a share of PyTorch's largest, None for values that are no numbers; and
        `psnr_db` of the image, None where a call would take too long.
    """
    if expected is None or not is_judged(case):
        return None
    found = [engine.denoiser(inputs)().float().cpu().numpy() for inputs in expected.inputs]
    divergences = [divergence(*both) for both in zip(expected.outputs, found, strict=True)]
    psnr_db = None
    if expected.image is not None:
        image = engine.generate(case.generation, engine.latents(case.generation, 1))
        error = float(np.square(image - expected.image).mean())
        psnr_db = -10 * math.log10(max(error, IDENTICAL)) if math.isfinite(error) else 0.0
    return {
        "denoiser_divergence": [one if math.isfinite(one) else None for one in divergences],
        "psnr_db": psnr_db,
    }


def check_agreement(agreement: Mapping[str, Any] | None) -> None:
    """Raise `UserError` if an engine generates another image than PyTorch (`compare`)."""
    if agreement is None:
        return
    most = max(math.inf if one is None else one for one in agreement["denoiser_divergence"])
    psnr_db = agreement["psnr_db"]
    if most <= MOST_DIVERGENCE and (psnr_db is None or psnr_db >= LEAST_PSNR_DB):
        return
    image = "" if psnr_db is None else f", and the image has {psnr_db:.1f} dB"
    raise UserError(
        f"another image than PyTorch's: the denoiser differs by {most:.2g} of its largest output"
        f"{image}; allowed are {MOST_DIVERGENCE:g} and {LEAST_PSNR_DB:g} dB"
    )


def divergence(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest absolute difference of two outputs, as a share of the largest absolute
    value of the one that is expected."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
