"""Judges with a model: CLIP and ImageReward with random weights, and LPIPS where its package is a
double."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from sdbench.measure.judges import clip_judge, find_judge, find_lpips, image_reward_judge
from sdbench.runtime.errors import UserError
from tests.security.hostile import Trap

PROMPTS = ["a red circle", "a blue square", "a long prompt " + "of many words " * 40]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two small towers, in the layout of transformers."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [*map(chr, range(97, 123))]
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "projection_dim": 8}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1}
    config = transformers.CLIPConfig(
        text_config={**small, **ends, "vocab_size": len(tokens), "max_position_embeddings": 20},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def test_a_score_is_the_cosine_of_an_image_and_its_own_prompt(clip: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 40, 3), np.uint8)
    judge, name, version = find_judge({"hub": "acme/clip", "revision": "0" * 40}, clip)
    assert (name, version) == ("acme/clip", "0" * 40)
    scores = judge(images, PROMPTS)
    assert len(scores) == 3 and all(score is not None and -1 <= score <= 1 for score in scores)
    # In a batch or alone, and by itself: no score depends on its neighbours.
    alone = [clip_judge(clip)(images[i : i + 1], PROMPTS[i : i + 1])[0] for i in range(3)]
    assert scores == pytest.approx(alone, abs=1e-5)
    other = judge(images[::-1].copy(), PROMPTS)
    assert other[1] == pytest.approx(scores[1], abs=1e-5)
    assert other[0] != pytest.approx(scores[0], abs=1e-7)
    assert judge(images[:0], []) == []


def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no CLIP model") as refused:
        clip_judge(tmp_path)
    assert "\n" not in str(refused.value)


Weights = dict[str, torch.Tensor]
IMAGE, TEXT, HEAD = "blip.visual_encoder", "blip.text_encoder", 64
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "circle", "##s")


def image_reward_weights() -> Weights:
    """Random weights of a small ImageReward, under the names of its authors: two layers and two
    heads see 8 x 8 pixels in four patches, two layers of one head read."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{IMAGE}.cls_token": (1, 1, 128),
        f"{IMAGE}.pos_embed": (1, 5, 128),
        f"{IMAGE}.patch_embed.proj.weight": (128, 3, 4, 4),
        f"{IMAGE}.patch_embed.proj.bias": (128,),
        f"{TEXT}.embeddings.word_embeddings.weight": (len(WORDS) + 2, 64),
        f"{TEXT}.embeddings.position_embeddings.weight": (40, 64),
        "blip.vision_proj.weight": (4, 128),
    }

    def add(name: str, outputs: int, inputs: int = 0) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs) if inputs else (outputs,)
        shapes[f"{name}.bias"] = (outputs,)

    for n in range(2):
        block, layer = f"{IMAGE}.blocks.{n}", f"{TEXT}.encoder.layer.{n}"
        add(f"{block}.norm1", 128)
        add(f"{block}.norm2", 128)
        for part, outputs, inputs in (("attn.qkv", 384, 128), ("attn.proj", 128, 128)):
            add(f"{block}.{part}", outputs, inputs)
        add(f"{block}.mlp.fc1", 32, 128)
        add(f"{block}.mlp.fc2", 128, 32)
        for part, inputs in (("attention", 64), ("crossattention", 128)):
            add(f"{layer}.{part}.self.query", 64, 64)
            add(f"{layer}.{part}.self.key", 64, inputs)
            add(f"{layer}.{part}.self.value", 64, inputs)
            add(f"{layer}.{part}.output.dense", 64, 64)
            add(f"{layer}.{part}.output.LayerNorm", 64)
        add(f"{layer}.intermediate.dense", 32, 64)
        add(f"{layer}.output.dense", 64, 32)
        add(f"{layer}.output.LayerNorm", 64)
    add(f"{IMAGE}.norm", 128)
    add(f"{TEXT}.embeddings.LayerNorm", 64)
    for number, outputs, inputs in ((0, 16, 64), (2, 8, 16), (4, 8, 8), (6, 4, 8), (7, 1, 4)):
        add(f"mlp.layers.{number}", outputs, inputs)
    chance = torch.Generator().manual_seed(0)
    random = {name: torch.randn(shape, generator=chance) / 2 for name, shape in shapes.items()}
    return random | {f"{TEXT}.embeddings.position_ids": torch.arange(40)[None]}


def image_reward_by_hand(weights: Weights, pixels: torch.Tensor, tokens: list[int]) -> float:
    """The score of normalized pixels, of shape (3, 8, 8), from the weights by their own names."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str, eps: float = 1e-12) -> torch.Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(x, scale.shape, scale, shift, eps)

    def attend(*qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.reshape(len(x), -1, HEAD).transpose(0, 1) for x in qkv)
        scores = (q @ k.transpose(1, 2) / HEAD**0.5).softmax(dim=-1)
        mixed: torch.Tensor = (scores @ v).transpose(0, 1).flatten(1)
        return mixed

    patch = weights[f"{IMAGE}.patch_embed.proj.weight"]
    bias = weights[f"{IMAGE}.patch_embed.proj.bias"]
    patches = functional.conv2d(pixels, patch, bias, stride=4).flatten(1).T
    x = torch.cat([weights[f"{IMAGE}.cls_token"][0], patches]) + weights[f"{IMAGE}.pos_embed"][0]
    for n in range(2):
        block = f"{IMAGE}.blocks.{n}"
        qkv = linear(norm(x, f"{block}.norm1", 1e-6), f"{block}.attn.qkv").chunk(3, dim=1)
        x = x + linear(attend(*qkv), f"{block}.attn.proj")
        inner = functional.gelu(linear(norm(x, f"{block}.norm2", 1e-6), f"{block}.mlp.fc1"))
        x = x + linear(inner, f"{block}.mlp.fc2")
    seen = norm(x, f"{IMAGE}.norm", 1e-6)
    x = weights[f"{TEXT}.embeddings.word_embeddings.weight"][tokens]
    x = x + weights[f"{TEXT}.embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x, f"{TEXT}.embeddings.LayerNorm")
    for n in range(2):
        layer = f"{TEXT}.encoder.layer.{n}"
        for part in ("attention", "crossattention"):
            other = x if part == "attention" else seen
            parts = (("query", x), ("key", other), ("value", other))
            mixed = attend(*(linear(of, f"{layer}.{part}.self.{name}") for name, of in parts))
            mixed = linear(mixed, f"{layer}.{part}.output.dense")
            x = norm(x + mixed, f"{layer}.{part}.output.LayerNorm")
        inner = functional.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    score = x[0]
    for number in (0, 2, 4, 6, 7):
        score = linear(score, f"mlp.layers.{number}")
    return (score.item() - 0.16717362830052426) / 1.0333394966054072


@pytest.fixture
def image_reward(tmp_path: Path) -> Path:
    torch.save(image_reward_weights(), tmp_path / "ImageReward.pt")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_image_reward_is_what_its_weights_say_by_the_names_of_its_authors(
    image_reward: Path,
) -> None:
    tokenizer = {"hub": "acme/bert", "revision": "1" * 40}
    asked = {"hub": "acme/reward", "revision": "0" * 40, "tokenizer": tokenizer}
    judge, name, version = find_judge(asked, image_reward)
    assert (name, version) == ("acme/reward", f"{'0' * 40}, tokenizer {'1' * 40}")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
    deviation = torch.tensor((0.26862954, 0.26130258, 0.27577711))
    pixels = ((torch.from_numpy(images) / 255 - mean) / deviation).permute(0, 3, 1, 2)
    tokens = [[2, 5, 6, 7, 3], [2, 5, 7, 8, 10, 1, 3], [2, *[6] * 33, 3]]
    weights = image_reward_weights()
    expected = [image_reward_by_hand(weights, *pair) for pair in zip(pixels, tokens, strict=True)]
    scores = judge(images, ["A red circle", "a circles [ENC] house", "red " * 40])
    assert scores == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize("wrong", ["missing", "more", "other shape", "no tensors", "code", "none"])
def test_weights_that_are_not_image_reward_are_refused_in_one_line_and_run_nothing(
    wrong: str, image_reward: Path, tmp_path: Path
) -> None:
    weights = image_reward_weights()
    key, canary = f"{IMAGE}.blocks.1.attn.proj.bias", tmp_path / "canary"
    content: dict[str, Any] = {
        "missing": {name: value for name, value in weights.items() if name != key},
        "more": weights | {"blip.more.weight": torch.zeros(1)},
        "other shape": weights | {key: torch.zeros(3)},
        "no tensors": {"epoch": 3},
        "code": weights | {"mlp.layers.0.weight": Trap(canary)},
    }
    (image_reward / "ImageReward.pt").unlink()
    if wrong in content:
        torch.save(content[wrong], image_reward / "ImageReward.pt")
    with pytest.raises(UserError, match=r"no ImageReward \(.+\): name another") as refused:
        image_reward_judge(image_reward)
    assert "\n" not in str(refused.value) and not canary.exists()


def test_lpips_is_left_out_unless_all_of_it_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_lpips() is None
    seen: list[torch.Tensor] = []

    class Double(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, one: Any, two: Any) -> Any:
            seen.extend((one, two))
            return (one - two).abs().mean(dim=(1, 2, 3), keepdim=True)

    module = types.ModuleType("lpips")
    module.LPIPS = Double  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "lpips", module)
    # The package would download them.
    assert find_lpips() is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    look = find_lpips()
    assert look is not None
    black, white = np.zeros((3, 8, 8, 3), np.uint8), np.full((3, 8, 8, 3), 255, np.uint8)
    assert look(black, black) == [0.0] * 3
    assert look(black, white) == [2.0] * 3
    assert float(seen[-1].max()) == 1.0 and float(seen[-2].min()) == -1.0
