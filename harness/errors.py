"""The project's errors. Each has a ``kind`` that records keep; a ``UsageError`` is one line on the terminal and exit 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class HarnessError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        kind: What a failure record calls it: oom, timeout, preempted, incompatible, diverged, bug, usage, data, model,
            disk.
        message: What was given and what was expected.
        hint: How to mend it; may be empty.
    """

    kind = "bug"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(HarnessError):
    """A mistake of the user: printed without traceback, exit code 2."""

    kind = "usage"


class DataError(UsageError):
    """Images or labels that are missing, unreadable or do not fit the model."""

    kind = "data"


class ModelError(UsageError):
    """A model name or weights file that cannot be used."""

    kind = "model"


class DiskError(UsageError):
    """A disk that is full, read-only or may not be written to."""

    kind = "disk"


class CaptureError(UsageError):
    """A network that cannot be captured, or an operation that is not understood."""

    kind = "incompatible"


class SiteError(UsageError):
    """Widths for sites that a network does not have."""

    kind = "incompatible"


class IncompatibleError(UsageError):
    """A method that cannot do what a trial asks of it."""

    kind = "incompatible"


class FormatError(UsageError, ValueError):
    """A number format that is not known, or whose state would be lost. A kept state that holds one is computed anew."""

    kind = "incompatible"


class DivergedError(HarnessError):
    """A loss or logits that are not finite."""

    kind = "diverged"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a stack, and its fix."""

    text: str
    fix: str

    def __str__(self) -> str:
        """Both as one sentence; a question, such as ``Did you mean evolq?``, stays one."""
        joined = " Fix: " if self.text.endswith("?") else "; fix: "
        return f"{self.text.removesuffix('.')}{joined}{self.fix}"


class StackError(UsageError):
    """All problems of a stack at once.

    Attributes:
        problems: In the order of the stack's steps.
    """

    def __init__(self, stack: str, problems: list[Problem]) -> None:
        self.stack = stack
        self.problems = problems
        lines = [f"stack {stack!r} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:"]
        lines += [f"  - {problem}" for problem in problems]
        super().__init__("\n".join(lines))


def nearest(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean evolq?`` for the closest of ``choices``, or an empty string when nothing is close."""
    matches = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""
