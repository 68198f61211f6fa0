"""Train `shapes`, the bundled small Stable Diffusion, or carry its training on."""

import csv
from collections.abc import Iterable
from pathlib import Path

from sdbench.models.shapes.training import AUTOENCODER, DENOISER, Stage, train
from sdbench.runtime.job import logged

import torch

COLUMNS = ("stage", "step", "loss", "rate", "seconds")


def train_shapes(
    autoencoder: Stage, denoiser: Stage, seed: int, checkpoints: Path, model: Path, losses: Path
) -> None:
    """Train both stages.

    Args:
        autoencoder: settings of the first stage.
        denoiser: settings of the second stage.
        seed: of everything random.
        checkpoints: folder that a stopped training is carried on from.
        model: written; folder of the pipeline, as diffusers saves it, in fp32.
        losses: written; CSV of the mean loss over each stretch of steps.
    """
    # The batch is divided over the cores instead.
    torch.set_num_threads(1)
    pipeline, history = train(autoencoder, denoiser, seed, checkpoints)
    pipeline.save_pretrained(model)
    for file in model.rglob("*.safetensors"):
        file.chmod(0o644)
    write_losses(history, losses)


def write_losses(history: Iterable[tuple[str, int, float, float, float]], losses: Path) -> None:
    """Write the rows (stage, step, mean loss, learning rate, seconds) of a training as CSV."""
    with losses.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(history)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        model = Path(snakemake.output.model)
        train_shapes(
            AUTOENCODER,
            DENOISER,
            snakemake.params.seed,
            # No output: Snakemake would delete it when a training stops.
            model.parent / "checkpoints",
            model,
            Path(snakemake.output.losses),
        )
