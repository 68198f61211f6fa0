"""PyTorch, eager or compiled, through diffusers."""

import functools
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from sdbench.backends.engine import (
    WEIGHTS,
    Engine,
    load_scheduler,
    refuse_emulation,
    threads,
    torch_device,
)
from sdbench.cases import AUTOCAST, COMPILE, FUSED_QKV, QUANTIZED, Case, Variant
from sdbench.errors import UnsupportedError
from sdbench.hugging_face import diffusers
from sdbench.kinds import KINDS
from sdbench.platforms import platform_of

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._triton import has_triton

attention_processor = diffusers.models.attention_processor

PAGE_BYTES = 4096


FP8_CAPABILITY = (8, 9)
"""The least CUDA compute capability that converts fp8 in hardware (CUDA C++ Programming Guide)."""


def _read_weights(pipeline: diffusers.StableDiffusionPipeline) -> None:
    """Read the weights, which are only mapped from their files until they are used.

    Else loading would seem to take no time and no memory, and the first call all of both.
    """
    for network in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        for weights in network.parameters():
            weights.flatten()[:: PAGE_BYTES // weights.element_size()].sum()


def _find_quantizer(switch: str, device: torch.device) -> Callable[[torch.nn.Module], None]:
    """Return what keeps the weights of a network's linear layers in another format (torchao).

    Raises:
        UnsupportedError: if torchao is not installed, or if the GPU has no such format.
    """
    try:
        from torchao import quantization
    except ImportError as error:
        raise UnsupportedError(f"{switch} needs torchao, which is not installed") from error
    config = {
        "int8": quantization.Int8WeightOnlyConfig,
        "fp8": quantization.Float8WeightOnlyConfig,
    }[QUANTIZED[switch]]
    if QUANTIZED[switch] == "fp8":
        capability = torch.cuda.get_device_capability(device)
        if capability < FP8_CAPABILITY:
            raise UnsupportedError(
                f"fp8 needs a GPU of compute capability {_dotted(FP8_CAPABILITY)} or more; "
                f"{torch.cuda.get_device_name(device)} has {_dotted(capability)}"
            )
    # torchao would else tune torch.compile as well, which is a switch of its own.
    return functools.partial(quantization.quantize_, config=config(set_inductor_config=False))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _find_compiler(device: torch.device) -> str:
    """Return the version of the compiler of kernels that `torch.compile` would use.

    Raises:
        UnsupportedError: if something that it needs is not there, which it would say minutes later.
    """
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise UnsupportedError(
            f"torch.compile needs {header}, which is not there: it comes with python3-dev"
        )
    if KINDS[device.type].is_gpu:
        compilers = (os.environ.get("CC", ""), "gcc", "clang")  # as triton/runtime/build.py
        if not any(map(shutil.which, compilers)):
            raise UnsupportedError("torch.compile needs a C compiler: found no gcc and no clang")
        if not has_triton():
            raise UnsupportedError(
                "torch.compile needs Triton, and of CUDA compute capability 7.0 or more"
            )
        return f"triton {metadata.version('triton')}"
    try:
        compiler = get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UnsupportedError(f"torch.compile needs a C++ compiler: {error}") from error
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.partition("\n")[0]


def _set_tf32(on: bool) -> None:
    """Let products of fp32 round to TF32, or not: PyTorch would let cuDNN do so in what is called
    fp32, and nothing is to switch itself on.
    """
    torch.backends.fp32_precision = "tf32" if on else "ieee"  # type: ignore[attr-defined]
    # The same by its former interface, which the compiler of torch 2.13 still reads: where the two
    # disagree it refuses to answer (pytorch/pytorch#166387, #189955).
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on


def _set_attention(pipeline: diffusers.StableDiffusionPipeline, variant: Variant) -> None:
    """Give UNet and VAE the attention of a variant."""
    for network in (pipeline.unet, pipeline.vae):
        if variant.attention == "vanilla":
            network.set_attn_processor(attention_processor.AttnProcessor())
        elif variant.attention == "sdpa":
            network.set_attn_processor(attention_processor.AttnProcessor2_0())
    if variant.attention == "sliced":
        # It slices the UNet's attention; the VAE's only layer of it has no such form.
        pipeline.enable_attention_slicing("auto")
        pipeline.vae.set_attn_processor(attention_processor.AttnProcessor())
    if FUSED_QKV in variant.switches:
        pipeline.fuse_qkv_projections()


def _compile(pipeline: diffusers.StableDiffusionPipeline, mode: str) -> None:
    """Have UNet and VAE decoder compiled when they are first called.

    For one batch size, and as one graph: what cannot be compiled as a whole is an error, and
    nothing falls back to eager unseen.
    """
    compiled = functools.partial(torch.compile, mode=mode, fullgraph=True, dynamic=False)
    pipeline.unet = compiled(pipeline.unet)
    pipeline.vae.decoder = compiled(pipeline.vae.decoder)
    for network in (pipeline.unet, pipeline.vae.decoder):
        network.register_forward_hook(_take)


def _take(_network: Any, _inputs: Any, output: Any) -> Any:
    """Copy what a network returns: a CUDA graph writes to the same memory every time, while PNDM
    looks back at former outputs, and a sliced VAE collects those of single pictures."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    return tuple(tensor.clone() for tensor in output)


def load(
    case: Case, model_folder: Path, graphs_folder: Path | None, settings: Mapping[str, Any]
) -> Engine:
    """Load a variant; see `sdbench.backends.load`. Neither graphs nor settings are read."""
    variant, device = case.variant, torch_device(case)
    dtype, arithmetic, autocast = WEIGHTS[variant.precision], variant.precision, None
    if AUTOCAST in variant.switches:
        arithmetic = platform_of(device).half if dtype == torch.float32 else variant.precision
        autocast = WEIGHTS[arithmetic]
    refuse_emulation(arithmetic, device)
    compiler = _find_compiler(device) if COMPILE in variant.switches else None
    quantized = next((s for s in variant.switches if s in QUANTIZED), None)
    quantizer = _find_quantizer(quantized, device) if quantized else None
    torch.set_num_threads(threads(case))
    _set_tf32(variant.precision == "tf32")
    # PyTorch's default, and diffusers': with it on, cuDNN tries its algorithms at each new shape
    # and takes the fastest of that moment, which need not be the same the next time.
    torch.backends.cudnn.benchmark = False
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        model_folder,
        dtype=dtype,
        scheduler=load_scheduler(model_folder, case.generation["scheduler"]),
        # Neither is needed to draw, and `fetch_model` does not download them.
        safety_checker=None,
        feature_extractor=None,
        local_files_only=True,
        # A mapped file stays in memory with its weights, also with those that were replaced.
        disable_mmap=quantizer is not None,
    ).to(device)
    _set_attention(pipeline, variant)
    if "vae-slicing" in variant.switches:
        pipeline.vae.enable_slicing()
    if "channels-last" in variant.switches:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if not KINDS[device.type].is_gpu:
        _read_weights(pipeline)
    if quantizer is not None:
        quantizer(pipeline.unet)
    compile_mode = platform_of(device).compile_mode if compiler else None
    if compile_mode is not None:
        _compile(pipeline, compile_mode)
    switches = {
        "fp32_precision_matmul": torch.backends.cuda.matmul.fp32_precision,
        "fp32_precision_conv": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "quantized_weights": QUANTIZED[quantized] if quantized else None,
        "compiler": compiler,
    }
    return Engine(pipeline, device, dtype, autocast, compile_mode, switches)
