"""``harness logs``: what a trial's process printed, and why it failed."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path

from harness.errors import UsageError
from harness.store.store import Store
from harness.sweep.launch.cluster import log_files
from harness.sweep.manifest import sweeps


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    store = Store.default(arguments.store)
    trial = store.find_trial(arguments.trial)
    log = store.folder(trial) / "log.txt"
    record = store.stored(trial)
    outputs = [log] if log.is_file() else []
    outputs += _job_files(store, trial) if record is None or record["status"] != "done" else []
    for path in outputs:
        print(f"==> {path}", file=sys.stderr)
        _print_tail(path, arguments.lines)
    if record is not None and record["status"] != "done":
        error = record["error"]
        print(f"==> record: {record['status']} ({error['kind']}): {error['message']}", file=sys.stderr)
        print(error.get("traceback", "").strip())
    if not outputs and record is None:
        raise UsageError(f"trial {trial} has no log in {store.root} yet")
    return 0


def _job_files(store: Store, trial: str) -> list[Path]:
    """The output of the cluster's jobs that held the trial."""
    found: list[Path] = []
    for sweep in sweeps(store):
        for submission in sweep.submissions:
            jobs = submission.jobs.get("slurm", [])
            held = [job for job, pack in zip(jobs, submission.packs, strict=False) if trial in pack]
            if held:
                found += [path for job in held for path in log_files(submission, job) if path.stat().st_size]
    return found


def _print_tail(path: Path, lines: int) -> None:
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in deque(handle, maxlen=lines or None):
            print(line.rstrip("\n"))
