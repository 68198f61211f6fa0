"""Plot the loss of both stages of the training of `shapes`."""

from pathlib import Path

from sdbench.report.figures.style import INK, WIDTH, save_images, styled
from sdbench.runtime.job import logged

import pandas as pd
from matplotlib.figure import Figure

TITLES = {
    "autoencoder": "Autoencoder: error of pixels",
    "denoiser": "UNet and text encoder: error of velocity",
}


def plot_shapes_loss(losses: Path, png: Path, svg: Path) -> None:
    """Plot the mean loss of each stretch of steps, a panel for each stage.

    Args:
        losses: table that `train_shapes` wrote.
        png: written.
        svg: written.
    """
    table = pd.read_csv(losses)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        for axes, (stage, title) in zip(figure.subplots(1, 2), TITLES.items(), strict=True):
            rows = table[table["stage"] == stage]
            axes.plot(rows["step"], rows["loss"], color=INK, linewidth=0.8)
            axes.set(title=title, xlabel="step", ylabel="mean loss", yscale="log")
    save_images(figure, png, svg)


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        plot_shapes_loss(
            Path(snakemake.input.losses), Path(snakemake.output.png), Path(snakemake.output.svg)
        )
