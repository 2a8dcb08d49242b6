"""``harness logs``: what a trial's process printed, and why it failed."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path
from typing import Any

from harness.cli.commands.options import add_store, new_verb
from harness.errors import UsageError
from harness.store.store import Store

EXAMPLES = """  harness logs 3f9c             a trial's id or its beginning
  harness logs 3f9c --lines 0   the whole log
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "logs", "Print a trial's log and, if it failed, the reason with its traceback.", EXAMPLES)
    parser.add_argument("trial", metavar="<trial>", help="id or its beginning")
    parser.add_argument("--lines", type=int, default=60, metavar="<n>", help="last lines; 0 for all (default: 60)")
    add_store(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    store = Store.default(arguments.store)
    trial = store.find_trial(arguments.trial)
    log = store.folder(trial) / "log.txt"
    record = store.get(trial)
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
    from harness.sweep.manifest import sweeps

    found: list[Path] = []
    for sweep in sweeps(store):
        for submission in sweep.submissions:
            jobs = submission.jobs.get("slurm", [])
            held = [job for job, pack in zip(jobs, submission.packs, strict=False) if trial in pack]
            if held:
                from harness.sweep.launch.slurm import log_files

                found += [path for job in held for path in log_files(submission, job) if path.stat().st_size]
    return found


def _print_tail(path: Path, lines: int) -> None:
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in deque(handle, maxlen=lines or None):
            print(line.rstrip("\n"))
