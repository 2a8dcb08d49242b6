"""Progress on standard error: bars on a terminal, one line per state change elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Rich

from harness.machine.inert import steerable
from harness.machine.progress import LineProgress, Progress, Task
from harness.text import inert


class BarProgress(Progress):
    """Bars with rich; for terminals."""

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Show a bar while the block runs."""
        columns: Sequence[TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn] = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}", markup=False),
        )
        with Rich(*columns, console=Console(file=steerable(sys.stderr)), transient=True) as rich:
            yield _Bar(rich, rich.add_task(inert(description), total=total, state=""))

    def say(self, text: str) -> None:
        """Print to standard error."""
        print(inert(text), file=sys.stderr, flush=True)


class _Bar(Task):
    """A task on a rich bar."""

    def __init__(self, rich: Rich, identifier: TaskID) -> None:
        self.rich = rich
        self.identifier = identifier

    def advance(self, steps: float = 1) -> None:
        self.rich.advance(self.identifier, steps)

    def update(self, text: str) -> None:
        self.rich.update(self.identifier, state=inert(text))


def terminal_progress(quiet: bool = False) -> Progress:
    """The display that fits standard error."""
    if quiet:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
