"""Train `shapes`, the bundled small Stable Diffusion, or carry its training on."""

import csv
from pathlib import Path

from sdbench.models.shapes import training
from sdbench.models.shapes.training import Stage
from sdbench.runtime.job import logged

import torch


def train_shapes(
    autoencoder: Stage, denoiser: Stage, seed: int, checkpoints: Path, model: Path, losses: Path
) -> None:
    """Train both stages, or carry them on from the folder `checkpoints`.

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
    first = training.autoencoder_training(autoencoder, seed, checkpoints)
    first.run()
    trained = training.finished_autoencoder(first, seed)
    second = training.denoiser_training(denoiser, seed, trained, checkpoints)
    second.run()
    training.finished_pipeline(second, trained).save_pretrained(model)
    for file in model.rglob("*.safetensors"):
        file.chmod(0o644)
    with losses.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "step", "loss", "rate", "seconds"))
        writer.writerows(first.history + second.history)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        model = Path(snakemake.output.model)
        train_shapes(
            training.AUTOENCODER,
            training.DENOISER,
            snakemake.params.seed,
            # No output: Snakemake would delete it when a training stops.
            model.parent / "checkpoints",
            model,
            Path(snakemake.output.losses),
        )
