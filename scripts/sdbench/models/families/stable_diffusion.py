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
    fitting = {
        "in_channels": [("vae", "latent_channels")],
        "out_channels": [("vae", "latent_channels")],
        "cross_attention_dim": [("text_encoder", "hidden_size")],
    }
    fixed = {
        "addition_embed_type": None,
        "class_embed_type": None,
        "encoder_hid_dim_type": None,
        "num_class_embeds": None,
    }
    schedulers = DIFFUSION
    why_these_schedulers = "it was trained to predict noise or velocity, not a flow"
    settings = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    exports_text_encoders: ClassVar[bool] = True
    multiple = 8

    def passes(self, configs: Configs, guidance: float) -> int:
        """A UNet that was distilled to read the guidance is evaluated for the prompt alone."""
        return 1 if _reads_guidance(configs) else super().passes(configs, guidance)

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """The timestep is one number for all prompts."""
        width = _reads_guidance(configs)
        return {
            "sample": (prompts, *self.latent_shape(configs, *size)),
            "timestep": (1,),
            "encoder_hidden_states": (prompts, tokens, configs["unet"]["cross_attention_dim"]),
            "timestep_cond": (prompts, width) if width else None,
        }


def _reads_guidance(configs: Configs) -> int | None:
    """Return the width of the guidance's embedding, where the UNet reads one."""
    width: int | None = configs["unet"].get("time_cond_proj_dim")
    return width


FAMILY = StableDiffusion()
