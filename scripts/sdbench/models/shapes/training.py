"""Training of `shapes`: first the autoencoder, then text encoder and UNet together in its latents.

A step is a function of the state and the step's number alone, because everything random is drawn
from (seed, stage, step). A run that is stopped and goes on from its checkpoint therefore ends with
the same weights as one that was never stopped (on the same machine, with the same threads).
"""

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.models.shapes.networks import (
    FACTOR,
    assemble,
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from sdbench.models.shapes.scenes import SIZE, draw, random_scene
from sdbench.models.shapes.tokenizer import LENGTH, build_tokenizer
from sdbench.runtime.errors import UserError

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

AVERAGE_DECAY = 0.999
"""Share of the averaged weights that stays at each step, once the average has run in."""

EMPTY_CAPTIONS = 0.1
"""Share of captions that are left empty, which is what guidance compares with."""

WARM_UP = 200
"""Steps over which the learning rate rises."""

CHUNK = 2048
"""Scenes that are drawn and encoded at once."""

PASSES = 4
"""How often each of them is used, with other noise, before the next are drawn."""

CALIBRATION = 512
"""Images that the latents' mean and deviation are taken from."""

LATENTS = (4, SIZE // FACTOR, SIZE // FACTOR)

PARTS = 2
"""Parts of a batch that are computed side by side."""


@dataclass(frozen=True)
class Stage:
    """The settings of one stage.

    Attributes:
        name: names its checkpoint, and its rows in the loss table.
        number: tells its random numbers from another stage's.
        steps: length.
        schedule: steps after which the learning rate is at its lowest. It may be longer than the
            stage, because the averaged weights are good well before that.
        batch: scenes in a step.
        peak_rate: highest learning rate.
    """

    name: str
    number: int
    steps: int
    schedule: int
    batch: int
    peak_rate: float

    def rate(self, step: int) -> float:
        """Return the learning rate at `step`: a linear warm-up, then a cosine down to 2 %."""
        warm = min(1.0, (step + 1) / WARM_UP)
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / self.schedule))
        return self.peak_rate * warm * max(0.02, cosine)

    def rng(self, seed: int, *what: int) -> np.random.Generator:
        """Return the random numbers of one step or chunk of this stage."""
        return np.random.default_rng([seed, self.number, *what])


AUTOENCODER = Stage("autoencoder", 0, 3450, 6000, batch=16, peak_rate=2e-3)
DENOISER = Stage("denoiser", 1, 9000, 9000, batch=32, peak_rate=2e-3)


@dataclass
class Training:
    """The state of a stage, and what carries it on.

    Attributes:
        stage: its settings.
        modules: the networks that are trained, by name.
        parts: functions that return the loss of one part each of the batch of the step with the
            given number. They run side by side, each on one core: networks this small gain little
            from more cores within an operation.
        checkpoint: file that the state is kept in.
        seed: of everything random in it.
        report_every: steps between two rows of the loss table.
        save_every: seconds between two checkpoints.
    """

    stage: Stage
    modules: dict[str, torch.nn.Module]
    parts: Callable[[int], list[Callable[[], Tensor]]]
    checkpoint: Path
    seed: int
    report_every: int = 50
    save_every: float = 120.0
    step: int = 0
    seconds: float = 0.0
    history: list[tuple[str, int, float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters: list[Tensor] = [p for m in self.modules.values() for p in m.parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(self.parameters, betas=(0.9, 0.99), weight_decay=0.0)
        self.pool = ThreadPoolExecutor(PARTS, initializer=torch.set_num_threads, initargs=(1,))
        if self.checkpoint.exists():
            self._restore()

    def run(self, stop_after: int | None = None) -> None:
        """Train to the stage's last step, or to `stop_after`, and leave a checkpoint there."""
        last = min(self.stage.steps, stop_after or self.stage.steps)
        total, count = 0.0, 0
        started = saved = time.monotonic()
        before = self.seconds
        while self.step < last:
            total, count = total + self._advance(), count + 1
            self.seconds = before + time.monotonic() - started
            if self.step % self.report_every == 0 or self.step == last:
                self._report(total / count)
                total, count = 0.0, 0
            # Only where the loss is reported: the mean over a stretch is never cut in two.
            if count == 0 and time.monotonic() - saved > self.save_every:
                self._save()
                saved = time.monotonic()
        self._save()

    def use_average(self) -> None:
        """Give the networks the average of their weights, which is what is kept of a training."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.average, strict=True):
                parameter.copy_(average)

    def _advance(self) -> float:
        losses: tuple[float, ...]
        for group in self.optimiser.param_groups:
            group["lr"] = self.stage.rate(self.step)
        losses, gradients = zip(*self.pool.map(self._gradients, self.parts(self.step)), strict=True)
        for parameter, *shares in zip(self.parameters, *gradients, strict=True):
            parameter.grad = torch.stack(shares).mean(0)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1.0 - decay)
        return sum(losses) / len(losses)

    def _gradients(self, part: Callable[[], Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        loss = part()
        return loss.item(), torch.autograd.grad(loss, self.parameters)

    def _report(self, loss: float) -> None:
        stage, rate = self.stage, self.stage.rate(self.step - 1)
        self.history.append((stage.name, self.step, loss, rate, round(self.seconds, 1)))
        print(
            f"{stage.name}: step {self.step} of {stage.steps}, loss {loss:.5f}, "
            f"{self.seconds:.0f} s",
            flush=True,
        )

    def _settings(self) -> dict[str, Any]:
        return {**asdict(self.stage), "seed": self.seed}

    def _save(self) -> None:
        state = {
            "settings": self._settings(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        beside = self.checkpoint.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(self.checkpoint)

    def _restore(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if state["settings"] != self._settings():
            raise UserError(
                f"{self.checkpoint}: found a checkpoint of other settings "
                f"({state['settings']}); allowed are {self._settings()}: delete it to start again"
            )
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = [tuple(row) for row in state["history"]]
        print(f"{self.stage.name}: continuing at step {self.step}", flush=True)


def images_and_captions(rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
    """Draw scenes.

    Returns:
        images of shape (count, 3, 64, 64) in [-1, 1], and their captions.
    """
    scenes = [random_scene(rng) for _ in range(count)]
    pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0, [
        scene.description.caption for scene in scenes
    ]


def autoencoder_training(stage: Stage, seed: int, checkpoints: Path) -> Training:
    """Set up the first stage, from its checkpoint if there is one."""
    torch.manual_seed(seed)
    autoencoder = build_autoencoder()

    def parts(step: int) -> list[Callable[[], Tensor]]:
        rng = stage.rng(seed, step)
        images, _ = images_and_captions(rng, stage.batch)
        noise = torch.randn((stage.batch, *LATENTS), generator=_generator(rng))
        return [partial(autoencoder_loss, autoencoder, *part) for part in _in_parts(images, noise)]

    modules = {"autoencoder": autoencoder}
    return Training(stage, modules, parts, checkpoints / f"{stage.name}.pt", seed)


def autoencoder_loss(autoencoder: AutoencoderKL, images: Tensor, noise: Tensor) -> Tensor:
    """Return the loss of the autoencoder on images (n, 3, 64, 64), given its latents' noise.

    It is the squared error of the pixels, with 0.3 of the absolute one for crisp outlines and
    a little of the Kullback-Leibler divergence, which keeps the latents smooth. Source: Rombach et
    al. 2022, https://arxiv.org/abs/2112.10752, less the perceptual and adversarial parts.
    """
    posterior = autoencoder.encode(images).latent_dist
    error = autoencoder.decode(posterior.mean + posterior.std * noise).sample - images
    divergence = posterior.kl().mean() / noise[0].numel()
    loss: Tensor = error.square().mean() + 0.3 * error.abs().mean() + 1e-4 * divergence
    return loss


def normalise_latents(autoencoder: AutoencoderKL, images: Tensor) -> None:
    """Scale the latents to mean 0 and deviation 1 in each channel, inside the autoencoder itself.

    The two 1 x 1 convolutions at the latents take up the change, so images are as before. A
    pipeline's one `scaling_factor` could not treat the channels apart.
    """
    with torch.no_grad():
        latents = encode(autoencoder, images)
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        into, out = autoencoder.quant_conv, autoencoder.post_quant_conv
        # The first half of the channels is the mean, the second the logarithm of the variance.
        into.weight[:4] /= deviation[:, None, None, None]
        into.bias[:4] = (into.bias[:4] - mean) / deviation
        into.bias[4:] -= 2.0 * deviation.log()
        out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
        out.weight *= deviation[:, None, None]


def encode(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Encode images (n, 3, 64, 64) to latents (n, 4, 16, 16): the posterior's mean."""
    with torch.no_grad():
        parts = [autoencoder.encode(part).latent_dist.mean for part in torch.split(images, 64)]
    return torch.cat(parts)


def peak_signal_to_noise(autoencoder: AutoencoderKL, images: Tensor) -> float:
    """Return how well images pass through the autoencoder, in dB over all their pixels."""
    with torch.no_grad():
        again = autoencoder.decode(encode(autoencoder, images)).sample.clamp(-1.0, 1.0)
    return 10.0 * math.log10(4.0 / functional.mse_loss(again, images).item())


def finished_autoencoder(training: Training, seed: int) -> AutoencoderKL:
    """Return the autoencoder of a training: averaged weights, normalised latents, frozen."""
    training.use_average()
    autoencoder: AutoencoderKL = training.modules["autoencoder"].eval().requires_grad_(False)
    images, _ = images_and_captions(training.stage.rng(seed, training.stage.steps), CALIBRATION)
    normalise_latents(autoencoder, images)
    print(f"autoencoder: {peak_signal_to_noise(autoencoder, images):.1f} dB", flush=True)
    return autoencoder


def denoiser_training(
    stage: Stage, seed: int, autoencoder: AutoencoderKL, checkpoints: Path
) -> Training:
    """Set up the second stage, from its checkpoint if there is one."""
    torch.manual_seed(seed + 1)
    tokenizer = build_tokenizer()
    text_encoder, unet = build_text_encoder(tokenizer), build_unet()
    scheduler = build_scheduler()
    empty = _tokens(tokenizer, [""])[0]
    draw_chunk = _last_result(lambda number: _encoded(stage, seed, number, autoencoder, tokenizer))
    per_pass = CHUNK // stage.batch

    def parts(step: int) -> list[Callable[[], Tensor]]:
        turn, place = divmod(step, per_pass)
        latents, tokens = draw_chunk(turn // PASSES)
        order = stage.rng(seed, 1, turn).permutation(CHUNK)
        chosen = torch.from_numpy(order[place * stage.batch : (place + 1) * stage.batch])
        clean, words = latents[chosen], tokens[chosen].clone()
        rng = stage.rng(seed, 2, step)
        words[torch.from_numpy(rng.random(stage.batch) < EMPTY_CAPTIONS)] = empty
        noise = torch.randn(clean.shape, generator=_generator(rng))
        times = noisy_times(rng, stage.batch)
        return [
            partial(denoiser_loss, text_encoder, unet, scheduler, *part)
            for part in _in_parts(clean, words, noise, times)
        ]

    modules = {"text_encoder": text_encoder, "unet": unet}
    return Training(stage, modules, parts, checkpoints / f"{stage.name}.pt", seed)


def denoiser_loss(
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    clean: Tensor,
    words: Tensor,
    noise: Tensor,
    times: Tensor,
) -> Tensor:
    """Return the squared error of the UNet's velocity in latents (n, 4, 16, 16).

    Source: Salimans and Ho 2022, Progressive Distillation, https://arxiv.org/abs/2202.00512,
    appendix D.

    Args:
        text_encoder: reads the captions.
        unet: predicts the velocity.
        scheduler: mixes latents and noise.
        clean: latents without noise.
        words: tokens of the captions, (n, 16).
        noise: as `clean`.
        times: of the noise schedule, (n,).
    """
    noisy = scheduler.add_noise(clean, noise, times)
    velocity = unet(noisy, times, text_encoder(words)[0], return_dict=False)[0]
    return functional.mse_loss(velocity, scheduler.get_velocity(clean, noise, times))


def finished_pipeline(training: Training, autoencoder: AutoencoderKL) -> StableDiffusionPipeline:
    """Return the pipeline of a training, with the average of its weights."""
    training.use_average()
    text_encoder, unet = training.modules["text_encoder"], training.modules["unet"]
    return assemble(autoencoder, text_encoder, unet, build_tokenizer())


def noisy_times(rng: np.random.Generator, count: int) -> Tensor:
    """Draw times of the noise schedule (0 to 999), more of them late.

    Layout and shape are decided where there is much noise; the density there is higher, as
    (1000 - t) to the power of -1/3.
    """
    return torch.from_numpy((1000 * (1.0 - rng.random(count) ** 1.5)).astype(np.int64).clip(0, 999))


def train(
    autoencoder_stage: Stage, denoiser_stage: Stage, seed: int, checkpoints: Path
) -> tuple[StableDiffusionPipeline, list[tuple[str, int, float, float, float]]]:
    """Train both stages, or carry them on from their checkpoints.

    Returns:
        the pipeline, and the rows (stage, step, mean loss, learning rate, seconds) of its training.
    """
    first = autoencoder_training(autoencoder_stage, seed, checkpoints)
    first.run()
    autoencoder = finished_autoencoder(first, seed)
    second = denoiser_training(denoiser_stage, seed, autoencoder, checkpoints)
    second.run()
    return finished_pipeline(second, autoencoder), first.history + second.history


def _encoded(
    stage: Stage, seed: int, number: int, autoencoder: AutoencoderKL, tokenizer: Any
) -> tuple[Tensor, Tensor]:
    images, captions = images_and_captions(stage.rng(seed, 0, number), CHUNK)
    return encode(autoencoder, images), _tokens(tokenizer, captions)


def _tokens(tokenizer: Any, captions: Iterable[str]) -> Tensor:
    ids: Tensor = tokenizer(
        list(captions),
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids


def _in_parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut the tensors of a batch alike."""
    return list(zip(*(tensor.chunk(PARTS) for tensor in tensors), strict=True))


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _last_result(
    function: Callable[[int], tuple[Tensor, Tensor]],
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Remember what `function` returned for the number that it was last called with."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def remembered(number: int) -> tuple[Tensor, Tensor]:
        if number not in kept:
            kept.clear()
            kept[number] = function(number)
        return kept[number]

    return remembered
