"""Progress on standard error: bars on a terminal, one line per state change elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

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
        """Print to standard error."""
        print(text, file=sys.stderr, flush=True)


class BarProgress(Progress):
    """Bars with rich; for terminals."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Show a bar while the block runs."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        columns: Sequence[TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn] = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        with Rich(*columns, console=Console(stderr=True), transient=True) as rich:
            yield _Bar(rich, rich.add_task(description, total=total, state=""))

    def say(self, text: str) -> None:
        """Print to standard error."""
        print(text, file=sys.stderr, flush=True)


class _Bar(Task):
    """A task on a rich bar."""

    def __init__(self, rich: object, identifier: object) -> None:
        from rich.progress import Progress as Rich

        assert isinstance(rich, Rich)
        self.rich = rich
        self.identifier = identifier

    def advance(self, steps: float = 1) -> None:
        self.rich.advance(self.identifier, steps)  # type: ignore[arg-type]

    def update(self, text: str) -> None:
        self.rich.update(self.identifier, state=text)  # type: ignore[arg-type]


def terminal_progress(quiet: bool = False) -> Progress:
    """The display that fits standard error."""
    if quiet:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
