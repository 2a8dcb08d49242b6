"""What several commands print alike."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from harness.store.reading import BrokenFile


def printable(text: str) -> str:
    """A text that any output in UTF-8 takes: bytes of file names that are no text are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def warn(broken: Iterable[BrokenFile], what: str = "record") -> None:
    """Name files that are no records, or not ``what`` else they should be, on standard error."""
    for problem in broken:
        print(f"warning: {problem.path} is no {what}: {problem.reason}", file=sys.stderr)


def plain(value: Any) -> Any:
    """A value for JSON, which has no infinity: an unknown end of an interval is null."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
