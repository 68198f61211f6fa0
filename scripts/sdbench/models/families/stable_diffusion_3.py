"""Stable Diffusion 3 and 3.5: two CLIP text encoders and T5, a transformer, a flow."""

from sdbench.models.families import Configs, Family, Shapes, Size

SDPA_ALONE = "diffusers implements the attention of its transformer only with SDPA"
"""Why a transformer has none of the other kinds of attention."""


class StableDiffusion3(Family):
    """The transformer attends to pixels and text together (MMDiT)."""

    pipeline = "StableDiffusion3Pipeline"
    components = {
        "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "text_encoder_3": ("transformers", "T5EncoderModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "tokenizer_3": ("transformers", "T5Tokenizer"),
        "transformer": ("diffusers", "SD3Transformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    fitting = {
        "in_channels": [("vae", "latent_channels")],
        "joint_attention_dim": [("text_encoder_3", "d_model")],
        "pooled_projection_dim": [
            ("text_encoder", "projection_dim"),
            ("text_encoder_2", "projection_dim"),
        ],
    }
    settings = {"image_encoder": None, "feature_extractor": None}
    lengths = {"text_encoder_3": 256}
    told_length_of = "text_encoder_3"
    seen = ("text_encoder", "text_encoder_3")
    unsupported = {
        "attention-vanilla": SDPA_ALONE,
        "attention-sliced": SDPA_ALONE,
        "fused-qkv": "diffusers cannot fuse the projections of the second attention (pixels only) "
        "in the blocks of 3.5 medium",
    }

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """All states of the text, and both pooled ones."""
        config = configs["transformer"]
        return {
            "hidden_states": (prompts, *self.latent_shape(configs, *size)),
            "timestep": (prompts,),
            "encoder_hidden_states": (prompts, tokens, config["joint_attention_dim"]),
            "pooled_projections": (prompts, config["pooled_projection_dim"]),
        }


FAMILY = StableDiffusion3()
