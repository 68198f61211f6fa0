"""Training of `shapes`: first the autoencoder, then text encoder and UNet together in its latents.

All random numbers of a step come from (seed, stage, step). A training that goes on from its
checkpoint therefore ends with the same weights as one that was never stopped (on the same machine,
with the same threads).
"""

import functools
import io
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sdbench.models.shapes import networks
from sdbench.models.shapes.scenes import SIZE, draw, random_scene
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_whole
from sdbench.runtime.progress import say

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional

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
LATENTS = (4, SIZE // networks.FACTOR, SIZE // networks.FACTOR)
PARTS = 2
"""Parts of a batch that are computed in parallel, each on one core: networks this small gain little
from more cores within an operation."""
REPORT_EVERY = 50
"""Steps between two rows of the loss table."""
SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class Stage:
    """The settings of one stage.

    `number` makes its random numbers differ from another stage's. `schedule` is the number of steps
    after which the learning rate is lowest. It may be larger than `steps`, because the averaged
    weights are good well before that.
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
    """The state of a stage, restored from its checkpoint if there is one.

    `modules` are the networks that are trained, by name. `batch` returns the tensors of the step
    with the given number, and `loss` is called with a part of each.
    """

    stage: Stage
    seed: int
    modules: dict[str, torch.nn.Module]
    batch: Callable[[int], tuple[Tensor, ...]]
    loss: Callable[..., Tensor]
    checkpoints: Path
    step: int = 0
    seconds: float = 0.0
    history: list[tuple[str, int, float, float, float]] = field(default_factory=list)
    """Rows of the loss table: stage, step, mean loss, learning rate, seconds."""

    def __post_init__(self) -> None:
        self.parameters: list[Tensor] = [p for m in self.modules.values() for p in m.parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(self.parameters, betas=(0.9, 0.99), weight_decay=0.0)
        self.pool = ThreadPoolExecutor(PARTS, initializer=torch.set_num_threads, initargs=(1,))
        self.settings = {**asdict(self.stage), "seed": self.seed}
        self.checkpoint = self.checkpoints / f"{self.stage.name}.pt"
        if self.checkpoint.exists():
            self._restore()

    def run(self, stop_after: int | None = None) -> None:
        """Train to the stage's last step, or to `stop_after`, and leave a checkpoint there."""
        name, last = self.stage.name, min(self.stage.steps, stop_after or self.stage.steps)
        total, count = 0.0, 0
        started = saved = time.monotonic()
        before = self.seconds
        while self.step < last:
            total, count = total + self._advance(), count + 1
            self.seconds = before + time.monotonic() - started
            if self.step % REPORT_EVERY == 0 or self.step == last:
                loss, rate = total / count, self.stage.rate(self.step - 1)
                total, count = 0.0, 0
                self.history.append((name, self.step, loss, rate, round(self.seconds, 1)))
                where = f"{name}: step {self.step} of {self.stage.steps}"
                say(f"{where}, loss {loss:.5f}, {self.seconds:.0f} s")
                # Only here: the mean over a stretch is never cut in two.
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self._save()
                    saved = time.monotonic()
        self._save()

    def use_average(self) -> None:
        """Give the networks the average of their weights, which is what is kept of a training."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.average)

    def _advance(self) -> float:
        losses: tuple[float, ...]
        self.optimiser.param_groups[0]["lr"] = self.stage.rate(self.step)
        parts = (tensor.chunk(PARTS) for tensor in self.batch(self.step))
        losses, gradients = zip(*self.pool.map(self._gradients, *parts), strict=True)
        for parameter, *shares in zip(self.parameters, *gradients, strict=True):
            parameter.grad = torch.stack(shares).mean(0)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1.0 - decay)
        return sum(losses) / len(losses)

    def _gradients(self, *part: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        loss = self.loss(*part)
        return loss.item(), torch.autograd.grad(loss, self.parameters)

    def _save(self) -> None:
        state = {
            "settings": self.settings,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.checkpoint, buffer.getvalue())

    def _restore(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if state["settings"] != self.settings:
            raise UserError(
                f"{self.checkpoint}: found a checkpoint of other settings "
                f"({state['settings']}); allowed are {self.settings}: delete it to start again"
            )
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.history = state["average"], state["history"]
        self.step, self.seconds = state["step"], state["seconds"]
        say(f"{self.stage.name}: continuing at step {self.step}")


def images_and_captions(rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
    """Draw scenes: images (count, 3, 64, 64) in [-1, 1], and their captions."""
    scenes = [random_scene(rng) for _ in range(count)]
    pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes]))
    captions = [scene.description.caption for scene in scenes]
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0, captions


def autoencoder_training(stage: Stage, seed: int, checkpoints: Path) -> Training:
    """Set up the first stage, from its checkpoint if there is one.

    The loss is the squared error of the pixels, with 0.3 of the absolute one for crisp outlines and
    a little of the Kullback-Leibler divergence, which keeps the latents smooth. Source: Rombach et
    al. 2022, https://arxiv.org/abs/2112.10752, less the perceptual and adversarial parts.
    """
    torch.manual_seed(seed)
    autoencoder = networks.build_autoencoder()

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = stage.rng(seed, step)
        images, _ = images_and_captions(rng, stage.batch)
        return images, _noise(rng, stage.batch)

    def loss(images: Tensor, noise: Tensor) -> Tensor:
        posterior = autoencoder.encode(images).latent_dist
        error: Tensor = autoencoder.decode(posterior.mean + posterior.std * noise).sample - images
        divergence: Tensor = posterior.kl().mean() / noise[0].numel()
        return error.square().mean() + 0.3 * error.abs().mean() + 1e-4 * divergence

    return Training(stage, seed, {"autoencoder": autoencoder}, batch, loss, checkpoints)


def normalise_latents(autoencoder: AutoencoderKL, images: Tensor) -> None:
    """Scale the latents to mean 0 and deviation 1 in each channel, inside the autoencoder itself.

    The two 1 x 1 convolutions at the latents take up the change, so images are as before. A
    pipeline's one `scaling_factor` could not treat the channels separately.
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


def finished_autoencoder(training: Training, seed: int) -> AutoencoderKL:
    """Return the autoencoder of a training: averaged weights, normalised latents, frozen."""
    training.use_average()
    autoencoder: AutoencoderKL = training.modules["autoencoder"].eval().requires_grad_(False)
    images, _ = images_and_captions(training.stage.rng(seed, training.stage.steps), CALIBRATION)
    normalise_latents(autoencoder, images)
    decoded = autoencoder.decode(encode(autoencoder, images)).sample.clamp(-1.0, 1.0)
    psnr_db = 10.0 * math.log10(4.0 / functional.mse_loss(decoded, images).item())
    # How well images pass through it, over all their pixels.
    say(f"autoencoder: {psnr_db:.1f} dB")
    return autoencoder


def denoiser_training(
    stage: Stage, seed: int, autoencoder: AutoencoderKL, checkpoints: Path
) -> Training:
    """Set up the second stage, from its checkpoint if there is one.

    The loss is the squared error of the UNet's velocity in latents (n, 4, 16, 16). Source: Salimans
    and Ho 2022, Progressive Distillation, https://arxiv.org/abs/2202.00512, appendix D.
    """
    torch.manual_seed(seed + 1)
    tokenizer = networks.build_tokenizer()
    text_encoder, unet = networks.build_text_encoder(tokenizer), networks.build_unet()
    scheduler = networks.build_scheduler()
    per_pass = CHUNK // stage.batch

    def tokens_of(captions: list[str]) -> Tensor:
        how = {"padding": "max_length", "max_length": networks.LENGTH, "truncation": True}
        ids: Tensor = tokenizer(captions, **how, return_tensors="pt").input_ids
        return ids

    @functools.lru_cache(1)
    def draw_chunk(number: int) -> tuple[Tensor, Tensor]:
        images, captions = images_and_captions(stage.rng(seed, 0, number), CHUNK)
        return encode(autoencoder, images), tokens_of(captions)

    empty = tokens_of([""])[0]

    def batch(step: int) -> tuple[Tensor, ...]:
        turn, place = divmod(step, per_pass)
        latents, tokens = draw_chunk(turn // PASSES)
        order = stage.rng(seed, 1, turn).permutation(CHUNK)
        chosen = torch.from_numpy(order[place * stage.batch : (place + 1) * stage.batch])
        clean, words = latents[chosen], tokens[chosen].clone()
        rng = stage.rng(seed, 2, step)
        words[torch.from_numpy(rng.random(stage.batch) < EMPTY_CAPTIONS)] = empty
        return clean, words, _noise(rng, len(clean)), noisy_times(rng, stage.batch)

    def loss(clean: Tensor, words: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        noisy = scheduler.add_noise(clean, noise, times)
        velocity = unet(noisy, times, text_encoder(words)[0], return_dict=False)[0]
        return functional.mse_loss(velocity, scheduler.get_velocity(clean, noise, times))

    modules = {"text_encoder": text_encoder, "unet": unet}
    return Training(stage, seed, modules, batch, loss, checkpoints)


def noisy_times(rng: np.random.Generator, count: int) -> Tensor:
    """Choose times of the noise schedule (0 to 999), more of them late.

    Layout and shape are decided where there is much noise; the density there is higher, as
    (1000 - t) to the power of -1/3.
    """
    return torch.from_numpy((1000 * (1.0 - rng.random(count) ** 1.5)).astype(np.int64).clip(0, 999))


def _noise(rng: np.random.Generator, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return torch.randn((count, *LATENTS), generator=generator)


def finished_pipeline(training: Training, autoencoder: AutoencoderKL) -> StableDiffusionPipeline:
    """Return the pipeline of a training with the average of its weights, without safety checker."""
    training.use_average()
    return StableDiffusionPipeline(
        vae=autoencoder.eval(),
        text_encoder=training.modules["text_encoder"].eval(),
        tokenizer=networks.build_tokenizer(),
        unet=training.modules["unet"].eval(),
        scheduler=networks.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
