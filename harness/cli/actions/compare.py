"""``harness compare A B``: two trials, stacks or sets of records."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from harness.cli.actions.printing import plain, warn
from harness.cli.actions.reading import START, store_to_read
from harness.errors import UsageError
from harness.leaderboard.board.compare import Pair, compare
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.selection import select
from harness.leaderboard.stats.difference import Estimate
from harness.leaderboard.stats.inference import Interval
from harness.machine.terminal import terminal_progress
from harness.store.table_cache import rows


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    store = store_to_read(arguments.store)
    found = rows(store, terminal_progress(quiet=True))
    warn(found.broken)
    if not len(found.table):
        raise UsageError(f"no records in {store.root}", START)
    pairs = compare(
        select(found.table, arguments.first), select(found.table, arguments.second), Evidence(store, found.table)
    )
    if arguments.json:
        print(json.dumps([plain(asdict(pair)) for pair in pairs], indent=1, allow_nan=False))
    else:
        print("\n\n".join(told(pair, arguments.first, arguments.second) for pair in pairs))
    return 0


def told(pair: Pair, first: str, second: str) -> str:
    """A comparison for people."""
    width = max(len(first), len(second), len("difference"))
    lines = [pair.setting, f"  {first:<{width}}  {_accuracy(pair.first)}", f"  {second:<{width}}  {_accuracy(pair.second)}"]
    if pair.difference is not None:
        found = pair.difference
        parts = [f"{found.from_images:.2f} from images"]
        parts += [f"{found.from_seeds:.2f} from {found.seeds} seeds"] if found.from_seeds is not None else []
        lines.append(f"  {'difference':<{width}}  {_points(found.interval)}; standard error {', '.join(parts)}")
        lines.append(f"  {'':<{width}}  {found.discordant} images, over all seeds, that only one of the two gets right")
    return "\n".join([*lines, f"  verdict: {pair.verdict}"])


def _accuracy(found: Estimate) -> str:
    interval = found.interval
    return f"{interval.value:.2f} % [{interval.low:.2f}, {interval.high:.2f}]"


def _points(interval: Interval) -> str:
    return f"{interval.value:+.2f} points [{interval.low:+.2f}, {interval.high:+.2f}]"
