"""Train `shapes`, the bundled small Stable Diffusion, or carry its training on."""

import csv
from pathlib import Path

from sdbench.models.shapes import training
from sdbench.models.shapes.training import Stage
from sdbench.runtime.job import run_script

import torch


def train_shapes(
    autoencoder: Stage, denoiser: Stage, seed: int, checkpoints: Path, model: Path, losses: Path
) -> None:
    """Train both stages, or carry them on from the folder `checkpoints`.

    Writes the folder `model` of the pipeline in fp32, as diffusers saves it, and the CSV `losses`
    of the mean loss over each stretch of steps.
    """
    # The batch is divided over the cores instead.
    torch.set_num_threads(1)
    first = training.autoencoder_training(autoencoder, seed, checkpoints)
    first.run()
    trained = training.finished_autoencoder(first, seed)
    second = training.denoiser_training(denoiser, seed, trained, checkpoints)
    second.run()
    training.finished_pipeline(second, trained).save_pretrained(model)
    for weights in model.rglob("*.safetensors"):
        weights.chmod(0o644)
    with losses.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("stage", "step", "loss", "rate", "seconds"))
        writer.writerows(first.history + second.history)


if __name__ == "__main__":
    run_script(
        snakemake,
        train_shapes,
        autoencoder=training.AUTOENCODER,
        denoiser=training.DENOISER,
        # No output: Snakemake would delete it when a training stops.
        checkpoints=Path(snakemake.output.model).parent / "checkpoints",
    )
