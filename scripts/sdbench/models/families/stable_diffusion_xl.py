"""Stable Diffusion XL: two CLIP text encoders, a larger UNet that is told the image's size."""

from types import SimpleNamespace
from typing import Any

from sdbench.models.families import INDEX, Configs, Generation, Shapes, Size
from sdbench.models.families.stable_diffusion import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """The states of both text encoders side by side, and the pooled one of the second."""

    pipeline = "StableDiffusionXLPipeline"
    components = {
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    exports_text_encoders = False
    fitting = {
        **StableDiffusion.fitting,
        "cross_attention_dim": [
            ("text_encoder", "hidden_size"),
            ("text_encoder_2", "hidden_size"),
        ],
    }
    fixed = {**StableDiffusion.fixed, "addition_embed_type": "text_time"}
    indexed = ("force_zeros_for_empty_prompt",)
    settings = {
        "image_encoder": None,
        "feature_extractor": None,
        "force_zeros_for_empty_prompt": True,
        # It would write on the image wherever the package invisible-watermark is installed.
        "add_watermarker": False,
    }

    def encoded(self, configs: Configs, guidance: float) -> int:
        """One prompt, where there are zeros for the empty one."""
        zeros = configs[INDEX].get("force_zeros_for_empty_prompt", True)
        return 1 if zeros else self.passes(configs, guidance)

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """Next to the others, the pooled states, and six numbers of size and place."""
        pooled = configs["text_encoder_2"]["projection_dim"]
        return super().denoiser_inputs(configs, size, prompts, tokens) | {
            "added_cond_kwargs": {"text_embeds": (prompts, pooled), "time_ids": (prompts, 6)}
        }

    def attributes(self, configs: Configs) -> dict[str, Any]:
        """How much the UNet reads of pooled states, size and place."""
        size = configs["unet"]["projection_class_embeddings_input_dim"]
        return {"add_embedding": SimpleNamespace(linear_1=SimpleNamespace(in_features=size))}

    def upcasts(self, vae: Any) -> bool:
        """In fp16 it would overflow, where its configuration says so."""
        half = vae.dtype.itemsize == 2 and "bfloat16" not in str(vae.dtype)
        return half and bool(vae.config.force_upcast)

    def decode(self, pipeline: Any, latents: Any, generation: Generation) -> Any:
        """As the pipeline does."""
        vae = pipeline.vae
        mean, deviation = (vae.config.get(key) for key in ("latents_mean", "latents_std"))
        if mean is not None and deviation is not None:
            mean, deviation = (latents.new_tensor(v).view(1, -1, 1, 1) for v in (mean, deviation))
            # It is divided by the factor below.
            latents = latents * deviation + mean * vae.config.scaling_factor
        if not self.upcasts(vae):
            return super().decode(pipeline, latents, generation)
        half = vae.dtype
        pipeline.upcast_vae()
        try:
            return super().decode(pipeline, latents, generation)
        finally:
            vae.to(dtype=half)


FAMILY = StableDiffusionXL()
