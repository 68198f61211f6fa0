"""PyTorch, eager, through diffusers."""

from pathlib import Path

from sdbench.backends.engine import Engine, load_scheduler, threads, torch_device
from sdbench.cases import AUTOCAST, Case
from sdbench.errors import UnsupportedError
from sdbench.hugging_face import diffusers

import torch

attention_processor = diffusers.models.attention_processor

WEIGHTS = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""What the weights are loaded in. TF32 is a mode of the matrix product, not a storage format."""

PAGE_BYTES = 4096

HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}
"""What autocast computes in around fp32 weights, as PyTorch's own default has it."""


def _read_weights(pipeline: diffusers.StableDiffusionPipeline) -> None:
    """Read the weights, which are only mapped from their files until they are used.

    Else loading would seem to take no time and no memory, and the first call all of both.
    """
    for network in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        for weights in network.parameters():
            weights.flatten()[:: PAGE_BYTES // weights.element_size()].sum()


def computes_natively(dtype: torch.dtype) -> bool:
    """Tell whether this processor has kernels for a half precision, as PyTorch's oneDNN sees it."""
    supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return torch.backends.mkldnn.is_available() and bool(supported[dtype]())  # type: ignore[no-untyped-call]


def refuse_emulation(dtype: torch.dtype) -> None:
    """Refuse a half precision that PyTorch would emulate: correct, and several times slower.

    Raises:
        UnsupportedError: if the processor has no kernels for it.
    """
    if not computes_natively(dtype):
        raise UnsupportedError(
            f"this processor has no instructions for {str(dtype).removeprefix('torch.')}: PyTorch "
            "would emulate it, several times slower than fp32"
        )


def load(case: Case, model_folder: Path, onnx_folder: Path | None) -> Engine:
    """Load a variant; see `sdbench.backends.load`. `onnx_folder` is not read."""
    variant, device = case.variant, torch_device(case)
    dtype = WEIGHTS[variant.precision]
    autocast = None
    if AUTOCAST in variant.switches:
        autocast = HALF[device.type] if dtype == torch.float32 else dtype
    computed = autocast or dtype
    if device.type == "cpu" and computed != torch.float32:
        refuse_emulation(computed)
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
    if device.type == "cpu":
        _read_weights(pipeline)
    switches = {
        "fp32_precision_matmul": torch.backends.cuda.matmul.fp32_precision,
        "fp32_precision_conv": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    return Engine(pipeline, device, dtype, autocast, switches)
