"""Generate images with `shapes` at its defaults, read them back, and hold them to the bars."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.models.shapes.reader import Reading, read
from sdbench.models.shapes.scenes import Description, descriptions
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script

import numpy as np
import numpy.typing as npt
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

BARS = {"ground": 0.95, "colour": 0.95, "shape": 0.85}
"""Least share of the images in which each part of the caption is to be seen."""

BATCH = 20

ImageArrays = npt.NDArray[np.uint8]


def score_shapes(
    model: Path, captions: int, seed: int, steps: int, guidance: float, scores: Path, sheet: Path
) -> None:
    """Score the pipeline in the folder `model`.

    An image is generated of each of as many `captions`, picked at random. Writes the JSON `scores`,
    and the PNG `sheet` of every image with its caption, in which what was read wrong is framed.

    Raises:
        UserError: if a score is below its bar. Both files are written before.
    """
    every = descriptions()
    wanted = [every[i] for i in np.random.default_rng(seed).integers(len(every), size=captions)]
    images = generate_images(model, wanted, seed, steps, guidance)
    readings = [read(image) for image in images]
    pairs = list(zip(wanted, readings, strict=True))
    right = {part: [getattr(r, part) == getattr(w, part) for w, r in pairs] for part in BARS}
    right["all"] = [vars(r) == vars(w) for w, r in pairs]
    shares = {part: sum(hits) / len(hits) for part, hits in right.items()}
    settings = {"count": captions, "seed": seed, "steps": steps, "guidance": guidance}
    write_json(scores, {**settings, "agreement": shares, "bars": BARS})
    contact_sheet(wanted, readings, images).save(sheet)
    print(", ".join(f"{part} {share:.1%}" for part, share in shares.items()))
    short = [
        f"{part} {shares[part]:.1%} < {bar:.0%}" for part, bar in BARS.items() if shares[part] < bar
    ]
    if short:
        raise UserError(f"{model}: {', '.join(short)}: train longer (see the images in {sheet})")


def generate_images(
    model: Path, wanted: Sequence[Description], seed: int, steps: int, guidance: float
) -> ImageArrays:
    """Generate an image of each description, each from other noise: 8-bit RGB, (n, 64, 64, 3)."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for start in range(0, len(wanted), BATCH):
        captions = [what.caption for what in wanted[start : start + BATCH]]
        first = seed * 1_000_000 + start
        noise = [torch.Generator().manual_seed(first + i) for i in range(len(captions))]
        how = {"num_inference_steps": steps, "guidance_scale": guidance, "output_type": "np"}
        generated = pipeline(captions, generator=noise, **how).images
        parts.append(np.rint(generated * 255).astype(np.uint8))
    return np.concatenate(parts)


def contact_sheet(
    wanted: Sequence[Description], readings: Sequence[Reading], images: ImageArrays
) -> Image.Image:
    """Lay the images out ten in a row, each above its caption; what was read wrong is framed."""
    width, height, columns = 104, 104, 10
    sheet = Image.new("RGB", (columns * width, -(-len(wanted) // columns) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (what, reading, image) in enumerate(zip(wanted, readings, images, strict=True)):
        left, top = number % columns * width, number // columns * height
        sheet.paste(Image.fromarray(image), (left + 20, top + 6))
        pen.text((left + 4, top + 73), f"{what.colour} {what.shape}", "black", font_size=10)
        pen.text((left + 4, top + 86), f"on {what.ground}", "black", font_size=10)
        if vars(reading) != vars(what):
            pen.rectangle((left + 16, top + 2, left + 87, top + 73), outline="#a3161a", width=2)
    return sheet


if __name__ == "__main__":
    run_script(snakemake, score_shapes)
