"""FLUX.1: CLIP and T5, a transformer of 12 billion parameters, guidance as a number it reads."""

import math
from typing import Any

from sdbench.models.families import Configs, Family, Generation, Shapes, Size
from sdbench.models.families.stable_diffusion_3 import SDPA_ALONE


class Flux(Family):
    """The transformer reads latents as a sequence, four of them (2 x 2) in each place."""

    pipeline = "FluxPipeline"
    components = {
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "T5Tokenizer"),
        "transformer": ("diffusers", "FluxTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    fitting = {
        "in_channels": [("vae", "latent_channels")] * 4,
        "joint_attention_dim": [("text_encoder_2", "d_model")],
        "pooled_projection_dim": [("text_encoder", "hidden_size")],
    }
    settings = {"image_encoder": None, "feature_extractor": None}
    numbers = {"timestep": 0.501, "guidance": 3.5}
    guided_above = math.inf  # `dev` reads the guidance as a number, `schnell` has none
    seen = ("text_encoder_2",)
    told_length_of = "text_encoder_2"
    unsupported = {"attention-vanilla": SDPA_ALONE, "attention-sliced": SDPA_ALONE}

    def pack(self, latents: Any) -> Any:
        """(batch, channels, height, width) to (batch, height / 2 * width / 2, channels * 4)."""
        batch, channels, height, width = latents.shape
        squares = latents.view(batch, channels, height // 2, 2, width // 2, 2)
        return squares.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)

    def decode(self, pipeline: Any, latents: Any, generation: Generation) -> Any:
        """Undo `pack`, then as others do."""
        height, width = generation["height"], generation["width"]
        factor = pipeline.vae_scale_factor
        unpacked = pipeline._unpack_latents(latents, height, width, factor)
        return super().decode(pipeline, unpacked, generation)

    def text_length(self, encoder: str, configs: Configs) -> int:
        """For T5 512 tokens, for `schnell`, which was trained on fewer, 256."""
        if encoder == "text_encoder_2":
            return 512 if configs["transformer"]["guidance_embeds"] else 256
        return super().text_length(encoder, configs)

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """Latents as a sequence, and the place of each of it and of each token."""
        config = configs["transformer"]
        _channels, rows, columns = self.latent_shape(configs, *size)
        length = rows // 2 * (columns // 2)
        return {
            "hidden_states": (prompts, length, config["in_channels"]),
            "timestep": (prompts,),
            "guidance": (prompts,) if config["guidance_embeds"] else None,
            "pooled_projections": (prompts, config["pooled_projection_dim"]),
            "encoder_hidden_states": (prompts, tokens, config["joint_attention_dim"]),
            "txt_ids": (tokens, 3),
            "img_ids": (length, 3),
        }


FAMILY = Flux()
