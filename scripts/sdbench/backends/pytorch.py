"""PyTorch, eager or compiled, through diffusers."""

import functools
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench.backends.engine import Engine, load_scheduler
from sdbench.cases.case import Case, Variant
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import (
    AUTOCAST,
    COMPILE,
    FUSED_QKV,
    GROUP_OFFLOAD,
    MODEL_OFFLOAD,
    OFFLOADS,
    QUANTIZED,
    VAE_TILING,
)
from sdbench.devices.device import WEIGHTS, refuse_emulation, threads, torch_device
from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.models.hugging_face import diffusers
from sdbench.models.loading import load_network, make_pipeline
from sdbench.models.reading import read_folder
from sdbench.models.weights import NF4_BLOCK, nf4_scales_block
from sdbench.runtime.errors import UnsupportedError

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._pytree import tree_map
from torch.utils._triton import has_triton

attention_processor = diffusers.models.attention_processor

FP8_CAPABILITY = (8, 9)
"""The least CUDA compute capability that converts fp8 in hardware (CUDA C++ Programming Guide)."""


def _read_weights(networks: Iterable[torch.nn.Module]) -> None:
    """Read one value of each page of 4 KiB: weights are only mapped from their files until then,
    and loading would seem to take no time and no memory, the first call all of both."""
    for network in networks:
        for weights in network.parameters():
            weights.flatten()[:: 4096 // weights.element_size()].sum()


def _find_quantizer(switch: str, arithmetic: str, device: torch.device) -> Callable[..., None]:
    """Return what keeps the weights of a network's linear layers in another format (torchao).

    It takes the network, and as `device` where to quantize: layer by layer, so that the network
    need never be there in full.

    Raises:
        UnsupportedError: if torchao is not installed, if the GPU has no such format, or if the
            format does not work in the precision that the layers compute in, `arithmetic`.
    """
    kind = QUANTIZED[switch]
    if kind == "int8" and arithmetic == "fp16":
        # Measured with torchao 0.18: inputs of deviation 10 and 1,280 columns give infinity.
        raise UnsupportedError(
            f"{switch}: torchao multiplies by the 8-bit weights before it scales, which overflows "
            "in fp16 (above 65,504): use bf16 or fp32"
        )
    try:
        from torchao import quantization
    except ImportError as error:
        raise UnsupportedError(f"{switch} needs torchao, which is not installed") from error
    if kind == "nf4":
        return functools.partial(_quantize_to_nf4, quantization.NF4Tensor)
    if kind == "fp8":
        capability = torch.cuda.get_device_capability(device)
        if capability < FP8_CAPABILITY:
            raise UnsupportedError(
                f"fp8 needs a GPU of compute capability {_dotted(FP8_CAPABILITY)} or higher; "
                f"{torch.cuda.get_device_name(device)} has {_dotted(capability)}"
            )
    config = {
        "int8": quantization.Int8WeightOnlyConfig,
        "fp8": quantization.Float8WeightOnlyConfig,
    }[kind]
    # torchao would else tune torch.compile as well, which is a switch of its own.
    return functools.partial(quantization.quantize_, config=config(set_inductor_config=False))


def _quantize_to_nf4(nf4: Any, network: torch.nn.Module, device: torch.device) -> None:
    """Keep the weights of linear layers as NF4: four bits each, and scales that are quantized too.

    A layer whose weights do not fill blocks of 64 is left as it is. Torch alone computes with them,
    on any device: the weights of a layer are brought back to the case's precision for each product.
    """
    for layer in network.modules():
        if isinstance(layer, torch.nn.Linear) and layer.weight.numel() % NF4_BLOCK == 0:
            scales = nf4_scales_block(layer.weight.numel() // NF4_BLOCK)
            weight = nf4.from_tensor(layer.weight.detach().to(device), NF4_BLOCK, scales)
            layer.weight = torch.nn.Parameter(weight, requires_grad=False)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _find_compiler(device: torch.device) -> str:
    """Return the version of the compiler of kernels that `torch.compile` would use.

    Raises:
        UnsupportedError: if it lacks something, which it would say minutes later.
    """
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise UnsupportedError(
            f"torch.compile needs {header}, which is missing: install python3-dev"
        )
    if KINDS[device.type].is_gpu:
        compilers = (os.environ.get("CC", ""), "gcc", "clang")  # as triton/runtime/build.py
        if not any(map(shutil.which, compilers)):
            raise UnsupportedError(
                "torch.compile needs a C compiler; found no gcc and no clang: install one"
            )
        if not has_triton():
            raise UnsupportedError(
                "torch.compile needs Triton and, on CUDA, compute capability 7.0 or higher"
            )
        import triton

        return f"triton {triton.__version__}"
    try:
        compiler = get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UnsupportedError(f"torch.compile needs a C++ compiler: {error}") from error
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.partition("\n")[0]


def _set_attention(denoiser: Any, vae: Any, variant: Variant) -> None:
    """Give denoiser and VAE the attention of a variant. Without a switch they have SDPA already."""
    if variant.attention == "vanilla":
        denoiser.set_attn_processor(attention_processor.AttnProcessor())
    elif variant.attention == "sliced":
        denoiser.set_attention_slice("auto")
    if variant.attention != "sdpa":
        # The VAE's only layer of attention has no sliced form.
        vae.set_attn_processor(attention_processor.AttnProcessor())
    if FUSED_QKV in variant.switches:
        denoiser.fuse_qkv_projections()
        vae.fuse_qkv_projections()


def _tile(vae: Any, generation: Mapping[str, Any]) -> int:
    """Have the VAE decode tile by tile; return the side of a tile in pixels.

    diffusers' own tiles are as large as the images that the VAE was trained on, and no smaller
    image is cut. It is cut here into tiles of half its longer side, which overlap by a quarter.

    Raises:
        UnsupportedError: if this VAE's tiles cannot be set.
    """
    if not hasattr(vae, "tile_latent_min_size"):
        raise UnsupportedError(
            f"the tile size of a VAE of class {type(vae).__name__} cannot be set"
        )
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    half = max(generation["height"], generation["width"]) // 2
    # In fours, so that a quarter of a tile is whole in latents and in pixels.
    vae.tile_latent_min_size = max(4, min(vae.tile_sample_min_size, half) // factor // 4 * 4)
    vae.tile_sample_min_size = vae.tile_latent_min_size * factor
    vae.enable_tiling()
    return int(vae.tile_sample_min_size)


def set_options(
    pipeline: Any, denoiser: Any, variant: Variant, generation: Mapping[str, Any]
) -> int | None:
    """Give denoiser and VAE the attention, slices, tiles and layout of a variant; return the side
    of a tile in pixels, if there are any.

    Raises:
        UnsupportedError: as `_tile` does.
    """
    _set_attention(denoiser, pipeline.vae, variant)
    if "vae-slicing" in variant.switches:
        pipeline.vae.enable_slicing()
    tile = _tile(pipeline.vae, generation) if VAE_TILING in variant.switches else None
    if "channels-last" in variant.switches:
        denoiser.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return tile


def _place(pipeline: Any, device: torch.device, offload: str | None) -> None:
    """Move all weights to the device, or have them moved there whenever they are needed: each
    network as a whole, or each layer, the next one while this one computes where the device has
    streams for that, which takes weights in pinned memory."""
    if offload == MODEL_OFFLOAD:
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == GROUP_OFFLOAD:
        pipeline.enable_group_offload(
            onload_device=device,
            offload_type="leaf_level",
            use_stream=platform_of(device).has_streams,
        )
    else:
        pipeline.to(device)


def _compile(pipeline: diffusers.DiffusionPipeline, denoiser: str, mode: str) -> None:
    """Have denoiser and VAE decoder compiled when they are first called.

    For one batch size, and as one graph: what cannot be compiled as a whole is an error, and
    nothing falls back to eager unseen.
    """
    for owner, name in ((pipeline, denoiser), (pipeline.vae, "decoder")):
        network: Any = getattr(owner, name)
        network = torch.compile(network, mode=mode, fullgraph=True, dynamic=False)
        # A copy: a CUDA graph writes to the same memory every time, while PNDM looks back at former
        # outputs, and a sliced VAE collects those of single images.
        network.register_forward_hook(lambda *args: tree_map(torch.Tensor.clone, args[-1]))
        setattr(owner, name, network)


def load(
    case: Case, model_folder: Path, graphs_folder: Path | None, settings: Mapping[str, Any]
) -> Engine:
    """Load a variant; see `sdbench.backends.load`. Neither graphs nor settings are read."""
    contents = read_folder(model_folder)
    family = contents.family
    variant, device = case.variant, torch_device(case)
    dtype, arithmetic, autocast = WEIGHTS[variant.precision], variant.precision, None
    if AUTOCAST in variant.switches:
        arithmetic = platform_of(device).half if dtype == torch.float32 else arithmetic
        autocast = WEIGHTS[arithmetic]
    refuse_emulation(arithmetic, device)
    compiler = _find_compiler(device) if COMPILE in variant.switches else None
    quantized = next((s for s in variant.switches if s in QUANTIZED), None)
    quantizer = _find_quantizer(quantized, arithmetic, device) if quantized else None
    offload = next((s for s in variant.switches if s in OFFLOADS), None)
    torch.set_num_threads(threads(case))
    set_tf32(variant.precision == "tf32")
    # PyTorch's default, and diffusers': with it on, cuDNN tries its algorithms at each new shape
    # and takes the fastest of that moment, which need not be the same the next time.
    torch.backends.cudnn.benchmark = False
    # A mapped file stays in memory with its weights, also with those that were replaced.
    unmapped = {"disable_mmap": quantizer is not None}
    networks = {n: load_network(contents, n, dtype, **unmapped) for n in family.networks}
    scheduler = load_scheduler(model_folder, case.generation["scheduler"])
    pipeline = make_pipeline(contents, networks, scheduler)
    denoiser = getattr(pipeline, family.denoiser)
    if offload == GROUP_OFFLOAD and family.upcasts(pipeline.vae):
        raise UnsupportedError(
            f"{variant.precision} weights of the VAE are cast to fp32 for every image, which "
            f"{GROUP_OFFLOAD} would undo layer by layer: use bf16"
        )
    if compiler and platform_of(device).graph_calls and family.upcasts(pipeline.vae):
        raise UnsupportedError(
            f"{variant.precision} weights of the VAE are cast to fp32 and back for every image, so "
            f"{COMPILE} would record its CUDA graph again in every call: use bf16"
        )
    tile = set_options(pipeline, denoiser, variant, case.generation)
    if not KINDS[device.type].is_gpu:
        _read_weights(getattr(pipeline, name) for name in family.networks)
    if quantizer is not None:
        quantizer(denoiser, device=torch.device("cpu") if offload else device)
    _place(pipeline, device, offload)
    compile_mode = platform_of(device).compile_mode if compiler else None
    if compile_mode:
        _compile(pipeline, family.denoiser, compile_mode)
    switches = {
        "fp32_precision_matmul": torch.backends.cuda.matmul.fp32_precision,
        "fp32_precision_conv": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "quantized_weights": QUANTIZED[quantized] if quantized else None,
        "offload": offload,
        "vae_tile_px": tile,
        "compiler": compiler,
    }
    return Engine(pipeline, device, dtype, autocast, compile_mode, switches)
