"""How well an image follows its prompt, as a number; and how far two images look apart.

Everything is computed in fp32 on the CPU, so that a score does not depend on the device at hand.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sdbench
from sdbench.models.shapes.reader import read
from sdbench.models.shapes.scenes import descriptions
from sdbench.runtime.errors import UserError, one_line, plain
from sdbench.runtime.failures import raise_failure

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images8Bit = NDArray[np.uint8]
"""Shape (count, height, width, 3)."""
Judge = Callable[[Images8Bit, Sequence[str]], list[float | None]]
"""Scores each image by its prompt: more is better, None for a prompt that it cannot read."""

BATCH = 16
NONE, SHAPES = "none", "shapes"
"""Judges without a model."""


def find_judge(judge: str | Mapping[str, Any], folder: Path | None) -> tuple[Judge, str, str]:
    """Return the judge of an entry of the config, its name, and its version.

    Args:
        judge: as the config has it.
        folder: what `fetch_judge` downloaded, for a model of a hub.

    Raises:
        UserError: if the model could not be downloaded, or is another.
    """
    if judge == NONE:
        return lambda images, _: [None] * len(images), NONE, ""
    if judge == SHAPES:
        return judge_shapes, SHAPES, sdbench.__version__
    assert folder is not None and not isinstance(judge, str)
    raise_failure(folder)
    if (tokenizer := judge.get("tokenizer")) is None:
        return clip_judge(folder), judge["hub"], judge["revision"]
    version = f"{judge['revision']}, tokenizer {tokenizer['revision']}"
    return image_reward_judge(folder), judge["hub"], version


def judge_shapes(images: Images8Bit, prompts: Sequence[str]) -> list[float | None]:
    """Return the share of background, colour and shape that is as the caption has it."""
    known = {what.caption: what for what in descriptions()}
    scores: list[float | None] = []
    for image, prompt in zip(images, prompts, strict=True):
        found = vars(read(image))
        right = [getattr(known.get(prompt), part, None) == seen for part, seen in found.items()]
        scores.append(sum(right) / len(right) if prompt in known else None)
    return scores


def clip_judge(folder: Path) -> Judge:
    """Return the cosine of an image and its prompt by a CLIP model: CLIPScore before its factor of
    2.5 (Hessel et al. 2021, doi:10.18653/v1/2021.emnlp-main.595).

    Args:
        folder: the model in the layout of transformers.

    Raises:
        UserError: if it holds no CLIP model.
    """
    # Only a judge with a model needs them, and they take seconds.
    import torch
    import transformers

    try:
        model = transformers.CLIPModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        ).eval()
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{folder}: no CLIP model ({plain(one_line(error), 200)}): name another `judge`"
        ) from error
    longest = model.config.text_config.max_position_embeddings

    def score(pixels: Any, prompts: list[str]) -> Any:
        tokens = _tokens(tokenizer, prompts, longest)
        found = model(pixel_values=pixels, **tokens)
        return (found.image_embeds * found.text_embeds).sum(dim=-1)

    return _in_batches(score, model.config.vision_config.image_size)


def image_reward_judge(folder: Path) -> Judge:
    """Return what ImageReward predicts of people's preference (Xu et al. 2023, arXiv:2304.05977).

    Args:
        folder: what `load_image_reward` reads.

    Raises:
        UserError: as that says.
    """
    from sdbench.measure.image_reward import TOKENS, load_image_reward

    network, tokenizer = load_image_reward(folder)

    def score(pixels: Any, prompts: list[str]) -> Any:
        return network(pixels, **_tokens(tokenizer, prompts, TOKENS))

    return _in_batches(score, network.side)


def _tokens(tokenizer: Any, prompts: list[str], longest: int) -> dict[str, Any]:
    found = tokenizer(
        prompts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
    )
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def _in_batches(score: Callable[[Any, list[str]], Any], side: int) -> Judge:
    """Return a judge of what scores pixels, of shape (count, 3, side, side), and their prompts."""
    import torch

    mean, deviation = (torch.tensor(each).reshape(3, 1, 1) for each in (CLIP_MEAN, CLIP_DEVIATION))

    def judge(images: Images8Bit, prompts: Sequence[str]) -> list[float | None]:
        scores: list[float | None] = []
        for start in range(0, len(images), BATCH):
            batch = slice(start, start + BATCH)
            pixels = torch.stack([_to_clip(image, side) for image in images[batch]])
            with torch.inference_mode():
                scores += score((pixels - mean) / deviation, list(prompts[batch])).tolist()
        return scores

    return judge


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the channels, by which every CLIP of OpenAI and of LAION, and BLIP, normalize images."""


def _to_clip(image: NDArray[np.uint8], side: int) -> Any:
    """Return an image as CLIP reads it, before it is normalized: its shorter side `side` pixels,
    bicubic, and the middle of the longer one, each rounded as torchvision does; shape (3, side,
    side), from 0 to 1."""
    import torch

    height, width = image.shape[:2]
    size = tuple(side * length // min(height, width) for length in (width, height))
    scaled = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = (round((length - side) / 2) for length in scaled.shape[:2])
    square = scaled[top : top + side, left : left + side].astype(np.float32) / 255
    return torch.from_numpy(square).permute(2, 0, 1)


def find_lpips() -> Callable[[Images8Bit, Images8Bit], list[float]] | None:
    """Return LPIPS of pairs of images (Zhang et al. 2018, doi:10.1109/CVPR.2018.00068), by AlexNet.

    None where the package `lpips` or AlexNet's weights are not at hand: nothing is downloaded.
    """
    if importlib.util.find_spec("lpips") is None:
        return None
    import lpips
    import torch

    if not [*Path(torch.hub.get_dir(), "checkpoints").glob("alexnet-*.pth")]:
        return None
    network = lpips.LPIPS(net="alex", verbose=False).eval()

    def compare(reference: Images8Bit, other: Images8Bit) -> list[float]:
        found: list[float] = []
        for start in range(0, len(other), BATCH):
            one, two = (
                torch.from_numpy(each[start : start + BATCH]).permute(0, 3, 1, 2) / 127.5 - 1
                for each in (reference, other)
            )
            with torch.inference_mode():
                found += network(one, two).flatten().tolist()
        return found

    return compare
