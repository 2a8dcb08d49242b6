"""``harness sweep``: run a grid of trials, here or on SLURM."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TextIO

from harness.cli.actions.launching import How, launch
from harness.cli.actions.plan import lines, summary
from harness.cli.actions.planning import Asked, plan_of
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.sweep.manifest import Sweep, create, remember_trust


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a trial failed."""
    store = Store.default(arguments.store, trust_imported=arguments.trust_imported)
    progress = terminal_progress(arguments.quiet)
    _, code = run_grid(arguments, store, plan_of(arguments, store, progress), sys.stdout)
    return code


def run_grid(arguments: argparse.Namespace, store: Store, asked: Asked, told: TextIO) -> tuple[Sweep, int]:
    """Create the sweep of a plan, tell of it (unless results are for machines) and launch it; returns the exit code too."""
    store.check_writable()
    composed, plan = asked.composed, asked.plan
    sweep = create(store, composed.name, composed.about, plan, composed.launcher, shlex.join(["harness", *sys.argv[1:]]))
    remember_trust(sweep)
    if not arguments.json:
        print("\n".join([f"sweep         {sweep.name}", *lines(plan, summary(asked))]), file=told, flush=True)
    how = How(composed.share, composed.fail_fast, arguments.quiet, arguments.json, {})
    return sweep, launch(sweep, plan, asked.options, how)
