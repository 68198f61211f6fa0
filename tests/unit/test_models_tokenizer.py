"""CLIP's vocabulary, and the one of bytes."""

import gzip
from pathlib import Path

import pytest

from sdbench.models.tokenizer import byte_alphabet, byte_vocabulary, clip_vocabulary
from sdbench.runtime.errors import UserError

VOCABULARY = Path(__file__).parents[2] / "resources" / "tokenizers" / "bpe_simple_vocab_16e6.txt.gz"


def test_clip_has_its_published_tokens() -> None:
    tokens, merges = clip_vocabulary(VOCABULARY)
    assert len(tokens) == 49408
    assert set(tokens.values()) == set(range(49408))
    words = ["a", "photo", "of", "an", "astronaut", "riding", "horse", "on", "mars"]
    expected = [320, 1125, 539, 550, 18376, 6765, 4558, 525, 7496]
    assert [tokens[f"{word}</w>"] for word in words] == expected
    assert (tokens["<|startoftext|>"], tokens["<|endoftext|>"]) == (49406, 49407)
    assert merges[0] == ("i", "n")
    assert all({left, right, left + right} <= tokens.keys() for left, right in merges)


def test_every_byte_has_a_printable_character() -> None:
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert all(character.isprintable() and not character.isspace() for character in alphabet)
    tokens, merges = byte_vocabulary()
    assert len(tokens) == 514 and not merges


def test_a_cut_vocabulary_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "vocabulary.gz"
    cut.write_bytes(gzip.compress(b"version\ni n\nt h\n"))
    with pytest.raises(UserError, match="found 2 merges; CLIP has 48894"):
        clip_vocabulary(cut)
