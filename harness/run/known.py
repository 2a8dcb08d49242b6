"""What is equal between the trials of a plan, worked out once: checked stacks, settings, widths, preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from harness.errors import HarnessError

T = TypeVar("T")


class Known:
    """Small results by what they depend on, kept for as long as this lives.

    For planning only: a stack that is shared between trials must not be run, because a method may keep a state.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, object] = {}
        self._errors: dict[Hashable, HarnessError] = {}

    def of(self, kind: str, key: Hashable, compute: Callable[[], T]) -> T:
        """The result of ``compute``, from memory when it was computed for the same key before; likewise its error.

        Args:
            kind: What it is.
            key: Everything that the result depends on.
            compute: Makes it.

        Raises:
            HarnessError: What ``compute`` raises.
        """
        if (kind, key) in self._values:
            return self._values[kind, key]  # type: ignore[return-value]
        value = self.passing(kind, key, compute)
        self._values[kind, key] = value
        return value

    def passing(self, kind: str, key: Hashable, compute: Callable[[], T]) -> T:
        """Like ``of`` for what is too large to keep: only an error is remembered.

        Raises:
            HarnessError: What ``compute`` raises, or raised for the same key before.
        """
        if (kind, key) in self._errors:
            raise self._errors[kind, key].with_traceback(None)
        try:
            return compute()
        except HarnessError as error:
            self._errors[kind, key] = error
            raise
