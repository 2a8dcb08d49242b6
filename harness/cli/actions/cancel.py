"""``harness cancel``: stop a sweep's jobs and let nothing more start."""

from __future__ import annotations

import argparse
import os
import signal

from harness.errors import DiskError
from harness.machine.disk import explained
from harness.store.store import Store
from harness.sweep.launch.cluster import cancel
from harness.sweep.launch.queue import launchers_here, look
from harness.sweep.manifest import CANCELLED, Sweep, find


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    sweep = find(Store.default(arguments.store), arguments.sweep)
    unwritten = stop(sweep)
    jobs = look(sweep).active()
    if jobs:
        cancel(jobs)
    if jobs or any(submission.jobs.get("slurm") for submission in sweep.submissions):
        print(f"{sweep.name}: {len(jobs)} jobs cancelled")
    for pid in launchers_here(sweep):
        os.kill(pid, signal.SIGINT)
        print(f"{sweep.name}: launcher process {pid} told to stop")
    if unwritten is not None:
        raise unwritten
    print(f"nothing more of {sweep.name} starts; go on with: harness resume {sweep.name}")
    return 0


def stop(sweep: Sweep) -> DiskError | None:
    """Let no further trial start; where that cannot be noted, what to say once the jobs are cancelled all the same."""
    try:
        sweep.stop(CANCELLED)
    except OSError as error:
        return DiskError(f"jobs were told to stop, but that {sweep.name} is cancelled cannot be noted: {explained(error)}")
    return None
