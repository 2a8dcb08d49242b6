"""Standard output and error that show text and obey none of it: what files and plugins say cannot steer a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from harness.text import inert


class InertStream:
    """A text stream that writes control characters as their numbers; everything else is the stream's.

    Args:
        stream: Where it is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what :func:`harness.text.inert` makes of a text."""
        self.stream.write(inert(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def steerable(stream: TextIO) -> TextIO:
    """The stream below, for a display that moves the cursor itself; its texts have to be inert one by one."""
    return stream.stream if isinstance(stream, InertStream) else stream


@contextmanager
def inert_output() -> Iterator[None]:
    """Inside, whatever is printed is only shown; characters that the terminal's encoding lacks are written as numbers."""
    before = sys.stdout, sys.stderr
    errors = [_errors(stream, "backslashreplace") for stream in before]
    sys.stdout, sys.stderr = (_inert(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, kept in zip(before, errors, strict=True):
            _errors(stream, kept)


def _inert(stream: TextIO) -> TextIO:
    """The stream made inert; None, as Python gives a process whose output is closed, stays None."""
    return stream if stream is None else cast(TextIO, InertStream(steerable(stream)))


def _errors(stream: TextIO, errors: str | None) -> str | None:
    """Say what becomes of characters that cannot be encoded; returns what was said before."""
    below = steerable(stream)
    if errors is None or not isinstance(below, io.TextIOWrapper) or below.closed:
        return None
    before = below.errors
    below.reconfigure(errors=errors)
    return before
