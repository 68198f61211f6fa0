"""ONNX Runtime: the exported networks, in diffusers' own pipeline.

Inputs and outputs are tensors of PyTorch where they lie, bound by their addresses (`io_binding`):
on a GPU latents, guidance and the loop stay there, and nothing goes through the host.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.backends.engine import (
    Engine,
    load_scheduler,
    refuse_emulation,
    threads,
    torch_device,
)
from sdbench.cases import TENSORRT, Case
from sdbench.errors import UnsupportedError
from sdbench.hugging_face import diffusers, transformers
from sdbench.kinds import KINDS
from sdbench.ort import onnxruntime

import numpy as np
import torch

ELEMENTS = {torch.float32: np.float32, torch.int64: np.int64}
"""Types of the graphs' inputs and outputs, as PyTorch and as ONNX Runtime's Python calls them."""


def bind(
    binding: Any,
    device: torch.device,
    inputs: Mapping[str, torch.Tensor],
    outputs: Mapping[str, torch.Tensor],
) -> None:
    """Bind contiguous tensors on `device` to a session's inputs and outputs, by their addresses."""
    for tensors, bind_one in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
        for name, tensor in tensors.items():
            bind_one(
                name=name,
                device_type=device.type,
                device_id=device.index or 0,
                element_type=ELEMENTS[tensor.dtype],
                shape=tuple(tensor.shape),
                buffer_ptr=tensor.data_ptr(),
            )


class _Network(torch.nn.Module):
    """An exported network in the place of the torch module that the pipeline expects."""

    def __init__(self, config: Any, session: Any, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.device = device
        self.session = session
        (self.output,) = (output.name for output in session.get_outputs())

    def run(self, shape: tuple[int, ...], **inputs: torch.Tensor) -> torch.Tensor:
        """Return the output, of this shape."""
        inputs = {name: value.to(self.device).contiguous() for name, value in inputs.items()}
        output = torch.empty(shape, dtype=self.dtype, device=self.device)
        binding = self.session.io_binding()
        bind(binding, self.device, inputs, {self.output: output})
        # ONNX Runtime has a stream of its own: what PyTorch was asked before must have been done.
        binding.synchronize_inputs()
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return output


class _TextEncoder(_Network):
    def forward(self, input_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        shape = (*input_ids.shape, self.config.hidden_size)
        return (self.run(shape, input_ids=input_ids),)


class _UNet(_Network):
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        **_: Any,
    ) -> tuple[torch.Tensor]:
        # Schedulers give a scalar, of whole numbers or not; the graph takes one whole number.
        moment = timestep.reshape(1).to(torch.int64)
        batch, _channels, height, width = sample.shape
        shape = (batch, self.config.out_channels, height, width)
        states = encoder_hidden_states
        return (self.run(shape, sample=sample, timestep=moment, encoder_hidden_states=states),)


class _VaeDecoder(_Network):
    def decode(self, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        batch, _channels, height, width = latents.shape
        factor = 2 ** (len(self.config.block_out_channels) - 1)
        shape = (batch, self.config.out_channels, height * factor, width * factor)
        return (self.run(shape, latents=latents),)


Providers = list[tuple[str, dict[str, Any]]]


def choose_providers(case: Case, device: torch.device) -> Providers:
    """Return the execution providers of a case with their options, the one it is named by first.

    Source: https://onnxruntime.ai/docs/execution-providers/.

    Raises:
        UnsupportedError: if the installed onnxruntime does not have it.
    """
    names = KINDS[device.type].providers
    wanted, available = names[case.variant.options], onnxruntime.get_available_providers()
    if wanted not in available:
        remedy = ": install onnxruntime-gpu in its place" if KINDS[device.type].is_gpu else ""
        raise UnsupportedError(
            f"onnxruntime {onnxruntime.__version__} here has no {wanted}; it has "
            f"{', '.join(available)}{remedy}"
        )
    if not KINDS[device.type].is_gpu:
        return [(wanted, {})]
    # ONNX Runtime lets TF32 into fp32 unless it is told not to.
    tf32 = int(case.variant.precision == "tf32")
    cuda: dict[str, Any] = {"device_id": device.index, "use_tf32": tf32}
    if TENSORRT not in case.variant.switches:
        return [(wanted, cuda)]
    tensorrt: dict[str, Any] = {
        "device_id": device.index,
        # The graphs are in fp32.
        "trt_fp16_enable": 0,
        # A cold start that finds engines of an earlier one would be another.
        "trt_engine_cache_enable": 0,
    }
    # What TensorRT cannot run is left to CUDA.
    return [(wanted, tensorrt), (names["none"], cuda)]


def _set_tf32_of_tensorrt(allowed: bool) -> None:
    """Let TensorRT use TF32 or not: the provider has no option for it, NVIDIA's libraries have.

    Once in a process: they read it when they are loaded. Source: NVIDIA's documentation of
    NVIDIA_TF32_OVERRIDE; https://github.com/microsoft/onnxruntime/issues/26029.
    """
    if allowed:
        os.environ.pop("NVIDIA_TF32_OVERRIDE", None)
    else:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


def refuse_uneven(generation: Mapping[str, Any], unet: Any, vae: Any) -> None:
    """Refuse a picture that a level of the exported UNet cannot halve and double again.

    PyTorch pads where that leaves a remainder; the graph was traced without one.

    Raises:
        UnsupportedError: if height or width is not a multiple of all that halves it.
    """
    halved = 2 ** (len(vae.block_out_channels) + len(unet.block_out_channels) - 2)
    for side in ("height", "width"):
        if generation[side] % halved:
            raise UnsupportedError(
                f"the exported networks draw pictures whose {side} is a multiple of {halved}; it "
                f"is {generation[side]} (generation.{side} in the config)"
            )


def load(case: Case, model_folder: Path, onnx_folder: Path | None) -> Engine:
    """Load a variant; see `sdbench.backends.load`.

    No torch weights are read: only tokenizer, configurations and scheduler come from the model.
    """
    assert onnx_folder is not None, "the rule gives this backend exported networks"
    device = torch_device(case)
    refuse_emulation(case.variant.precision, device)
    providers = choose_providers(case, device)
    if TENSORRT in case.variant.switches:
        _set_tf32_of_tensorrt(case.variant.precision == "tf32")

    def config(part: str, kind: Any) -> Any:
        return diffusers.configuration_utils.FrozenDict(kind.load_config(model_folder / part))

    unet = config("unet", diffusers.UNet2DConditionModel)
    vae = config("vae", diffusers.AutoencoderKL)
    refuse_uneven(case.generation, unet, vae)
    # The loop around the networks is PyTorch's; both engines get the same number of threads.
    torch.set_num_threads(threads(case))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(case)
    options.inter_op_num_threads = 1

    def network(kind: type[_Network], name: str, config: Any) -> _Network:
        # Without the fallback: it would go on with another provider, and say so in the log alone.
        session = onnxruntime.InferenceSession(
            onnx_folder / name / "model.onnx",
            sess_options=options,
            providers=providers,
            enable_fallback=0,
        )
        wanted, running = providers[0][0], session.get_providers()
        if wanted not in running:
            raise UnsupportedError(
                f"onnxruntime {onnxruntime.__version__} could not start its {wanted} (the log says "
                f"why) and would run on {', '.join(running)}"
            )
        return kind(config, session, device)

    pipeline = diffusers.StableDiffusionPipeline(
        vae=network(_VaeDecoder, "vae_decoder", vae),
        text_encoder=network(
            _TextEncoder,
            "text_encoder",
            transformers.CLIPTextConfig.from_pretrained(model_folder / "text_encoder"),
        ),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(model_folder / "tokenizer"),
        unet=network(_UNet, "unet", unet),
        scheduler=load_scheduler(model_folder, case.generation["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    switches = {"provider": providers[0][0], "providers": dict(providers)}
    return Engine(pipeline, device, torch.float32, switches=switches)
