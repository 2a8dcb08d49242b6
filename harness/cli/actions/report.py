"""``harness report``: leaderboards of all records."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness.cli.actions.printing import plain, warn
from harness.cli.actions.reading import START, store_to_read
from harness.cli.commands.report import COSTS, DEFAULT, FORMATS, METRICS
from harness.errors import UsageError, nearest
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.history import moves, moves_markdown
from harness.leaderboard.board.latencies import Latencies, latencies
from harness.leaderboard.render.bibtex import bibtex
from harness.leaderboard.render.terminal import print_boards
from harness.leaderboard.report import markdown, write
from harness.machine.inert import steerable
from harness.machine.terminal import terminal_progress
from harness.store.contribution import header_of
from harness.store.exchange import merge
from harness.store.latencies import all_latencies
from harness.store.store import Store
from harness.store.table_cache import rows


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    formats = known(arguments.format or ",".join(DEFAULT), FORMATS, "format")
    costs = known(arguments.cost, COSTS, "cost")
    metrics = known(arguments.metrics, METRICS, "metric") if arguments.metrics is not None else []
    if arguments.out is None and arguments.format is not None and formats != ["md"]:
        raise UsageError(
            f"--format {arguments.format} is written into files", "give their folder with --out, or --format md"
        )
    with contextlib.ExitStack() as stack:
        store = _chosen(arguments, stack)
        if arguments.against is None:
            return report(store, arguments, formats, costs, metrics)
        if arguments.out is not None:
            raise UsageError("--against prints what moved and writes no files", "leave out --out")
        return history(store, _opened(arguments.against, stack), arguments)


def _chosen(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Store:
    """The records that were asked for; submissions are added to a copy, never to the store."""
    own = None if arguments.records is not None else store_to_read(arguments.store)
    if own is not None and arguments.submissions is None:
        return own
    submissions = _submissions(arguments.submissions)
    store = _opened(arguments.records if own is None else own.root, stack)
    for path in submissions:
        by = str(header_of(path).get("by", path.stem))
        warn(merge(store, path, by).refused)
    return store


def _submissions(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is no folder of submissions", "give the folder where files of harness submit lie")
    return sorted(folder.glob("*.parquet"))


def _opened(path: Path, stack: contextlib.ExitStack) -> Store:
    """The records of a file or another store, in a store of their own until the stack is left."""
    store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    warn(merge(store, path, None).refused)
    return store


def history(store: Store, older: Store, arguments: argparse.Namespace) -> int:
    """Print what moved since older records."""
    progress = terminal_progress(arguments.quiet)
    before, now = rows(older, progress), rows(store, progress)
    warn(now.broken)
    found = moves(before.table, now.table, Evidence(older, before.table), Evidence(store, now.table))
    if arguments.json:
        print(json.dumps([plain({**asdict(one), "verdict": one.verdict}) for one in found], indent=1, allow_nan=False))
    else:
        print(moves_markdown(found, str(arguments.against)))
    return 0


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


def report(
    store: Store, arguments: argparse.Namespace, formats: list[str], costs: list[str], metrics: Sequence[str] = ()
) -> int:
    """Print or write the report of a store."""
    if arguments.json:
        warn(store.broken())
        print(json.dumps(list(store.records()), indent=1))
        return 0
    progress = terminal_progress(arguments.quiet)
    found = rows(store, progress)
    warn(found.broken)
    if not len(found.table):
        print(f"no records in {store.root} ({START})", file=sys.stderr)
        return 0
    if arguments.cite:
        print(bibtex(found.table))
        return 0
    evidence, over = Evidence(store, found.table, _measured(store, found.table, arguments.machine)), arguments.overwrite
    if arguments.out is None:
        terminal = sys.stdout is not None and sys.stdout.isatty()  # None: the output was closed
        show(found.table, evidence, as_text=arguments.format is not None or not terminal or bool(metrics), metrics=metrics)
        return 0
    for path in write(found.table, evidence, arguments.out, formats, costs, overwrite=over, metrics=metrics):
        print(path)
    return 0


def _measured(store: Store, table: pd.DataFrame, machine: str | None) -> Latencies:
    """The latencies of the machine that was asked for; files in their place that are none are named."""
    found, broken = all_latencies(store, table["id"])
    warn(broken, "measurement")
    return latencies(found, machine)


def show(table: pd.DataFrame, evidence: Evidence, *, as_text: bool, metrics: Sequence[str] = ()) -> None:
    """Print the leaderboards: as Markdown, or as tables for a terminal."""
    if as_text:
        print(markdown(table, evidence, metrics))
        return
    console = Console(file=steerable(sys.stdout), highlight=False, markup=False, emoji=False)
    print_boards(console, boards(table, evidence), table, evidence)
