"""The parts of `shapes`: a Stable Diffusion 1.x pipeline with every width cut down."""

from itertools import accumulate

from sdbench.models.shapes.scenes import SIZE, descriptions
from sdbench.models.tokenizer import make_vocabulary

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

FACTOR = 4
"""Pixels of an image to one of its latents, along a side."""
LENGTH = 16
"""Tokens of a caption, padding included."""
TEXT_WIDTH = 64


def build_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer: CLIP's, in which every byte and every word of a caption is a token.

    A caption takes one token a word; any other text is spelled in bytes and cut at `LENGTH`.
    """
    words = sorted({word for what in descriptions() for word in what.caption.split()})
    spelled = ([*word[:-1], word[-1] + "</w>"] for word in words)
    merges = dict.fromkeys(
        pair for letters in spelled for pair in zip(accumulate(letters), letters[1:], strict=False)
    )
    vocabulary = make_vocabulary(list(merges))
    return CLIPTokenizer(vocab=vocabulary.tokens, merges=vocabulary.merges, model_max_length=LENGTH)


def build_autoencoder() -> AutoencoderKL:
    """Build the autoencoder: images (3, 64, 64) to latents (4, 16, 16) and back."""
    return AutoencoderKL(
        sample_size=SIZE,
        latent_channels=4,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        # Latents leave the encoder at unit deviation: see `training.normalise_latents`.
        scaling_factor=1.0,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the text encoder for the vocabulary of `tokenizer`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet() -> UNet2DConditionModel:
    """Build the UNet. It looks at the caption at every level: with fewer, prompts were ignored."""
    return UNet2DConditionModel(
        sample_size=SIZE // FACTOR,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 64, 72),
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=TEXT_WIDTH,
        # The number of heads, in spite of its name (huggingface/diffusers, issue 2011).
        attention_head_dim=2,
    )


def build_scheduler() -> DDIMScheduler:
    """Build the noise schedule, which the training and the sampling share.

    The last step is pure noise, as in sampling: without that a small model never learns the mean
    colour of an image. Source: Lin et al. 2024, Common Diffusion Noise Schedules and Sample Steps
    are Flawed, https://arxiv.org/abs/2305.08891.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        # Without effect on trailing steps; diffusers warns of any other value.
        steps_offset=1,
    )
