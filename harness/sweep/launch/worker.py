"""The part of a launcher that runs trials: one process, one trial after the other, records whatever happens."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from harness.errors import UsageError
from harness.machine.measure import environment
from harness.run.failures import error_info
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.placeholder_records import unrun
from harness.store.store import Store
from harness.store.sweep_files import PackOrder, SweepRow
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Heart
from harness.sweep.launch.holder import elsewhere, holder
from harness.sweep.manifest import Sweep
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

ELSEWHERE = "running elsewhere"
CPU = torch.device("cpu")  # for records of trials that never reached their device


class Worker:
    """Runs trials of a submission.

    Args:
        sweep: The sweep; of its files only the stop sign is read.
        order: How trials run. Its trials are not looked at.
        heart: Signs of life.
    """

    def __init__(self, sweep: Sweep, order: PackOrder, heart: Heart) -> None:
        self.sweep = sweep
        self.store = sweep.store
        self.heart = heart
        self._order = order
        self._session = Session()

    def run(self, row: SweepRow) -> str:
        """Run one trial, unless it is done or another process is at it.

        Returns:
            The status of its record, or ``running elsewhere``; ``failed`` also where no record can be written.
        """
        trial = row["id"]
        stored = self.store.get(trial)
        if stored is not None and stored["status"] == "done":
            return "done"
        other = holder(self.store, trial, self.heart, _say)
        if other is not None:
            _say(elsewhere(trial, other))
            return ELSEWHERE
        spec = dataclasses.replace(TrialSpec.from_dict(row["spec"]), **self._order["changes"])
        try:
            self.store.make_way(trial)
        except UsageError as error:  # nothing can be written for it, so there is no record either
            _say(f"trial {trial} is not run: {error}")
            return "failed"
        self.store.folder(trial).mkdir(parents=True, exist_ok=True)
        with log_to(log_path(self.store, trial)), self.heart.of(trial):
            record = self._record(trial, spec)
        if record["status"] == "failed" and self._order["fail_fast"]:
            self.sweep.stop(f"fail-fast: trial {trial} failed ({record['error']['kind']})")
        return record["status"]

    def _record(self, trial: str, spec: TrialSpec) -> Record:
        try:
            record, _ = run_trial(spec, self.store, self.heart, share=self._order["share"], session=self._session)
        except Exception as error:  # refused before any work: a file went away, a node differs, a bug in a check
            record = self._refused(trial, spec, error)
        if record["id"] == trial:
            return record
        message = f"planned as {trial}, but weights, data or methods changed since: it is {record['id']} now"
        return self._save(unrun(spec, trial, "failed", "data", message, environment(CPU)))

    def _refused(self, trial: str, spec: TrialSpec, error: Exception) -> Record:
        info = error_info(error)
        record = unrun(spec, trial, "failed", info["kind"], info["message"], environment(CPU))
        record["error"] = info
        traceback.print_exc()
        return self._save(record)

    def _save(self, record: Record) -> Record:
        self.store.save(record)
        return record


def log_path(store: Store, trial: str) -> Path:
    """Where the output of a trial's process goes; attempts follow each other."""
    return store.folder(trial) / "log.txt"


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send this process's output and errors, also those of libraries in C, to a file; a link in its place goes away."""
    if path.is_symlink():
        path.unlink()
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        with suppress(OSError):  # a full disk: what happened is in the record
            sys.stdout.flush()
            sys.stderr.flush()
        for number, saved in enumerate(kept, start=1):
            os.dup2(saved, number)
            os.close(saved)
        os.close(target)


def _say(text: str) -> None:
    print(text, flush=True)


def run_pack(sweep: Sweep, order: PackOrder, heart: Heart) -> dict[str, str]:
    """Run the trials of one pack one after the other; what a job with one GPU does.

    A trial whose process died in this job before it was queued again comes last, so that the others have their turn.

    Returns:
        Status by trial id.
    """
    worker = Worker(sweep, order, heart)
    results: dict[str, str] = {}
    for row in sorted(order["trials"], key=lambda row: _died_here(sweep.store, row["id"], heart)):
        reason = "the job was interrupted" if heart.interrupted else sweep.stopped
        if reason:
            _say(f"no further trial is started: {reason}")
            break
        results[row["id"]] = worker.run(row)
        _say(f"trial {row['id']}: {results[row['id']]}")
    return results


def _died_here(store: Store, trial: str, heart: Heart) -> bool:
    beat = heartbeat.read(store, trial)
    return beat is not None and not beat.interrupted and heart.owns(beat)
