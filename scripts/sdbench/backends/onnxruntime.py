"""ONNX Runtime: the exported networks, in diffusers' own pipeline."""

from pathlib import Path
from typing import Any

from sdbench.backends.engine import Engine, load_scheduler, threads, torch_device
from sdbench.cases import Case
from sdbench.errors import UnsupportedError
from sdbench.hugging_face import diffusers, transformers

import numpy as np
import onnxruntime
import torch

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class _Network(torch.nn.Module):
    """An exported network in the place of the torch module that the pipeline expects."""

    def __init__(self, file: Path, config: Any, session: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.device = torch.device("cpu")
        self.session = onnxruntime.InferenceSession(file, **session)

    def run(self, **inputs: torch.Tensor) -> torch.Tensor:
        arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        return torch.from_numpy(self.session.run(None, arrays)[0])


class _TextEncoder(_Network):
    def forward(self, input_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (self.run(input_ids=input_ids),)


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
        states = encoder_hidden_states
        return (self.run(sample=sample, timestep=moment, encoder_hidden_states=states),)


class _VaeDecoder(_Network):
    def decode(self, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (self.run(latents=latents),)


def load(case: Case, model_folder: Path, onnx_folder: Path | None) -> Engine:
    """Load a variant; see `sdbench.backends.load`.

    No torch weights are read: only tokenizer, configurations and scheduler come from the model.
    """
    assert onnx_folder is not None, "the rule gives this backend exported networks"
    device = torch_device(case)
    provider = PROVIDERS[device.type]
    if provider not in onnxruntime.get_available_providers():
        raise UnsupportedError(
            f"onnxruntime {onnxruntime.__version__} here has no {provider}; it has "
            f"{', '.join(onnxruntime.get_available_providers())}"
        )
    # The loop around the networks is PyTorch's; both engines get the same number of threads.
    torch.set_num_threads(threads(case))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads(case)
    options.inter_op_num_threads = 1
    settings = {}
    if device.type == "cuda":
        # ONNX Runtime lets TF32 into fp32 unless it is told not to.
        tf32 = case.variant.precision == "tf32"
        settings = {"device_id": device.index, "use_tf32": int(tf32)}
    session = {"sess_options": options, "providers": [(provider, settings)]}

    def config(part: str, kind: Any) -> Any:
        return diffusers.configuration_utils.FrozenDict(kind.load_config(model_folder / part))

    pipeline = diffusers.StableDiffusionPipeline(
        vae=_VaeDecoder(
            onnx_folder / "vae_decoder" / "model.onnx",
            config("vae", diffusers.AutoencoderKL),
            session,
        ),
        text_encoder=_TextEncoder(
            onnx_folder / "text_encoder" / "model.onnx",
            transformers.CLIPTextConfig.from_pretrained(model_folder / "text_encoder"),
            session,
        ),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(model_folder / "tokenizer"),
        unet=_UNet(
            onnx_folder / "unet" / "model.onnx",
            config("unet", diffusers.UNet2DConditionModel),
            session,
        ),
        scheduler=load_scheduler(model_folder, case.generation["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    switches = {"provider": provider, **settings}
    return Engine(pipeline, device, torch.float32, switches=switches)
