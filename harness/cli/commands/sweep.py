"""``harness sweep``: run a grid of trials, here or on SLURM."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any, TextIO

from harness.cli.commands.grid_options import Asked, add_grid, plan_of
from harness.cli.commands.launching import How, launch
from harness.cli.commands.options import new_verb
from harness.cli.commands.plan import lines, summary
from harness.machine.progress import terminal_progress
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.sweep.manifest import Sweep

EXAMPLES = """  harness sweep --experiment smoke
  harness sweep --method fqvit+omse+biascorr+evolq --ladder --bits w8a8,w4a8,w3a8 --seed 'range(3)'
  harness sweep --method fqvit,fqvit+omse --model 'deit_*' --data /path/to/imagenet --calib 128,512,1000 --partition gpu
  harness sweep experiment=table1 launcher=slurm launcher.partition=gpu 'launcher.setup=[module load cuda]'
see also: harness plan (the same options; does nothing), harness status, harness resume, harness cancel, harness logs
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "sweep", "Run a grid of trials; what is done already is not done again.", EXAMPLES)
    add_grid(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb; exit code 1 when a trial failed."""
    store = Store.default(arguments.store)
    progress = terminal_progress(arguments.quiet)
    _, code = run_grid(arguments, store, plan_of(arguments, store, progress), sys.stdout)
    return code


def run_grid(arguments: argparse.Namespace, store: Store, asked: Asked, told: TextIO) -> tuple[Sweep, int]:
    """Create the sweep of a plan, tell of it (unless results are for machines) and launch it; returns the exit code too."""
    from harness.sweep.manifest import create

    store.check_writable()
    composed, plan = asked.composed, asked.plan
    sweep = create(store, composed.name, composed.about, plan, composed.launcher, shlex.join(["harness", *sys.argv[1:]]))
    if not arguments.json:
        print("\n".join([f"sweep         {sweep.name}", *lines(plan, summary(asked))]), file=told, flush=True)
    how = How(composed.share, composed.fail_fast, arguments.quiet, arguments.json, {})
    return sweep, launch(sweep, plan, asked.options, how)
