"""Every figure: what it reads, and how Snakemake's report lists it. Imports nothing heavy."""

from typing import NamedTuple


class Figure(NamedTuple):
    """An entry of the catalogue.

    `category`, `shows` and `by` are those of Snakemake's report. `tables` are read by name. With
    `reads_images` the images of every compared variant are read too, with `reads_sets` those of
    sets. The first of `formats` is the one that the report shows.
    """

    category: str
    shows: str
    by: str
    tables: tuple[str, ...] = ("results",)
    reads_images: bool = False
    reads_sets: bool = False
    formats: tuple[str, ...] = ("png", "svg", "csv")


_WAY = "device and precision"
_PUBLISHED = ("results", "published")
_JUDGED = ("results", "quality_set")
_SETS = ("quality_set", "quality_pairs")

FIGURES = {
    "answer": Figure("Speed", "time and memory per image", "device, all settings", _PUBLISHED),
    "cards": Figure("Speed", "time per image", "card, also predicted", ("advice",)),
    "speed": Figure("Speed", "time per image", _WAY, _PUBLISHED),
    "devices": Figure("Speed", "time per image", "device, best settings", _PUBLISHED),
    "memory": Figure("Memory", "memory", _WAY, _PUBLISHED),
    "throughput": Figure("Throughput", "images per minute", _WAY, _PUBLISHED),
    "batch_throughput": Figure("Throughput", "images per minute", "batch size", _PUBLISHED),
    "autocast_speed": Figure("Speed", "time per image", "autocast"),
    "autocast_memory": Figure("Memory", "memory", "autocast"),
    "attention": Figure("Speed", "time and memory", "attention"),
    "parts": Figure("Speed", "time per part", _WAY),
    "cold_start": Figure("Speed", "cold start", _WAY),
    "speed_quality": Figure("Quality", "speed and similarity", "setting", _JUDGED),
    "cost": Figure("Throughput", "energy and cost", _WAY),
    "utilization": Figure("Speed", "utilization of the device", _WAY),
    "ladder": Figure("Limits", "time per evaluation", "way of running", ("races",)),
    "threads": Figure("Limits", "time per image", "threads"),
    "fits": Figure("Memory", "largest batch", "model and size of memory", ("fits",)),
    "quality_steps": Figure("Quality", "images", "steps", ("quality",), True),
    "quality_curve": Figure("Quality", "PSNR and SSIM", "steps", ("quality",)),
    "quality_panel": Figure("Quality", "images", "one step", ("quality",), True),
    "quality_animation": Figure(
        "Quality", "images", "steps, as an animation", ("quality",), True, formats=("gif",)
    ),
    "quality_verdicts": Figure("Quality", "verdicts", "setting", _SETS),
    "quality_worst": Figure("Quality", "worst images", "setting", _SETS, reads_sets=True),
}
"""By name, in the order of the page. Each has a script `plot_<name>.py` and a caption."""
