"""What long work tells of its progress: nothing, or one line per state change; ``harness/machine/terminal.py`` has bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from harness.text import inert

T = TypeVar("T")


class Task:
    """One running task; this base class is silent."""

    def advance(self, steps: float = 1) -> None:
        """Report ``steps`` finished steps."""

    def update(self, text: str) -> None:
        """Show a short state, for example the loss."""

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items and advance behind each."""
        for item in items:
            yield item
            self.advance()


class Progress:
    """Progress display; this base class is silent."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """A task of ``total`` steps for the length of a ``with`` block."""
        yield Task()

    def stage(self, name: str) -> None:
        """A trial enters a stage."""

    def interruptible(self, save: Callable[[], None]) -> None:
        """Tell what to call when the process is asked to stop during the stage that follows."""

    def say(self, text: str) -> None:
        """One line about a state change."""


class LineProgress(Progress):
    """One line when a stage or a task starts; for logs."""

    def stage(self, name: str) -> None:
        """Name the stage."""
        self.say(f"{time.strftime('%H:%M:%S')} {name}")

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Name the task once."""
        self.say(f"{description} ({total:g} steps)")
        yield Task()

    def say(self, text: str) -> None:
        """Print to standard error; a log on a full disk must not end the work."""
        with suppress(OSError):
            print(inert(text), file=sys.stderr, flush=True)
