"""``harness report``: leaderboards of all records."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness.cli.actions.printing import warn
from harness.cli.commands.report import COSTS, DEFAULT, FORMATS
from harness.errors import UsageError, nearest
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.render.terminal import print_boards
from harness.leaderboard.report import markdown, write
from harness.machine.inert import steerable
from harness.machine.terminal import terminal_progress
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table_cache import rows


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    formats = known(arguments.format or ",".join(DEFAULT), FORMATS, "format")
    costs = known(arguments.cost, COSTS, "cost")
    if arguments.out is None and arguments.format is not None and formats != ["md"]:
        raise UsageError(
            f"--format {arguments.format} is written into files", "give their folder with --out, or --format md"
        )
    if arguments.records is None:
        return report(Store.default(arguments.store), arguments, formats, costs)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        warn(merge(store, arguments.records, None).refused)
        return report(store, arguments, formats, costs)


def known(text: str, choices: Sequence[str], what: str) -> list[str]:
    """The parts of a list joined by commas.

    Raises:
        UsageError: One is not among the choices.
    """
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((part for part in chosen if part not in choices), None)
    if wrong is not None or not chosen:
        raise UsageError(f"unknown {what} {wrong or text!r}.{nearest(wrong or '', choices)} Expected {', '.join(choices)}")
    return chosen


def report(store: Store, arguments: argparse.Namespace, formats: list[str], costs: list[str]) -> int:
    """Print or write the report of a store."""
    if arguments.json:
        warn(store.broken())
        print(json.dumps(list(store.records()), indent=1))
        return 0
    progress = terminal_progress(arguments.quiet)
    found = rows(store, progress)
    warn(found.broken)
    if not len(found.table):
        print(f"no records in {store.root} (start with: harness run --method fqvit)", file=sys.stderr)
        return 0
    evidence, over = Evidence(store, found.table), arguments.overwrite
    if arguments.out is None:
        terminal = sys.stdout is not None and sys.stdout.isatty()  # None: the output was closed
        show(found.table, evidence, as_text=arguments.format is not None or not terminal)
        return 0
    for path in write(found.table, evidence, arguments.out, formats, costs, overwrite=over):
        print(path)
    return 0


def show(table: pd.DataFrame, evidence: Evidence, *, as_text: bool) -> None:
    """Print the leaderboards: as Markdown, or as tables for a terminal."""
    if as_text:
        print(markdown(table, evidence))
        return
    console = Console(file=steerable(sys.stdout), highlight=False, markup=False, emoji=False)
    print_boards(console, boards(table, evidence), table, evidence)
