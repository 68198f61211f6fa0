"""The engine around a model: what it is asked for is in force, and what it generates is sound."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbench import backends
from sdbench.backends.engine import check_images, load_scheduler
from sdbench.devices import platforms
from sdbench.measure.phases import time_phases
from sdbench.runtime.errors import UnsupportedError
from tests.conftest import ROOT
from tests.sweeps import GENERATION, make_case


def test_images_that_are_not_numbers_are_an_error() -> None:
    good = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    check_images(good)
    bad = good.copy()
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        check_images(bad)
    bad[1] = 0.5
    with pytest.raises(ValueError, match="only one colour"):
        check_images(bad)


def test_an_image_and_its_noise_are_the_same_in_any_batch_and_precision(
    model: Path, emulated: None
) -> None:
    engine = backends.load(make_case(), model, None)
    one, four = engine.latents(GENERATION, 1), engine.latents(GENERATION, 4)
    assert torch.equal(one[0], four[0])
    assert not torch.equal(four[0], four[1])
    alone, together = engine.generate(GENERATION, one), engine.generate(GENERATION, four)
    assert np.abs(alone[0] - together[0]).max() < 1e-4
    half = backends.load(make_case(precision="bf16"), model, None).latents(GENERATION, 4)
    assert half.dtype == torch.bfloat16
    assert torch.equal(four.to(torch.bfloat16), half)


@pytest.mark.parametrize(("precision", "options"), [("bf16", "none"), ("fp32", "autocast")])
def test_a_precision_that_would_be_emulated_is_unsupported(
    precision: str, options: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    with pytest.raises(UnsupportedError, match="no instructions for bf16"):
        backends.load(make_case(precision=precision, options=options), model, None)
    backends.load(make_case(), model, None)


NAPS = (0.1, 1.3, 0.2, 1.5)
LOOK_S = 1.0


def test_a_step_is_as_long_as_its_network_sleeps(model: Path) -> None:
    """Known times in, the same times out; what lies between calls belongs to no step."""
    engine = backends.load(make_case(), model, None)
    forward = engine.pipeline.unet.forward
    naps = iter(NAPS)

    def sleeping(*args: Any, **kwargs: Any) -> Any:
        time.sleep(next(naps))
        return forward(*args, **kwargs)

    engine.pipeline.unet.forward = sleeping
    looks: list[float] = []

    def look() -> None:
        looks.append(time.perf_counter())
        time.sleep(LOOK_S)

    phases = time_phases(engine, GENERATION, engine.latents(GENERATION, 1), look)
    assert len(looks) == 1, "once, in the middle"
    assert phases["denoiser_evaluations"] == len(phases["step_s"]) == 4
    for step, nap in zip(phases["step_s"], NAPS, strict=True):
        assert nap <= step < nap + 0.9  # a busy machine is slow, and naps and the look take more
    assert phases["denoiser_s"] >= sum(NAPS)


def test_a_scheduler_evaluates_the_unet_as_often_as_is_documented(model: Path) -> None:
    for scheduler, evaluations in {"ddim": 20, "pndm": 21, "euler": 20, "dpmsolver": 20}.items():
        sampler = load_scheduler(model, scheduler)
        sampler.set_timesteps(20)
        assert len(sampler.timesteps) == evaluations
    # One that would drop the model's schedule is refused.
    shapes = ROOT / "resources" / "models" / "shapes"
    with pytest.raises(UnsupportedError, match=r"rescale_betas_zero_snr.*use ddim or euler"):
        load_scheduler(shapes, "pndm")
    assert load_scheduler(shapes, "euler").config.rescale_betas_zero_snr
