"""ImageReward, which scores an image by what people prefer (Xu et al. 2023, arXiv:2304.05977).

Its network is BLIP's encoder of a text that looks at an image (Li et al. 2022, arXiv:2201.12086),
built here of the parts that transformers has. Source: ImageReward/ImageReward.py of
THUDM/ImageReward; names of weights as in its models/BLIP/vit.py and med.py.
"""

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

from sdbench.runtime.errors import UserError, one_line, plain

import torch
import transformers

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the network's answers, which it was trained without."""
TOKENS = 35
"""To which a prompt is cut."""
HEAD = 64
"""Channels of a head of attention, in both encoders; no weight tells it."""
UNUSED = r"blip\.(vision_proj|text_proj)\.|\.position_ids$"
"""Weights that BLIP was trained with, and numbers that are counted again."""
RENAMED = {
    r"^blip\.visual_encoder\.": "image.",
    r"^blip\.text_encoder\.": "text.",
    r"^mlp\.layers\.": "score.",
    r"^image\.cls_token": "image.embeddings.class_embedding",
    r"^image\.pos_embed": "image.embeddings.position_embedding",
    r"^image\.patch_embed\.proj": "image.embeddings.patch_embedding",
    r"^image\.norm": "image.post_layernorm",
    r"^image\.blocks(\.\d+)\.norm": r"image.encoder.layers\1.layer_norm",
    r"^image\.blocks(\.\d+)\.attn\.qkv": r"image.encoder.layers\1.self_attn.qkv",
    r"^image\.blocks(\.\d+)\.attn\.proj": r"image.encoder.layers\1.self_attn.projection",
    r"^image\.blocks": "image.encoder.layers",
}
"""What a weight is called here; each is tried on what the ones before have made."""


class ImageReward(torch.nn.Module):
    """The network, without memory for its weights: they are assigned.

    Args:
        weights: by which all its sizes are told.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        width, _, patch, _ = weights["image.embeddings.patch_embedding.weight"].shape
        places = weights["image.embeddings.position_embedding"].shape[1] - 1
        vocabulary, text_width = weights["text.embeddings.word_embeddings.weight"].shape
        self.side = patch * math.isqrt(places)
        image = transformers.BlipVisionConfig(
            hidden_size=width,
            intermediate_size=len(weights["image.encoder.layers.0.mlp.fc1.bias"]),
            num_hidden_layers=_count(weights, r"image.encoder.layers.\d+.layer_norm1.bias"),
            num_attention_heads=width // HEAD,
            image_size=self.side,
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
        text = transformers.BlipTextConfig(
            vocab_size=vocabulary,
            hidden_size=text_width,
            encoder_hidden_size=width,
            intermediate_size=len(weights["text.encoder.layer.0.intermediate.dense.bias"]),
            num_hidden_layers=_count(weights, r"text.encoder.layer.\d+.output.dense.bias"),
            num_attention_heads=text_width // HEAD,
            max_position_embeddings=len(weights["text.embeddings.position_embeddings.weight"]),
        )
        with torch.device("meta"):
            self.image = transformers.BlipVisionModel(image)
            self.text = transformers.BlipTextModel(text, add_pooling_layer=False)
            # Where training dropped out there is no weight, and nothing is done.
            layers = (weights.get(f"score.{number}.weight") for number in range(8))
            self.score = torch.nn.Sequential(
                *(
                    torch.nn.Identity() if each is None else torch.nn.Linear(*each.shape[::-1])
                    for each in layers
                )
            )

    def forward(
        self, pixels: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the score of each image, of shape (count,).

        Args:
            pixels: normalized, of shape (count, 3, side, side).
            input_ids: the tokens of its prompt, of shape (count, length).
            attention_mask: 1 where there is a token, 0 where there is none.
        """
        seen = self.image(pixel_values=pixels).last_hidden_state
        read = self.text(
            input_ids=input_ids,
            attention_mask=attention_mask,
            # Its own were made without memory.
            position_ids=torch.arange(input_ids.shape[1])[None],
            encoder_hidden_states=seen,
        )
        score: torch.Tensor = self.score(read.last_hidden_state[:, 0]).squeeze(1)
        return (score - MEAN) / DEVIATION


def load_image_reward(folder: Path) -> tuple[ImageReward, transformers.BertTokenizer]:
    """Return the network of `ImageReward.pt`, and its tokenizer of `tokenizer/vocab.txt`: BERT's
    with the two tokens that BLIP adds.

    The weights are a pickle. torch reads it by an unpickler that makes tensors and runs no code.

    Raises:
        UserError: if they are not there, or not exactly those of ImageReward.
    """
    try:
        file = torch.load(folder / "ImageReward.pt", "cpu", weights_only=True, mmap=True)
        weights = {_renamed(k): v.float() for k, v in file.items() if not re.search(UNUSED, k)}
        network = ImageReward(weights)
        network.load_state_dict(weights, assign=True)
        words = (folder / "tokenizer" / "vocab.txt").read_text("utf-8").removesuffix("\n")
        numbers = {word: number for number, word in enumerate(words.split("\n"))}
        tokenizer = transformers.BertTokenizer(vocab=numbers)
    except _UNFIT as error:
        reason = plain(one_line(error), 200)
        raise UserError(f"{folder}: no ImageReward ({reason}): name another `judge`") from error
    tokenizer.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    return network.eval(), tokenizer


_UNFIT = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    pickle.UnpicklingError,
)


def _renamed(key: str) -> str:
    for old, new in RENAMED.items():
        key = re.sub(old, new, key)
    return key


def _count(weights: Mapping[str, torch.Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in weights)
