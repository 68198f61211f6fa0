"""Vocabularies of tokenizers: CLIP's own, one of single bytes, and what stands for others."""

import gzip
import itertools
import string
from pathlib import Path
from typing import NamedTuple

from sdbench.runtime.errors import UserError

CLIP_MERGES = 48894
"""Merges that CLIP uses of those in its file: 49,152 less the 256 bytes and the 2 marks."""
CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""What a prompt stands in for a model that chats; that of Qwen3 for one message of a user."""
CHAT_MARKS = ("<|im_start|>", "<|im_end|>")


class Vocabulary(NamedTuple):
    """What a byte-pair tokenizer knows: the number of each token, and its merges by rank."""

    tokens: dict[str, int]
    merges: list[tuple[str, str]]


def byte_alphabet() -> list[str]:
    """Return the 256 printable characters that stand for the bytes, in CLIP's order.

    Source: `bytes_to_unicode` of openai/CLIP, simple_tokenizer.py.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(others)]


def make_vocabulary(merges: list[tuple[str, str]]) -> Vocabulary:
    """Return the vocabulary of all bytes, within a word and at its end, and of what is merged."""
    alphabet = byte_alphabet()
    at_end = (character + "</w>" for character in alphabet)
    tokens = [*alphabet, *at_end, *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    return Vocabulary({token: number for number, token in enumerate(tokens)}, merges)


def byte_vocabulary() -> Vocabulary:
    """Return the vocabulary in which every byte is a token: 514 of them, and no merges."""
    return make_vocabulary([])


def clip_vocabulary(path: Path) -> Vocabulary:
    """Return CLIP's vocabulary of 49,408 tokens from its file, bpe_simple_vocab_16e6.txt.gz.

    Source: `SimpleTokenizer` of openai/CLIP, simple_tokenizer.py.

    Raises:
        UserError: if the file holds fewer merges than CLIP uses.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 1 + CLIP_MERGES]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines) if right]
    if len(merges) != CLIP_MERGES:
        raise UserError(
            f"{path}: found {len(merges)} merges; CLIP has {CLIP_MERGES}: restore the file from git"
        )
    return make_vocabulary(merges)


def made_up_pieces(size: int) -> list[tuple[str, float]]:
    """Return `size` pieces of a SentencePiece tokenizer with their scores: letters, made-up words.

    T5's own vocabulary cannot be had without a download. This one has as many pieces and numbers
    them otherwise, which changes nothing in time and memory: a prompt is padded to a fixed length.
    """
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    characters = [(chr(code), -5.0) for code in range(ord("!"), ord("~") + 1)]
    letters = itertools.product(string.ascii_lowercase, repeat=4)
    words = (("▁" + "".join(word), -9.0) for word in letters)
    return list(itertools.islice(itertools.chain(marks, characters, words), size))
