"""``harness compare A B``: two trials, stacks or sets of records."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import Any

from harness.cli.actions.printing import warn
from harness.leaderboard.board.compare import Pair, compare, select
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.inference import Interval
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.store.table_cache import rows


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    store = Store.default(arguments.store)
    found = rows(store, terminal_progress(quiet=True))
    warn(found.broken)
    pairs = compare(
        select(found.table, arguments.first), select(found.table, arguments.second), Evidence(store, found.table)
    )
    if arguments.json:
        print(json.dumps([_plain(asdict(pair)) for pair in pairs], indent=1, allow_nan=False))
    else:
        print("\n\n".join(told(pair, arguments.first, arguments.second) for pair in pairs))
    return 0


def told(pair: Pair, first: str, second: str) -> str:
    """A comparison for people."""
    width = max(len(first), len(second), len("difference, images"))
    lines = [pair.setting, f"  {first:<{width}}  {_accuracy(pair.first)}", f"  {second:<{width}}  {_accuracy(pair.second)}"]
    if pair.difference is not None:
        lines.append(f"  {'difference, images':<{width}}  {_points(pair.difference)} (paired bootstrap)")
    if len(pair.seeds) > 1:
        lines.append(f"  {'difference, seeds':<{width}}  {_points(pair.over_seeds)} (paired t, n={len(pair.seeds)})")
    for seed, test in zip(pair.seeds, pair.tests, strict=False):
        only = f"{test.first} images right only in the first, {test.second} only in the second"
        lines.append(f"  {'McNemar, seed ' + str(seed):<{width}}  p={test.p_value:.3g}: {only}")
    if pair.spread is not None:
        draw, own = math.sqrt(pair.spread.calibration), math.sqrt(pair.spread.method)
        lines.append(
            f"  {'spread over seeds':<{width}}  {draw:.2f} points from the calibration draw, {own:.2f} of their own"
        )
    return "\n".join([*lines, f"  verdict: {pair.verdict}"])


def _accuracy(interval: Interval) -> str:
    return f"{interval.value:.2f} % [{interval.low:.2f}, {interval.high:.2f}] (binomial, Wilson)"


def _points(interval: Interval) -> str:
    return f"{interval.value:+.2f} points [{interval.low:+.2f}, {interval.high:+.2f}]"


def _plain(value: Any) -> Any:
    """JSON has no infinity: an unknown end of an interval is null."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
