"""Judges with a model: CLIP with random weights, and LPIPS where its package is a double."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from sdbench.measure.judges import clip_judge, find_judge, find_lpips
from sdbench.runtime.errors import UserError

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
