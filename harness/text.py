"""Small text helpers that both the stack grammar and the command line need; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator


def split_outside(text: str, separator: str = ",") -> Iterator[str]:
    """Split at the separators that are outside parentheses."""
    start = depth = 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == separator and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def quoted(text: str) -> str:
    """A text in single quotes, as Hydra's grammar reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
