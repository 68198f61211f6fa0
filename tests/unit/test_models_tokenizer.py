"""CLIP's vocabulary, and the one of bytes."""

import gzip
from pathlib import Path

import pytest

from sdbench.models.tokenizer import byte_alphabet, byte_vocabulary, clip_vocabulary
from sdbench.runtime.errors import UserError


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
