"""Stable Diffusion 1.x and 2.x: one text encoder, a UNet."""

from typing import ClassVar

from sdbench.models.families import DIFFUSION, Configs, Family, Shapes, Size


class StableDiffusion(Family):
    """The UNet reads the states of one text encoder by cross-attention."""

    pipeline = "StableDiffusionPipeline"
    components = {
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    denoiser = "unet"
    schedulers = DIFFUSION
    why_these_schedulers = "it was trained to predict noise or velocity, not a flow"
    settings = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    exports_text_encoders: ClassVar[bool] = True
    multiple = 8

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """The timestep is one number for all prompts."""
        return {
            "sample": (prompts, *self.latent_shape(configs, *size)),
            "timestep": (1,),
            "encoder_hidden_states": (prompts, tokens, configs["unet"]["cross_attention_dim"]),
        }


FAMILY = StableDiffusion()
