"""PyTorch, eager, through diffusers."""

from pathlib import Path

from sdbench.backends.engine import (
    WEIGHTS,
    Engine,
    load_scheduler,
    refuse_emulation,
    threads,
    torch_device,
)
from sdbench.cases import AUTOCAST, Case
from sdbench.hugging_face import diffusers
from sdbench.kinds import KINDS
from sdbench.platforms import platform_of

import torch

attention_processor = diffusers.models.attention_processor

PAGE_BYTES = 4096


def _read_weights(pipeline: diffusers.StableDiffusionPipeline) -> None:
    """Read the weights, which are only mapped from their files until they are used.

    Else loading would seem to take no time and no memory, and the first call all of both.
    """
    for network in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        for weights in network.parameters():
            weights.flatten()[:: PAGE_BYTES // weights.element_size()].sum()


def load(case: Case, model_folder: Path, onnx_folder: Path | None) -> Engine:
    """Load a variant; see `sdbench.backends.load`. `onnx_folder` is not read."""
    variant, device = case.variant, torch_device(case)
    dtype, arithmetic, autocast = WEIGHTS[variant.precision], variant.precision, None
    if AUTOCAST in variant.switches:
        arithmetic = platform_of(device).half if dtype == torch.float32 else variant.precision
        autocast = WEIGHTS[arithmetic]
    refuse_emulation(arithmetic, device)
    torch.set_num_threads(threads(case))
    # Nothing switches itself on: PyTorch would let cuDNN use TF32 in what is called fp32.
    matmul = "tf32" if variant.precision == "tf32" else "ieee"
    torch.backends.fp32_precision = matmul  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        model_folder,
        dtype=dtype,
        scheduler=load_scheduler(model_folder, case.generation["scheduler"]),
        # Neither is needed to draw, and `fetch_model` does not download them.
        safety_checker=None,
        feature_extractor=None,
        local_files_only=True,
    ).to(device)
    for network in (pipeline.unet, pipeline.vae):
        if variant.attention == "vanilla":
            network.set_attn_processor(attention_processor.AttnProcessor())
        elif variant.attention == "sdpa":
            network.set_attn_processor(attention_processor.AttnProcessor2_0())
    if variant.attention == "sliced":
        # It slices the UNet's attention; the VAE's only layer of it has no such form.
        pipeline.enable_attention_slicing("auto")
        pipeline.vae.set_attn_processor(attention_processor.AttnProcessor())
    if "vae-slicing" in variant.switches:
        pipeline.vae.enable_slicing()
    if "channels-last" in variant.switches:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if not KINDS[device.type].is_gpu:
        _read_weights(pipeline)
    switches = {
        "fp32_precision_matmul": torch.backends.cuda.matmul.fp32_precision,
        "fp32_precision_conv": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    return Engine(pipeline, device, dtype, autocast, switches)
