"""``harness sweep``: run a grid of trials, here or on SLURM."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import Any

from harness.progress import terminal_progress
from harness.store import Store
from harness.verbs.grid_options import add_grid, plan_of
from harness.verbs.options import new_verb
from harness.verbs.plan import lines, summary

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
    asked = plan_of(arguments, store, progress)
    from harness.launch.start import start
    from harness.status import states_of
    from harness.sweep import create

    store.check_writable()
    composed, plan = asked.composed, asked.plan
    sweep = create(store, composed.name, composed.about, plan, composed.launcher, shlex.join(["harness", *sys.argv[1:]]))
    if not arguments.json:
        print("\n".join([f"sweep         {sweep.name}", *lines(plan, summary(asked))]))
    waiting = {state.id for state in states_of(sweep) if state.state in ("queued", "running")}
    cells = [cell for cell in plan.to_run if cell.id not in waiting]
    if cells:
        started = start(
            sweep,
            plan,
            asked.options,
            cells=cells,
            share=composed.share,
            fail_fast=composed.fail_fast,
            quiet=arguments.quiet,
        )
        jobs, submission = list(started.jobs), started.submission
    else:
        jobs, submission = [], 0
    return report(sweep, jobs, submission, len(waiting), as_json=arguments.json)


def report(sweep: Any, jobs: list[str], submission: int, waiting: int, *, as_json: bool) -> int:
    """Say what was started and how the sweep stands; the exit code."""
    from harness.status import counts, kinds, states_of
    from harness.verbs.status import sentence

    states = states_of(sweep)
    if as_json:
        facts = {"sweep": sweep.name, "submission": submission or None, "jobs": jobs, "states": counts(states)}
        print(json.dumps({**facts, "failed_kinds": kinds(states)}, indent=1))
    elif jobs:
        print(f"submitted     {len(jobs)} jobs: {jobs[0]} to {jobs[-1]}\nfollow        harness status {sweep.name}")
    elif not submission:
        text = f"{waiting} trials are queued or running already" if waiting else "every trial has its record"
        print(f"nothing to do: {text}; {sentence(states)}")
    else:
        print(f"ended         {sentence(states)}")
    return 1 if any(state.state == "failed" for state in states) and submission and not jobs else 0
