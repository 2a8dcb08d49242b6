"""Small text helpers that both the stack grammar and the command line need; imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError

LONGEST_SHOWN = 80
LARGEST_SIZE = 2**63 - 1
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# What spreadsheets read as the beginning of a formula, in both widths.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def inert(text: str) -> str:
    """Text that a terminal only shows: a character that is not printable stands as its number, as JSON would write it.

    Line feeds and tabs stay. Escape sequences, carriage returns, marks that turn the direction of reading, invisible
    characters and bytes of file names that are not Unicode do not. In JSON the result still means the same text.
    """
    return _SUSPECT.sub(_numbered, text)


def _numbered(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def spreadsheet(text: str) -> str:
    """Text for a cell of a CSV file: never a formula, no control characters; what is a number stays one.

    A text that a spreadsheet would compute gets an apostrophe in front, which spreadsheets read as *this is text*.
    """
    formula = text.lstrip(" \n").startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{inert(text)}" if formula else inert(text)


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


def user_path(text: str) -> Path:
    """A path as it was typed, with ``~`` for a home folder.

    Raises:
        UsageError: It names the home of a user that there is not, or has a zero byte.
    """
    if "\0" in text:
        raise UsageError(f"path {shortened(text)!r} is not possible: it has a zero byte", "expected a path without it")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"path {shortened(text)!r} is not possible: there is no such user", "expected a path, with ~ for your own home"
        ) from error


def parse_size(text: str, what: str = "memory") -> int | None:
    """Bytes of a text such as ``8GB``, ``500M`` or ``2GiB``; None for ``auto``. Units are powers of 1,024.

    Args:
        text: What was given.
        what: It is the size of.

    Raises:
        UsageError: Not understood.
    """
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{what} {text!r} not understood: expected a size such as 8GB or 500MB, or auto")
    size = float(match[1]) * UNITS[match[2].upper()]
    if size > LARGEST_SIZE:
        raise UsageError(f"{what} {shortened(text)!r} is not possible: expected less than {LARGEST_SIZE // UNITS['T']:,}T")
    return int(size)


def shortened(text: str) -> str:
    """The beginning of what was given, where all of it would hide the message."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
