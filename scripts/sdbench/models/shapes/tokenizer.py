"""The tokenizer of `shapes`: CLIP's byte-pair encoding with the words of the captions."""

from sdbench.models.shapes.scenes import descriptions
from sdbench.models.tokenizer import byte_alphabet

from transformers import CLIPTokenizer

LENGTH = 16
"""Tokens of a caption, padding included."""


def build_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer: every byte is a token, so is every word that occurs in a caption.

    A caption takes one token a word; any other text is spelled in bytes and cut at `LENGTH`.
    """
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(character + "</w>" for character in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in sorted({word for what in descriptions() for word in what.caption.split()}):
        left, rest = word[0], [*word[1:-1], word[-1] + "</w>"]
        if len(word) == 1:
            continue
        for right in rest:
            if (left, right) not in merges:
                merges.append((left, right))
                tokens.append(left + right)
            left += right
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)
