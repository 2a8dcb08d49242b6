"""``harness cancel``: stop a sweep's jobs and let nothing more start."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

from harness.cli.commands.options import add_store, new_verb
from harness.store.store import Store

EXAMPLES = """  harness cancel table1     jobs that wait or run; finished trials stay, harness resume goes on
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "cancel", "Stop a sweep: its jobs or its launcher, and whatever would start next.", EXAMPLES)
    parser.add_argument("sweep", nargs="?", metavar="<sweep>", help="name or its beginning (default: the newest)")
    add_store(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from harness.sweep.launch.queue import launchers_here
    from harness.sweep.manifest import find

    sweep = find(Store.default(arguments.store), arguments.sweep)
    sweep.stop("cancelled")
    jobs = [job for submission in sweep.submissions for job in submission.jobs.get("slurm", [])]
    if jobs:
        from harness.sweep.launch.slurm import cancel

        cancelled = cancel(jobs)
        print(f"{sweep.name}: {len(cancelled)} jobs cancelled")
    for pid in launchers_here(sweep):
        os.kill(pid, signal.SIGINT)
        print(f"{sweep.name}: launcher process {pid} told to stop")
    print(f"nothing more of {sweep.name} starts; go on with: harness resume {sweep.name}")
    return 0
