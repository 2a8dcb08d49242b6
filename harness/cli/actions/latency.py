"""``harness latency``: how long an exported file takes beside its float32 model."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from harness.cli.actions.exported import Pair, pair_of
from harness.cli.actions.listing import print_table
from harness.cli.actions.printing import printable
from harness.cli.commands.latency import MOST_BATCH, MOST_ROUNDS, MOST_THREADS
from harness.deploy.latency import Asked, measure
from harness.errors import UsageError
from harness.machine.disk import explained
from harness.machine.terminal import terminal_progress
from harness.store.latencies import save_latency
from harness.store.store import Store
from harness.trial.latency import Latency, place_of

OF_NO_TRIAL = "0" * 16  # what a measurement that is kept nowhere says


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    asked = _asked(arguments)
    store, progress = Store.default(arguments.store), terminal_progress(arguments.quiet)
    with tempfile.TemporaryDirectory() as folder:
        pair = pair_of(arguments, store, Path(folder), progress)
        found = measure(pair.quantized, pair.float32, pair.trial or OF_NO_TRIAL, asked, progress.say)
    kept = _kept(store, found) if pair.trial is not None else None
    if arguments.json:
        facts = {**found, "trial": pair.trial, "kept": None if kept is None else str(kept)}
        print(json.dumps(facts, indent=1, allow_nan=False))
    else:
        _show(found, pair, kept)
    if found["quiet"] is False:
        others = f"other processes kept {found['others']:.2f} cores busy"
        print(f"warning: the machine was busy: {others}; measure again when it is quiet", file=sys.stderr)
    return 0


def _asked(arguments: argparse.Namespace) -> Asked:
    """What to measure, within bounds.

    Raises:
        UsageError: A number is outside of what makes sense.
    """
    batches = tuple(_whole(part.strip(), "--batch", 1, MOST_BATCH) for part in arguments.batch.split(","))
    if len(set(batches)) < len(batches):
        raise UsageError(f"--batch {arguments.batch} names a size twice")
    return Asked(
        runtime=arguments.runtime,
        threads=_whole(arguments.threads, "--threads", 1, MOST_THREADS),
        batches=batches,
        rounds=_whole(arguments.rounds, "--rounds", 1, MOST_ROUNDS),
        warm_up=_whole(arguments.warm_up, "--warm-up", 0, MOST_ROUNDS),
        seed=_whole(arguments.seed, "--seed", 0, 2**63 - 1),
    )


def _whole(given: str | int, option: str, least: int, most: int) -> int:
    try:
        value = int(given)
    except ValueError:
        raise UsageError(f"{option} has {given!r}, expected a whole number from {least} to {most:,}") from None
    if not least <= value <= most:
        raise UsageError(f"{option} has {value}, expected {least} to {most:,}")
    return value


def _kept(store: Store, found: Latency) -> Path:
    try:
        return save_latency(store, found)
    except OSError as error:
        raise UsageError(f"the measurement cannot be written: {explained(error)}") from error


def _show(found: Latency, pair: Pair, kept: Path | None) -> None:
    """The measurement for people."""
    print(printable(f"{pair.about}\non {place_of(found)}{_quietness(found)}"))
    print_table(
        [
            {
                "batch": str(one["batch"]),
                "float32 ms": f"{one['float32_ms']:.3f}",
                "quantized ms": f"{one['quantized_ms']:.3f}",
                "ratio": f"{one['ratio']:.3f}",
                "95 %": f"{one['low']:.3f} to {one['high']:.3f}",
                "speed-up": f"{1 / one['ratio']:.2f}",
            }
            for one in found["batches"]
        ]
    )
    print(f"bytes    {found['float32']['bytes']:,} float32, {found['quantized']['bytes']:,} quantized")
    print(printable(f"kept     {kept if kept is not None else 'nowhere: ' + pair.why_not_kept}"))


def _quietness(found: Latency) -> str:
    if found["quiet"] is None:
        return ""
    return ", quiet machine" if found["quiet"] else f", busy machine ({found['others']:.2f} cores)"
