"""PixArt-Sigma: T5 alone, a small transformer that reads it by cross-attention."""

from collections.abc import Callable
from typing import Any

from sdbench.models.families import Configs, Family, Generation, Shapes, Size


class PixArtSigma(Family):
    """Trained to predict noise, as Stable Diffusion is, in the latents of Stable Diffusion XL."""

    pipeline = "PixArtSigmaPipeline"
    components = {
        "text_encoder": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", "T5Tokenizer"),
        "transformer": ("diffusers", "PixArtTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    fitting = {
        "in_channels": [("vae", "latent_channels")],
        "caption_channels": [("text_encoder", "d_model")],
    }
    schedulers = ("ddim", "euler", "dpmsolver")
    why_these_schedulers = (
        "it was trained to predict noise, and its pipeline reports only the end of steps, but pndm "
        "has one evaluation more than steps"
    )
    why_not_exported = (
        "its transformer computes pixel positions where the exporter cannot trace them, for one "
        "size at a time"
    )
    unsupported = {"attention-sliced": "diffusers has no sliced attention for its transformer"}
    lengths = {"text_encoder": 300}
    told_length_of = "text_encoder"

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """The states of the text and which of them are padding."""
        channels = configs["transformer"]["caption_channels"]
        return {
            "hidden_states": (prompts, *self.latent_shape(configs, *size)),
            "encoder_hidden_states": (prompts, tokens, channels),
            "encoder_attention_mask": (prompts, tokens),
            "timestep": (prompts,),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }

    def arguments(self, configs: Configs, generation: Generation) -> dict[str, Any]:
        """At the size that was asked for, not the nearest that it was trained on, and with the
        prompt as it is."""
        own = {"use_resolution_binning": False, "clean_caption": False}
        return super().arguments(configs, generation) | own

    def watch(self, on_step_end: Callable[[Any], None]) -> dict[str, Any]:
        """By the pipeline's older interface."""
        return {"callback": lambda _step, _time, latents: on_step_end(latents)}


FAMILY = PixArtSigma()
