"""A loaded pipeline behind one face for every backend.

Tokenizer, scheduler, guidance, latents and the denoising loop are diffusers' own and the same
objects for every backend: a difference between two rows is the backend and nothing else.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case
from sdbench.devices.platforms import platform_of
from sdbench.models.families import INDEX, SCHEDULE, Configs, Family, families, family_of, plain
from sdbench.models.hugging_face import diffusers
from sdbench.models.reading import read_folder
from sdbench.runtime.errors import UnsupportedError, one_line

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_map

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "dpmsolver": diffusers.DPMSolverMultistepScheduler,
    "flow-euler": diffusers.FlowMatchEulerDiscreteScheduler,
}

TRAINED_WITH = ("rescale_betas_zero_snr", "prediction_type", "beta_schedule", "trained_betas")
"""Keys of `SCHEDULE` without which a sampler makes other images than the model was trained for."""

Images = NDArray[np.float32]
"""Shape (batch, height, width, 3), values from 0 to 1."""

Images8Bit = NDArray[np.uint8]
"""Of the same shape, values from 0 to 255."""

DenoiserInputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of the denoiser, by position and by name: arrays in the place of tensors, floats in
fp32."""


def to_8_bits(images: Images) -> Images8Bit:
    """Round values from 0 to 1 to levels from 0 to 255, as saving an image does."""
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)


def load_scheduler(model_folder: Path, name: str) -> Any:
    """Return the named sampler with the noise schedule that the model was trained with.

    Raises:
        UnsupportedError: if it is none for the model's family, or lacks a part of that schedule.
    """
    family = family_of(model_folder)
    if name not in family.schedulers:
        raise UnsupportedError(
            f"{family.pipeline} cannot generate images with the scheduler {name}: "
            f"{family.why_these_schedulers}; use {' or '.join(family.schedulers)}"
        )
    config, known = read_folder(model_folder).schedule, _parameters(name)
    for key in TRAINED_WITH:
        if config.get(key) and key not in known:
            raise UnsupportedError(
                f"the model was trained with {key}, which the scheduler {name} does not know: use "
                f"{' or '.join(s for s in family.schedulers if key in _parameters(s))}"
            )
    own = {
        # Runge-Kutta steps at the start, which no such model is used with, would evaluate the
        # denoiser many more times than there are steps.
        "skip_prk_steps": True,
        # Latents are not pixels; the sampler's own default is for those.
        "clip_sample": config.get("clip_sample", False),
    }
    taken = {key: value for key, value in ({**config} | own).items() if key in known}
    try:
        return SCHEDULERS[name](**taken)
    except NotImplementedError as error:
        raise UnsupportedError(f"the scheduler {name}: {one_line(error)}") from error


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(SCHEDULERS[name].__init__).parameters


def refuse_generation(family: Family, case: Case) -> None:
    """Raise `UnsupportedError` for what no model of a family can do, before anything is loaded: a
    switch, a size of the image, or to be exported."""
    if case.variant.graphs is not None and family.why_not_exported is not None:
        raise UnsupportedError(
            f"{case.variant.backend} cannot run {family.pipeline}, because it cannot be exported: "
            f"{family.why_not_exported}"
        )
    for switch in case.variant.switches:
        if switch in family.unsupported:
            raise UnsupportedError(f"{switch}: {family.unsupported[switch]}")
    for side in ("height", "width"):
        if case.generation[side] % family.multiple:
            raise UnsupportedError(
                f"{family.pipeline} generates images whose {side} is a multiple of "
                f"{family.multiple} pixels; found {case.generation[side]}"
            )


def check_images(images: Images) -> None:
    """Raise `ValueError` if an image is not finite, or of one colour: no working network's is."""
    if not np.isfinite(images).all():
        raise ValueError("the image has values that are not numbers (NaN or inf)")
    if (images.reshape(len(images), -1, 3).std(axis=1).max(axis=1) == 0).any():
        raise ValueError("the image has only one colour")


class _TakenError(Exception):
    """The denoiser was called, and its inputs are taken."""


def _to_array(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.float() if value.is_floating_point() else value
    # A copy: one that shares the memory of an inference tensor could not be pickled.
    return value.cpu().numpy().copy()


@dataclass(eq=False)
class Engine:
    """Networks on a device, and the pipeline around them.

    `autocast` is what autocast computes in, `compile_mode` what `torch.compile` was asked for, None
    without; `switches` says what else the backend set that moves time or pixels, for the record.
    """

    pipeline: diffusers.DiffusionPipeline
    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None = None
    compile_mode: str | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.family = families()[type(self.pipeline).__name__]
        networks = {n: plain(getattr(self.pipeline, n).config) for n in self.family.networks}
        self.configs: Configs = {INDEX: plain(self.pipeline.config)} | networks
        self.pipeline.set_progress_bar_config(disable=True)

    def latents(self, generation: Mapping[str, Any], batch_size: int) -> torch.Tensor:
        """Generate the noise that a batch starts from.

        Image i has a generator of its own, seeded with seed + i: it is the same image in a batch of
        any size, on any device, in any precision.

        Returns:
            Standard normal noise of shape (batch, channels, height, width) in latent pixels,
            generated in fp32 on the CPU, then cast to the precision that the pipeline keeps latents
            in, moved to the engine's device, and packed as the family has it.
        """
        shape = self.family.latent_shape(self.configs, generation["height"], generation["width"])
        seeds = range(generation["seed"], generation["seed"] + batch_size)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        dtype = torch.float32 if self.family.fp32_latents else self.dtype
        packed: torch.Tensor = self.family.pack(noise.to(self.device, dtype))
        return packed

    def generate(
        self,
        generation: Mapping[str, Any],
        latents: torch.Tensor,
        steps: int | None = None,
        on_step_end: Callable[[torch.Tensor], None] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> Images:
        """Generate one image for each of `latents`, from prompt to pixels.

        Args:
            generation: prompt, steps and guidance, as in the config.
            latents: what `latents` returned, one for each image.
            steps: denoising steps, if not those of `generation`.
            on_step_end: called with the latents at the end of each evaluation of the denoiser.
            prompts: one for each image, if not that of `generation` for all.
        """
        with self._context():
            images: Images = self.pipeline(
                prompt=list(prompts or [generation["prompt"]] * len(latents)),
                num_inference_steps=steps or generation["steps"],
                latents=latents,
                **self.family.arguments(self.configs, generation),
                **(self.family.watch(on_step_end) if on_step_end else {}),
            ).images
        return images

    @contextlib.contextmanager
    def evaluations_taken(
        self, wanted: Collection[int]
    ) -> Iterator[list[tuple[DenoiserInputs, NDArray[np.float32]]]]:
        """Give a list that takes inputs and output of the denoiser at those evaluations of the
        calls within, by their number from 0."""
        taken: list[tuple[DenoiserInputs, NDArray[np.float32]]] = []
        numbers = itertools.count()

        def take(_network: Any, args: Any, kwargs: Any, output: Any) -> None:
            if next(numbers) in wanted:
                taken.append((tree_map(_to_array, (args, kwargs)), _to_array(output[0])))

        denoiser = getattr(self.pipeline, self.family.denoiser)
        with denoiser.register_forward_hook(take, with_kwargs=True):
            yield taken

    def denoiser_inputs(self, generation: Mapping[str, Any], batch_size: int) -> DenoiserInputs:
        """Return what the pipeline evaluates the denoiser with in the first step of a call."""
        taken: list[DenoiserInputs] = []

        def take(_network: Any, args: Any, kwargs: Any) -> None:
            taken.append(tree_map(_to_array, (args, kwargs)))
            raise _TakenError

        denoiser = getattr(self.pipeline, self.family.denoiser)
        hook = denoiser.register_forward_pre_hook(take, prepend=True, with_kwargs=True)
        with hook, contextlib.suppress(_TakenError):
            self.generate(generation, self.latents(generation, batch_size))
        return taken[0]

    def denoiser(self, inputs: DenoiserInputs) -> Callable[[], torch.Tensor]:
        """Put inputs on the device, those with a value for each prompt in the engine's precision;
        return a call that evaluates the denoiser at them, as the pipeline does in a step."""

        def to_tensor(value: Any) -> Any:
            if not isinstance(value, np.ndarray):
                return value
            tensor = torch.from_numpy(value).to(self.device)
            # Moments and strengths, one number each, keep theirs.
            cast = tensor.is_floating_point() and tensor.ndim > 1
            return tensor.to(self.dtype) if cast else tensor

        args, kwargs = tree_map(to_tensor, inputs)
        denoiser = getattr(self.pipeline, self.family.denoiser)

        def evaluate() -> torch.Tensor:
            with self._context():
                output: torch.Tensor = denoiser(*args, **kwargs)[0]
            return output

        return evaluate

    def decode(self, generation: Mapping[str, Any], latents: torch.Tensor) -> Images:
        """Turn latents, as `generate` tells of them, into images, as it does itself."""
        with self._context():
            pixels = self.family.decode(self.pipeline, latents, generation)
            images: Images = self.pipeline.image_processor.postprocess(pixels, output_type="np")
        return images

    def synchronize(self) -> None:
        """Wait until the device has done all of its work."""
        platform_of(self.device).synchronize(self.device)

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        # Inference mode is the faster of the two, but offloading cannot move tensors of torchao in
        # it.
        moved = self.switches.get("offload") and self.switches.get("quantized_weights")
        cast = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()
        with torch.no_grad() if moved else torch.inference_mode(), cast:
            yield


def describe_engine(engine: Engine, case: Case) -> dict[str, Any]:
    """Return threads and the switches that are in force, as they are, not as they were asked, and
    by tokenizer how much of the prompt is too long to be read."""
    family = engine.family
    tokenizers = {name: getattr(engine.pipeline, name) for name in family.tokenizers}
    scheduler = engine.pipeline.scheduler
    return {
        "threads": torch.get_num_threads(),
        "prompt_tokens_cut": family.tokens_cut(
            tokenizers, engine.configs, case.generation["prompt"]
        ),
        "switches": {
            "weights_dtype": str(engine.dtype).removeprefix("torch."),
            "autocast_dtype": engine.autocast and str(engine.autocast).removeprefix("torch."),
            "compile_mode": engine.compile_mode,
            "attention": case.variant.attention,
            "scheduler": type(scheduler).__name__,
            "schedule": {k: scheduler.config[k] for k in SCHEDULE if k in scheduler.config},
            **engine.switches,
        },
    }
