"""A loaded pipeline behind one face for every backend.

Tokenizer, scheduler, guidance, latents and the denoising loop are diffusers' own and the same
objects for every backend: a difference between two rows is the backend and nothing else.
"""

import contextlib
import inspect
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.cases import Case
from sdbench.errors import UnsupportedError, WrongDeviceError
from sdbench.hugging_face import diffusers
from sdbench.machine import is_gpu_model, usable_cores
from sdbench.platforms import PLATFORMS, platform_of

import numpy as np
import torch
from numpy.typing import NDArray

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "dpmsolver": diffusers.DPMSolverMultistepScheduler,
}

WEIGHTS = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""What the weights are loaded in. TF32 is a mode of the matrix product, not a storage format."""

SCHEDULE = ("rescale_betas_zero_snr", "prediction_type", "beta_schedule", "trained_betas")
"""Keys of a scheduler's configuration that belong to the model and not to the sampler."""

Images = NDArray[np.float32]
"""Pictures of shape (batch, height, width, 3), values from 0 to 1."""

DenoiserInputs = Mapping[str, NDArray[Any]]
"""What the denoiser is evaluated at: `sample`, latents of shape (batch, channels, height, width);
`timestep`, one number; `states`, of the text, shape (batch, tokens, width). With guidance the batch
holds each picture twice, for the empty prompt and for its own."""

Pictures = NDArray[np.uint8]
"""Pictures of 8 bits, shape (batch, height, width, 3)."""


def to_8_bits(images: Images) -> Pictures:
    """Round values from 0 to 1 to levels from 0 to 255, as saving a picture does."""
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)


def load_scheduler(model_folder: Path, name: str) -> Any:
    """Return the named sampler with the noise schedule that the model was trained with.

    Raises:
        UnsupportedError: if the sampler does not know a part of that schedule.
    """
    sampler = SCHEDULERS[name]
    config = sampler.load_config(model_folder / "scheduler")
    known = inspect.signature(sampler.__init__).parameters
    for key in SCHEDULE:
        if config.get(key) and key not in known:
            raise UnsupportedError(
                f"the model was trained with {key}, which the scheduler {name} does not know: use "
                f"{' or '.join(s for s in SCHEDULERS if _knows(s, key))}"
            )
    # Runge-Kutta steps at the start, which no Stable Diffusion is used with, would evaluate the
    # UNet many more times than there are steps.
    own = {"skip_prk_steps": True} if "skip_prk_steps" in known else {}
    if "clip_sample" in known and "clip_sample" not in config:
        own["clip_sample"] = False  # latents are not pixels; the sampler's own default is for those
    return sampler.from_config(config, **own)


def _knows(name: str, key: str) -> bool:
    return key in inspect.signature(SCHEDULERS[name].__init__).parameters


def torch_device(case: Case) -> torch.device:
    """Return the device of a case.

    Raises:
        UnsupportedError: if this machine does not have it.
        WrongDeviceError: if it is a GPU of another model than the config promises.
    """
    platform, index = PLATFORMS[case.device["kind"]], case.device["index"]
    missing = platform.why_missing(index)
    if missing is not None:
        raise UnsupportedError(
            f"device {case.variant.device!r} is {platform.kind.upper()} device {index}: {missing}"
        )
    device = platform.device(index)
    promised, found = case.device["gpu_model"], platform.name(device)
    if not is_gpu_model(promised, found):
        raise WrongDeviceError(
            f"device {case.variant.device!r} is promised to be a {promised!r} (gpu_model), and is "
            f"a {found!r} on {socket.gethostname()}"
        )
    return device


def refuse_emulation(arithmetic: str, device: torch.device) -> None:
    """Refuse a precision that a device has no instructions for.

    Raises:
        UnsupportedError: if it has none.
    """
    reason = platform_of(device).why_not(arithmetic, device)
    if reason is not None:
        raise UnsupportedError(reason)


def threads(case: Case) -> int:
    """Return the number of threads of each operation on the CPU."""
    return int(case.device["threads"]) or usable_cores()


def check_images(images: Images) -> None:
    """Refuse pictures that no working network draws.

    Raises:
        ValueError: if a picture is not finite, or is of one colour.
    """
    if not np.isfinite(images).all():
        raise ValueError("the network drew values that are not numbers")
    if (images.reshape(len(images), -1, 3).std(axis=1).max(axis=1) == 0).any():
        raise ValueError("the network drew a picture of one colour")


class Engine:
    """Networks on a device, and the pipeline around them.

    `autocast` is what autocast computes in, `compile_mode` what `torch.compile` was asked for, None
    without; `switches` says what else the backend set that moves time or pixels, for the record.
    """

    def __init__(
        self,
        pipeline: diffusers.StableDiffusionPipeline,
        device: torch.device,
        dtype: torch.dtype,
        autocast: torch.dtype | None = None,
        compile_mode: str | None = None,
        switches: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.device = device
        self.dtype = dtype
        self.autocast = autocast
        self.compile_mode = compile_mode
        self.switches = dict(switches or {})
        pipeline.set_progress_bar_config(disable=True)

    def latents(self, generation: Mapping[str, Any], batch_size: int) -> torch.Tensor:
        """Draw the noise that a batch starts from.

        Picture i has a generator of its own, seeded with seed + i: it is the same picture in a
        batch of any size, on any device, in any precision.

        Returns:
            Standard normal noise of shape (batch, channels, height, width) in latent pixels, drawn
            in fp32 on the CPU, then cast to the engine's precision and moved to its device.
        """
        shape = (
            self.pipeline.unet.config.in_channels,
            generation["height"] // self.pipeline.vae_scale_factor,
            generation["width"] // self.pipeline.vae_scale_factor,
        )
        noise = torch.stack(
            [
                torch.randn(shape, generator=torch.Generator().manual_seed(generation["seed"] + i))
                for i in range(batch_size)
            ]
        )
        return noise.to(self.device, self.dtype)

    def draw(
        self,
        generation: Mapping[str, Any],
        latents: torch.Tensor,
        steps: int | None = None,
        on_step_end: Callable[[torch.Tensor], None] | None = None,
    ) -> Images:
        """Draw one picture for each of `latents`, from prompt to pixels.

        Args:
            generation: prompt, steps and guidance, as in the config.
            latents: what `latents` returned, shape (batch, channels, height, width).
            steps: denoising steps, if not those of `generation`.
            on_step_end: called with the latents at the end of each evaluation of the UNet.

        Returns:
            Pictures of shape (batch, height, width, 3), fp32, values from 0 to 1, on the CPU.
        """

        def callback(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            assert on_step_end is not None
            on_step_end(tensors["latents"])
            return tensors

        with self._context():
            images: Images = self.pipeline(
                prompt=[generation["prompt"]] * len(latents),
                height=generation["height"],
                width=generation["width"],
                num_inference_steps=steps or generation["steps"],
                guidance_scale=generation["guidance"],
                latents=latents,
                output_type="np",
                callback_on_step_end=callback if on_step_end else None,
            ).images
        return images

    def denoiser_inputs(self, generation: Mapping[str, Any], batch_size: int) -> DenoiserInputs:
        """Return what the denoiser is given in the first step of a call, floats in fp32."""
        pipeline, guided = self.pipeline, generation["guidance"] > 1
        pipeline.scheduler.set_timesteps(generation["steps"], device=self.device)
        timestep = pipeline.scheduler.timesteps[0]
        latents = self.latents(generation, batch_size) * pipeline.scheduler.init_noise_sigma
        with self._context():
            prompts = [generation["prompt"]] * batch_size
            own, empty = pipeline.encode_prompt(prompts, self.device, 1, guided)
        states = torch.cat([empty, own]) if guided else own
        sample = torch.cat([latents] * (2 if guided else 1))
        sample = pipeline.scheduler.scale_model_input(sample, timestep)
        return {
            "sample": sample.float().cpu().numpy(),
            "timestep": timestep.cpu().numpy(),
            "states": states.float().cpu().numpy(),
        }

    def denoiser(self, inputs: DenoiserInputs) -> Callable[[], torch.Tensor]:
        """Put inputs on the device, floats in the engine's precision.

        Returns:
            A call that evaluates the denoiser at them, as the pipeline does in a step, and returns
            its output, of the shape of `sample`.
        """
        sample, states = (
            torch.from_numpy(inputs[name]).to(self.device, self.dtype)
            for name in ("sample", "states")
        )
        timestep = torch.tensor(inputs["timestep"], device=self.device)

        def evaluate() -> torch.Tensor:
            with self._context():
                output: torch.Tensor = self.pipeline.unet(
                    sample,
                    timestep,
                    encoder_hidden_states=states,
                    timestep_cond=None,
                    cross_attention_kwargs=None,
                    added_cond_kwargs=None,
                    return_dict=False,
                )[0]
            return output

        return evaluate

    def decode(self, latents: torch.Tensor) -> Images:
        """Turn latents of shape (batch, channels, height, width) into pictures, as `draw` does."""
        with self._context():
            scaled = latents / self.pipeline.vae.config.scaling_factor
            pixels = self.pipeline.vae.decode(scaled, return_dict=False)[0]
            images: Images = self.pipeline.image_processor.postprocess(pixels, output_type="np")
        return images

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""
        platform_of(self.device).synchronize(self.device)

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.autocast is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.autocast))
            yield
