"""Made-up tables for the tests of figures: rows like a default run's, and a GPU's."""

import tempfile
from collections.abc import Sequence
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

Row = dict[str, Any]
Rows = list[Row]

SHAPES: Row = {
    "model": "shapes", "weights": "trained", "device": "cpu", "device_kind": "cpu",
    "device_name": "AMD EPYC 7B13 64-Core Processor", "backend": "pytorch", "precision": "fp32",
    "options": "none", "attention": "sdpa", "backend_version": "2.13.0", "batch_size": 1,
    "width": 64, "height": 64, "steps": 20, "scheduler": "ddim", "guidance": 4.0,
    "status": "ok", "basis": "measured", "reason": None,
}  # fmt: skip
"""A row of the default run, numbers apart."""

SD_V1 = SHAPES | {
    "model": "sd-v1-4", "device": "gpu", "device_kind": "cuda",
    "device_name": "NVIDIA H100 80GB HBM3", "width": 512, "height": 512, "steps": 50,
    "scheduler": "pndm", "guidance": 7.5,
}  # fmt: skip
"""A row of the preset lambda-2022, numbers apart."""

RACE: Row = {
    **{name: value for name, value in SHAPES.items() if name not in ("steps", "scheduler")},
    **dict.fromkeys(("width", "height"), 256),
    **{"reference_backend": "pytorch", "reference_precision": "fp32", "reference_options": "none"},
    **{"campaign": None, "model": "sd-v1", "weights": "seeded", "guidance": 7.5},
    **{"threads": 2, "rounds": 6},
}
"""A row of RACES of the preset cpu-ladder, numbers apart."""

RESOURCES = Path(__file__).parents[2] / "resources"


def published(campaigns: Sequence[str]) -> Path:
    """Return a table of these campaigns of what others published."""
    table = Path(tempfile.mkdtemp()) / "published.csv"
    collect_published(RESOURCES / "published.csv", [], list(campaigns), table)
    return table


OF_A_CALL = {
    "latency_s": 1.0, "latency_q1_s": 0.97, "latency_q3_s": 1.03, "latency_ci_low_s": 0.98,
    "latency_ci_high_s": 1.02, "load_s": 2.0, "first_call_s": 1.5,
    "text_encoder_s": 0.02, "text_encoder_ci_low_s": 0.018, "text_encoder_ci_high_s": 0.022,
    "denoiser_s": 0.9, "denoiser_ci_low_s": 0.88, "denoiser_ci_high_s": 0.92,
    "vae_decoder_s": 0.08, "vae_decoder_ci_low_s": 0.07, "vae_decoder_ci_high_s": 0.09,
}  # fmt: skip


def latency_row(base: Row, seconds: float, **changes: Any) -> Row:
    """Return a row whose call took `seconds`, nine tenths of it in the UNet; n = 12."""
    counts = {"latency_n": 12, "warmup_calls": 1, "parts_n": 3}
    times = {name: share * seconds for name, share in OF_A_CALL.items()}
    steps = {"step_s": seconds * 0.9 / base["steps"], "denoiser_evaluations": base["steps"]}
    return base | counts | times | steps | changes


def throughput_row(base: Row, per_minute: float, **changes: Any) -> Row:
    """Return a row with `per_minute` images, its interval 2 % wide to each side."""
    row = base | changes
    return row | {
        "throughput_n": 7,
        "call_s": 60 * row["batch_size"] / per_minute,
        "images_per_minute": per_minute,
        "images_per_minute_ci_low": per_minute * 0.98,
        "images_per_minute_ci_high": per_minute * 1.02,
        **{flag: changes.get(flag, False) for flag in ("largest", "best")},
    }


def limited_row(base: Row, share: float, **changes: Any) -> Row:
    """Return a row that reached `share` of a peak of 0.2 TFLOP/s, back to back."""
    limits = {"tflop_per_image": 0.01, "peak_tflops": 0.2, "peak_operation": "convolution"}
    reached = {"throughput_tflops": share * 0.2, "throughput_utilization": share}
    return throughput_row(base, 60 * share * 0.2 / 0.01, **(limits | reached | changes))


def memory_row(base: Row, gigabytes: float, **changes: Any) -> Row:
    """Return a row whose peak is so large, in GB, by the counters of its kind of device."""
    shares = {"loaded": 0.6, "resident_peak": 1.0, "resident_above_load": 0.4}
    if base["device_kind"] != "cpu":
        shares = {"peak_allocated": 0.7, "peak_reserved": 0.8, "reserved_after_run": 0.7}
        shares |= {"nvml_process": 0.9, "device_peak": 1.0}
    counters = {f"{name}_bytes": gigabytes * share * 1e9 for name, share in shares.items()}
    compared = compared_memory(counters, base["device_kind"], base["backend"])
    return base | counters | compared | changes


def race_row(ratio: float, **changes: Any) -> Row:
    """Return a row of RACES against a reference of six seconds: its interval 2 % wide to each side,
    and the range of its rounds 5 %."""
    bounds = {"ratio_ci_low": 0.98, "ratio_ci_high": 1.02, "ratio_min": 0.95, "ratio_max": 1.05}
    return {
        **RACE,
        **{"evaluation_s": 6 * ratio, "reference_evaluation_s": 6.0, "load_s": 4.0},
        **{name: share * ratio for name, share in bounds.items()},
        **{"ratio": ratio, "divergence": 1e-6, "waiting_cores": 0.001, "contended": False},
        **dict.fromkeys(("memory_bytes", "reference_memory_bytes"), 5.7e9),
        "memory_counter": "peak resident memory of the process",
        **{"tflop": 0.36, "peak_tflops": 0.15, "tflops": 0.06 / ratio, "utilization": 0.4 / ratio},
        "peak_operation": "matrix product",
        **changes,
    }


def advice_row(card: str, seconds: float | None, basis: str = "predicted", **changes: Any) -> Row:
    """Return a row of ADVICE of Stable Diffusion 1.x, its interval half to twice the seconds if it
    was predicted; without seconds, the memory does not suffice."""
    known = {key: SD_V1[key] for key in ("width", "height", "steps", "scheduler", "guidance")}
    row = {"model": "sd-v1", **known, "batch_size": 1, "card": card, "gpu": True, "fits": "no"}
    row |= {"precision": "fp16", "backend": "pytorch", "options": "none", "card_memory_gb": 24.0}
    row |= {"memory_basis": "predicted", "memory_bytes": 3.5e9}
    if seconds is None:
        return row | {"reason": "it needs 39 GiB"} | changes
    row |= {"fits": "yes", "basis": basis, "latency_s": seconds}
    row |= {"images_per_minute": 60 / seconds}
    if basis == "predicted":
        row |= {"latency_ci_low_s": seconds / 2, "latency_ci_high_s": 2 * seconds}
    return row | changes


def failed_row(base: Row, status: str, **changes: Any) -> Row:
    """Return a row without numbers."""
    return base | {"status": status, "reason": f"because of {status}"} | changes


def failed_race(status: str, **changes: Any) -> Row:
    """Return a row of RACES without numbers."""
    return failed_row(RACE, status, **changes)


def long_names(count: int, *rows: Row) -> Rows:
    """Return rows of so many devices, whose names are as long as names may be."""
    return [
        row
        | {
            "device": f"node-{number:02d}-{'very-' * 9}long-name",
            "device_name": f"NVIDIA Imaginary Accelerator Super Extended Edition {number}",
            "model": "sd-v1-" + "a-long-name-" * 4,
        }
        for number in range(count)
        for row in rows
    ]


def write_rows(rows: Rows, path: Path, schema: pa.DataFrameSchema) -> Path:
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
    path: Path, noise: float, runs: list[int], trajectory: list[int], side: int = 64
) -> Path:
    """Write an archive of images as the quality stage does; without steps, one that failed."""
    made = {"runs": runs, "trajectory": trajectory}
    series = {mode: generate_discs(steps, side, 0, noise) for mode, steps in made.items()}
    steps = {f"{mode}_steps": np.array(steps, np.int64) for mode, steps in made.items()}
    save_images(path, "ok" if runs or trajectory else "unsupported", "", **series, **steps)
    return path


SET_PROMPTS = ("a red circle on a blue background", "a green square on a white background")


def write_set(path: Path, noise: float, missing: Sequence[int] = (), **changes: Any) -> Path:
    """Write an archive of a set of images of two prompts and two seeds, without those `missing`."""
    places = [place for place in range(4) if place not in missing]
    drawn = [generate_discs([30], 16, place, noise)[0] for place in places]
    nothing = np.empty((0, 16, 16, 3), np.uint8)
    series = {mode: nothing for mode in ("runs", "trajectory")}
    steps = {f"{mode}_steps": np.empty(0, np.int64) for mode in series}
    own = {
        "set": np.stack(drawn) if drawn else nothing,
        "set_at": np.array(places, np.int64),
        "set_prompts": np.array([*SET_PROMPTS] * 2),
        "set_seeds": np.array([0, 0, 1, 1]),
    }
    save_images(path, "ok", "", **series, **steps, **own | changes)
    return path


def set_rows(base: Row, missing: Sequence[int] = (), **changes: Any) -> tuple[Row, Rows]:
    """Return a row of QUALITY_SET and those of QUALITY_PAIRS of such an archive."""
    way = {name: base[name] for name in ("model", "device", "backend", "precision", "options")}
    named = [(prompt, seed) for seed in (0, 1) for prompt in SET_PROMPTS]
    pairs = [
        way
        | {"prompt": prompt, "seed": seed}
        | ({} if place in missing else {"psnr_db": 40.0 - place, "ssim": 0.99, "passes_gate": True})
        | ({} if place in missing else {"score": 1 - place / 3, "reference_score": 1.0})
        for place, (prompt, seed) in enumerate(named)
    ]
    kept = {name: value for name, value in base.items() if name != "batch_size"}
    kept |= {f"reference_{name}": SHAPES[name] for name in ("backend", "precision", "options")}
    kept |= {"reference_device": base["device"], "judge": "shapes", "judge_version": "1"}
    kept |= {"prompts": 2, "seeds": 2, "n": 4 - len(missing), "missing": len(missing)}
    kept |= {f"psnr{q}_db": 38.0 for q in ("_q1", "", "_q3")}
    kept |= {"ssim_q1": 0.98, "ssim": 0.99, "ssim_q3": 0.99, "below_gate": 0.0, "margin": 0.05}
    kept |= {"score": 0.5, "reference_score": 1.0, "score_difference": -0.5}
    kept |= {"score_ci_low": -0.7, "score_ci_high": -0.3, "verdict": "worse"}
    return kept | changes, pairs


def quality_rows(
    base: Row, mode: str, steps: list[int], psnr: list[float], ssim: list[float], **changes: Any
) -> Rows:
    """Return rows of QUALITY against the fp32 of PyTorch on the same device."""
    kept = {name: value for name, value in base.items() if name not in ("batch_size", "steps")}
    kept |= {f"reference_{name}": SHAPES[name] for name in ("backend", "precision", "options")}
    kept |= {"reference_device": base["device"], "mode": mode}
    kept |= {"max_abs_difference": 3.0, "identical_share": 0.5}
    return [
        kept | {"step": step, "psnr_db": decibels, "ssim": similarity} | changes
        for step, decibels, similarity in zip(steps, psnr, ssim, strict=True)
    ]
