"""Measure how long the seeded Stable Diffusion 1.x takes to build, and in how much memory.

    PYTHONPATH=scripts python benchmarks/build_sd_v1.py

Writes 4.3 GB to a temporary folder and removes them. Then generates 512 x 512 pixels in one step,
to see that what the weights make is finite: half a minute more on two cores.
"""

import os
import tempfile
import time
from pathlib import Path

RESOURCES = Path(__file__).parents[1] / "resources"
ALLOWED_PEAK = 1.2
"""Peak memory of the build as a share of the weights' size."""


def peak_bytes() -> int:
    """Return the high-water mark of this process's resident memory (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def measure(folder: Path) -> None:
    """Build the model in `folder`, print what it took, and check what it generates."""
    from build_model import build_model

    began = time.perf_counter()
    build_model(
        RESOURCES / "architectures" / "sd-v1.yaml",
        RESOURCES / "tokenizers" / "bpe_simple_vocab_16e6.txt.gz",
        0,
        folder,
    )
    seconds, peak = time.perf_counter() - began, peak_bytes()
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    print(f"built in {seconds:.1f} s; weights {size / 1e9:.2f} GB, peak {peak / 1e9:.2f} GB")
    assert peak < ALLOWED_PEAK * size, "the build holds more than one copy of the weights"

    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, use_safetensors=True
    )
    began = time.perf_counter()
    images = pipeline(
        "a photo of an astronaut riding a horse on mars",
        num_inference_steps=1,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    print(f"generated {tuple(images.shape)} in {time.perf_counter() - began:.1f} s")
    assert images.isfinite().all(), "the weights make numbers that are not finite"
    assert images.std() > 0.01, "the image is one flat colour"


if __name__ == "__main__":
    os.environ.update(
        TRANSFORMERS_VERBOSITY="error",
        DIFFUSERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary) / "sd-v1")
