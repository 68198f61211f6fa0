"""The engine around a model: what it is asked for is in force, and what it generates is sound."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbench import backends
from sdbench.backends.engine import SCHEDULERS, check_images, describe_engine, load_scheduler
from sdbench.backends.schedules import refuse_steps
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

    phases, _ = time_phases(engine, GENERATION, engine.latents(GENERATION, 1), look)
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


STEPS = [
    ("ddim", "leading", {112: 111, 600: 500, 998: 500, 1000: 999}, (1, 50, 100, 250, 500, 999)),
    ("pndm", "leading", {600: 500, 1000: 999}, (1, 50, 100, 999)),
    ("euler", "leading", {600: 500, 1000: 999}, (1, 50, 999)),
    ("dpmsolver", "leading", {500: 499, 999: 998, 1000: 998}, (1, 50, 100)),
    ("dpmsolver", "linspace", {1000: 999}, (1, 50, 600)),
    ("euler", "linspace", {}, (1, 61, 600, 1000)),
    ("ddim", "linspace", {600: 500}, (1, 4, 50, 500)),
    ("ddim", "trailing", {61: 60, 600: 500}, (1, 4, 60, 100, 1000)),
    ("euler", "trailing", {61: 60, 121: 120}, (1, 60, 600, 1000)),
    ("flow-euler", None, {}, (1, 61, 600, 1000)),
]
"""A sampler, its spacing, numbers of steps that it does not make, each with the next that it does,
and some that it does."""


@pytest.mark.parametrize(("name", "spacing", "wrong", "right"), STEPS)
def test_a_run_has_as_many_steps_as_asked_for_from_noise_to_image_or_is_refused(
    name: str, spacing: str | None, wrong: dict[int, int], right: tuple[int, ...]
) -> None:
    given = {"timestep_spacing": spacing, "steps_offset": 1, "beta_schedule": "scaled_linear"}
    more = {"skip_prk_steps": True} if name == "pndm" else {}
    sampler = SCHEDULERS[name](**(given | more if spacing else {}))
    for steps, instead in wrong.items():
        with pytest.raises(UnsupportedError, match=f"^{steps} steps of .*: use {instead} steps$"):
            refuse_steps(sampler, steps)
    for steps in right:
        refuse_steps(sampler, steps)
        sampler.set_timesteps(steps)
        state = torch.ones(1, 1, 1, 1)
        assert len(set(sampler.timesteps.tolist())) == steps
        for moment in sampler.timesteps:
            state = sampler.step(state / 2, moment, state, return_dict=False)[0]
        assert torch.isfinite(state).all()


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [("", {}), ("a" * 75, {}), ("a" * 76, {"tokenizer": 1}), ("\U0001f3a8é日" * 3000, None)],
    ids=["empty", "fits", "one more", "all alphabets"],
)
def test_a_prompt_that_is_too_long_is_said_to_be_and_only_there(
    prompt: str,
    cut: dict[str, int] | None,
    model: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tiny model reads 77 tokens, a byte each, two of them marks."""
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    engine = backends.load(make_case(), model, None)
    case = make_case()
    generation = {**case.generation, "prompt": prompt}
    found = describe_engine(engine, replace(case, generation=generation))["prompt_tokens_cut"]
    assert found == cut if cut is not None else found["tokenizer"] > 20_000
    check_images(engine.generate(generation, engine.latents(generation, 1)))
    assert not caplog.records, "in a timed call"
