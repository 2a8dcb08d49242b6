"""What a person sees while the local launcher works: a live table on a terminal, one line per finished trial elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.machine.inert import steerable
from harness.sweep.heartbeat import Beat
from harness.text import inert
from harness.trial.record import Record, headline
from harness.trial.spec import TrialSpec

Row = tuple[int, TrialSpec, Beat | None, float]


def label(spec: TrialSpec) -> str:
    """A trial in a few words."""
    return f"{spec.model} {spec.bits} {spec.method} c{spec.calib} s{spec.seed}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Show:
    """Shows the progress of a sweep on standard error; a context manager.

    Args:
        quiet: Show nothing but failures.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(file=steerable(sys.stderr), highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._quiet = quiet
        self._started = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Show:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def running(self, rows: Sequence[Row], done: int, total: int) -> None:
        """What runs now."""
        if self._live is None:
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("worker", "trial", "stage", "time"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        for index, spec, beat, seconds in rows:
            stage = Text(inert(beat.progress if beat else "start"))
            table.add_row(str(index), Text(inert(label(spec))), stage, duration(seconds))
        spent = time.monotonic() - self._started
        rest = f", about {duration(spent / done * (total - done))} left" if done else ""
        self._live.update(Group(table, Text(f"{done} of {total} trials ended in {duration(spent)}{rest}")), refresh=True)

    def ended(self, spec: TrialSpec, trial: str, status: str, record: Record | None, log: Path) -> None:
        """A trial ended: one line."""
        if status == "failed" and record is not None and record["status"] == "failed":
            reason = " ".join(record["error"]["message"].split())[:160]
            self._say(f"failed  {trial}  {label(spec)}: {record['error']['kind']}: {reason} (log: {log})")
        elif not self._quiet and record is not None and record["status"] == "done":
            self._say(f"done    {trial}  {label(spec)}: {headline(record)} in {record['seconds']:.1f} s")
        elif not self._quiet:
            self._say(f"{status}  {trial}  {label(spec)}")

    def _say(self, text: str) -> None:
        self._console.print(Text(inert(text)))
