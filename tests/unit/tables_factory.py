"""Made-up tables for the tests of figures: rows like a default run's, and a GPU's."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from collect_published import collect_published
from sdbench.records.image_archive import save_images
from sdbench.report.figures.style import Files
from sdbench.tables.files import write_table
from sdbench.tables.rows import compared_memory

SHAPES: dict[str, Any] = {
    "model": "shapes",
    "weights": "trained",
    "device": "cpu",
    "device_kind": "cpu",
    "device_name": "AMD EPYC 7B13 64-Core Processor",
    "backend": "pytorch",
    "precision": "fp32",
    "options": "none",
    "attention": "sdpa",
    "backend_version": "2.13.0",
    "batch_size": 1,
    "width": 64,
    "height": 64,
    "steps": 20,
    "scheduler": "ddim",
    "guidance": 4.0,
    "status": "ok",
    "basis": "measured",
    "reason": None,
}
"""A row of the default run, numbers apart."""

SD_V1: dict[str, Any] = {
    **SHAPES,
    "model": "sd-v1-4",
    "device": "gpu",
    "device_kind": "cuda",
    "device_name": "NVIDIA H100 80GB HBM3",
    "width": 512,
    "height": 512,
    "steps": 50,
    "scheduler": "pndm",
    "guidance": 7.5,
}
"""A row of the preset lambda-2022, numbers apart."""

Rows = list[dict[str, Any]]
RESOURCES = Path(__file__).parents[2] / "resources"


def published(campaigns: list[str]) -> Path:
    """Return a table of these campaigns of what others published."""
    table = Path(tempfile.mkdtemp()) / "published.csv"
    collect_published(RESOURCES / "published.csv", [], campaigns, table)
    return table


def latency_row(base: dict[str, Any], seconds: float, **changes: Any) -> dict[str, Any]:
    """Return a row whose call took `seconds`, nine tenths of it in the UNet; n = 12."""
    return {
        **base,
        "latency_n": 12,
        "latency_s": seconds,
        "latency_q1_s": seconds * 0.97,
        "latency_q3_s": seconds * 1.03,
        "latency_ci_low_s": seconds * 0.98,
        "latency_ci_high_s": seconds * 1.02,
        "warmup_calls": 1,
        "load_s": seconds * 2,
        "first_call_s": seconds * 1.5,
        "text_encoder_s": seconds * 0.02,
        "denoiser_s": seconds * 0.9,
        "denoiser_q1_s": seconds * 0.88,
        "denoiser_q3_s": seconds * 0.92,
        "parts_n": 3,
        "vae_decoder_s": seconds * 0.08,
        "step_s": seconds * 0.9 / base["steps"],
        "denoiser_evaluations": base["steps"],
        **changes,
    }


def throughput_row(base: dict[str, Any], per_minute: float, **changes: Any) -> dict[str, Any]:
    """Return a row with `per_minute` images, its interval 2 % wide to each side."""
    row = {**base, **changes}
    return {
        **row,
        "throughput_n": 7,
        "call_s": 60 * row["batch_size"] / per_minute,
        "images_per_minute": per_minute,
        "images_per_minute_ci_low": per_minute * 0.98,
        "images_per_minute_ci_high": per_minute * 1.02,
        "largest": changes.get("largest", False),
        "best": changes.get("best", False),
    }


def limited_row(base: dict[str, Any], share: float, **changes: Any) -> dict[str, Any]:
    """Return a row that reached `share` of a peak of 0.2 TFLOP/s, back to back."""
    limits = {
        "tflop_per_image": 0.01,
        "peak_tflops": 0.2,
        "throughput_tflops": share * 0.2,
        "throughput_utilization": share,
    }
    return throughput_row(base, 60 * share * 0.2 / 0.01, **{**limits, **changes})


RACE: dict[str, Any] = {
    "campaign": None,
    "model": "sd-v1",
    "weights": "seeded",
    "device": "cpu",
    "device_name": SHAPES["device_name"],
    "backend": "pytorch",
    "precision": "fp32",
    "options": "none",
    "attention": "sdpa",
    "device_kind": "cpu",
    "threads": 2,
    "backend_version": "2.13.0",
    "reference_backend": "pytorch",
    "reference_precision": "fp32",
    "reference_options": "none",
    "batch_size": 1,
    "width": 256,
    "height": 256,
    "guidance": 7.5,
    "status": "ok",
    "reason": None,
    "rounds": 6,
}
"""A row of RACES of the preset cpu-ladder, numbers apart."""


def race_row(ratio: float, **changes: Any) -> dict[str, Any]:
    """Return a row of RACES against a reference of six seconds: its interval 2 % wide to each side,
    and the range of its rounds 5 %."""
    return {
        **RACE,
        "evaluation_s": 6 * ratio,
        "reference_evaluation_s": 6.0,
        "ratio": ratio,
        "ratio_ci_low": 0.98 * ratio,
        "ratio_ci_high": 1.02 * ratio,
        "ratio_min": 0.95 * ratio,
        "ratio_max": 1.05 * ratio,
        "load_s": 4.0,
        "memory_bytes": 5.7e9,
        "reference_memory_bytes": 5.7e9,
        "memory_counter": "peak resident memory of the process",
        "divergence": 1e-6,
        "tflop": 0.36,
        "tflops": 0.06 / ratio,
        "peak_tflops": 0.15,
        "utilization": 0.4 / ratio,
        "waiting_cores": 0.001,
        "contended": False,
        **changes,
    }


def failed_race(status: str, **changes: Any) -> dict[str, Any]:
    """Return a row of RACES without numbers."""
    return {**RACE, "status": status, "reason": f"because of {status}", **changes}


def failed_row(base: dict[str, Any], status: str, **changes: Any) -> dict[str, Any]:
    """Return a row without numbers."""
    return {**base, "status": status, "reason": f"because of {status}", **changes}


def write_rows(rows: list[dict[str, Any]], path: Path, schema: pa.DataFrameSchema) -> Path:
    """Write rows as a table of `schema`, flags of RESULTS false where left out."""
    table = pd.DataFrame(rows, columns=list(schema.columns) if not rows else None)
    for flag in {"largest", "best"} & set(schema.columns):
        table[flag] = [bool(row.get(flag, False)) for row in rows]
    write_table(table, path, schema)
    return path


def figure_files(folder: Path) -> Files:
    """Return where a figure goes in a folder."""
    return Files(*(folder / f"figure.{kind}" for kind in Files._fields))


def generate_discs(steps: list[int], side: int, seed: int, noise: float) -> NDArray[np.uint8]:
    """Return images (count, side, side, 3) of a disc that comes out of noise over the steps.

    The same `seed` gives the same disc, and `noise` in levels of 255 is added on top.
    """
    random = np.random.default_rng(seed)
    start = random.uniform(0, 255, (side, side, 3))
    own = np.random.default_rng(int(noise * 1000) + 1)
    y, x = np.mgrid[:side, :side] / side - 0.5
    disc = np.where((x**2 + y**2 < 0.09)[..., None], [210.0, 40, 40], [40.0, 60, 200])
    images = []
    for step in steps:
        share = min(1.0, step / 30)
        image = share * disc + (1 - share) * start + own.normal(0, noise, disc.shape)
        images.append(np.clip(image, 0, 255).round().astype(np.uint8))
    return np.stack(images) if images else np.empty((0, side, side, 3), np.uint8)


def write_images(
    path: Path,
    noise: float,
    runs: list[int],
    trajectory: list[int],
    side: int = 64,
) -> Path:
    """Write an archive of images as the quality stage does; without steps, one that failed."""
    save_images(
        path,
        "ok" if runs or trajectory else "unsupported",
        "",
        runs=generate_discs(runs, side, 0, noise),
        runs_steps=np.array(runs, np.int64),
        trajectory=generate_discs(trajectory, side, 0, noise),
        trajectory_steps=np.array(trajectory, np.int64),
    )
    return path


def quality_rows(
    base: dict[str, Any],
    mode: str,
    steps: list[int],
    psnr: list[float],
    ssim: list[float],
    **changes: Any,
) -> list[dict[str, Any]]:
    """Return rows of QUALITY against the fp32 of PyTorch on the same device."""
    kept = {name: value for name, value in base.items() if name not in ("batch_size", "steps")}
    reference = {
        "reference_device": base["device"],
        "reference_backend": "pytorch",
        "reference_precision": "fp32",
        "reference_options": "none",
    }
    return [
        {
            **kept,
            **reference,
            "mode": mode,
            "step": step,
            "psnr_db": decibels,
            "ssim": likeness,
            "max_abs_difference": 3.0,
            "identical_share": 0.5,
            **changes,
        }
        for step, decibels, likeness in zip(steps, psnr, ssim, strict=True)
    ]


def memory_row(base: dict[str, Any], gigabytes: float, **changes: Any) -> dict[str, Any]:
    """Return a row whose peak is so large, in GB, by the counters of its kind of device."""
    if base["device_kind"] == "cpu":
        counters = {
            "loaded_bytes": gigabytes * 0.6e9,
            "resident_peak_bytes": gigabytes * 1e9,
            "resident_above_load_bytes": gigabytes * 0.4e9,
        }
    else:
        counters = {
            "peak_allocated_bytes": gigabytes * 0.7e9,
            "peak_reserved_bytes": gigabytes * 0.8e9,
            "reserved_after_run_bytes": gigabytes * 0.7e9,
            "nvml_process_bytes": gigabytes * 0.9e9,
            "device_peak_bytes": gigabytes * 1e9,
        }
    compared = compared_memory(counters, base["device_kind"], base["backend"])
    return {**base, **counters, **compared, **changes}
