"""Z-Image: a language model reads the prompt, a transformer the states of its own tokens alone."""

from collections.abc import Callable
from typing import Any

from sdbench.models.families import Configs, Family, Shapes, Size
from sdbench.models.families.stable_diffusion_3 import SDPA_ALONE


class ZImage(Family):
    """One sequence of pixels and text; how long the text is depends on the prompt."""

    pipeline = "ZImagePipeline"
    components = {
        "text_encoder": ("transformers", "Qwen3Model"),
        "tokenizer": ("transformers", "Qwen2Tokenizer"),
        "transformer": ("diffusers", "ZImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    fitting = {
        "in_channels": [("vae", "latent_channels")],
        "cap_feat_dim": [("text_encoder", "hidden_size")],
    }
    unsupported = {
        "attention-vanilla": SDPA_ALONE,
        "attention-sliced": SDPA_ALONE,
        "fused-qkv": "diffusers cannot fuse the projections of its transformer",
    }
    why_not_exported = (
        "its transformer keeps positions as complex numbers, for which torch.onnx has no function "
        "(`aten.index`), and takes a list of images, which fixes the batch size of the graph"
    )
    fp32_latents = True
    guided_above = 0.0
    # The pipeline's own: shorter prompts are padded for the text encoder, and cut again.
    lengths = {"text_encoder": 512}
    told_length_of = "text_encoder"

    def told(self, tokenizer: Any, prompt: str) -> str:
        """As the chat template of the model has it."""
        text: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        return text

    def prompt_length(self, tokenizer: Callable[[], Any], prompt: str, configs: Configs) -> int:
        """Without padding."""
        reader = tokenizer()
        found = len(reader(self.told(reader, prompt)).input_ids)
        return min(found, self.text_length("text_encoder", configs))

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """A list of latents, and one of the states of each prompt; the empty prompt of guidance is
        counted as if it were as long."""
        channels, rows, columns = self.latent_shape(configs, *size)
        return {
            "x": [(channels, 1, rows, columns)] * prompts,
            "t": (prompts,),
            "cap_feats": [(tokens, configs["transformer"]["cap_feat_dim"])] * prompts,
        }


FAMILY = ZImage()
