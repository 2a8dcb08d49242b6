"""Trials whose process died: what SLURM says of the job becomes their record.

A trial that was running has a heartbeat with its job. When SLURM says that this job has ended, and the process neither left
a record nor was told to stop, the process died. Nothing is concluded while the job may still run, nor from silence.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from harness.errors import UsageError
from harness.store.placeholder_records import unrun
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat
from harness.sweep.launch.cluster import JobState, log_files
from harness.sweep.manifest import Planned, Sweep
from harness.trial.record import Kind, Record

log = logging.getLogger(__name__)

KIND_OF_STATE: dict[str, Kind] = {
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node_fail",
    "BOOT_FAIL": "node_fail",
}
# What SLURM's step daemon writes to a job's errors when memory ran out; the state does not say so on every cluster.
MEMORY = re.compile(r"oom[-_ ]kill|exceeded (job |step )?memory limit|OOM Killed", re.IGNORECASE)
TAIL_BYTES = 8192
HINTS: dict[Kind, str] = {
    "oom": "give it more memory: --retry oom --set launcher.memory_gb=<GB>",
    "timeout": "give it more time: --retry timeout --set launcher.timeout_min=<minutes>",
}


def death_of(
    sweep: Sweep, planned: Planned, record: Record | None, beat: Beat | None, ended: JobState | None
) -> Record | None:
    """The record of a trial whose process died; None when it did not, or has its record already.

    Args:
        sweep: The sweep.
        planned: The trial.
        record: Its record, if it has one.
        beat: Its last heartbeat.
        ended: The final state of the heartbeat's job; None when that job may still run or is not known.
    """
    if beat is None or beat.interrupted or ended is None or (record is not None and not _older(record, beat)):
        return None
    kind = kind_of(ended, _errors(sweep, beat.job))
    message = f"job {beat.job} ended as {ended.state} ({ended.detail}) in stage {beat.progress} on {beat.host}"
    hint = f"; {HINTS[kind]}" if kind in HINTS else ""
    return unrun(planned.spec, planned.id, "failed", kind, message + hint, {})


def kind_of(ended: JobState, errors: str) -> Kind:
    """What the death of a process is called in records."""
    if MEMORY.search(errors) and ended.word != "COMPLETED":
        return "oom"
    return KIND_OF_STATE.get(ended.word, "killed")


def write_down(sweep: Sweep, deaths: Iterable[tuple[Beat, Record]]) -> None:
    """Save the records of deaths. A trial that somebody else has taken up since is left alone.

    A store that cannot be written is said on standard error: whoever only looks need not be able to write.
    """
    for beat, record in deaths:
        if heartbeat.read(sweep.store, record["id"]) != beat:
            continue
        try:
            sweep.store.save(record)
        except (OSError, UsageError) as error:
            log.warning("the death of trial %s cannot be written down: %s", record["id"], error)


def killed(record: Record | None) -> bool:
    """Whether a record says that the trial's process was killed, and the trial itself may be the reason."""
    if record is None or record["status"] != "failed" or record["stages"]:
        return False
    return record["error"]["kind"] in ("killed", "oom", "timeout")


def _older(record: Record, beat: Beat) -> bool:
    """Whether a record is of an attempt before the one that beat."""
    try:
        return record["status"] == "failed" and datetime.fromisoformat(record["created"]).timestamp() < int(beat.started)
    except ValueError:
        return False


def _errors(sweep: Sweep, job: str) -> str:
    """The end of what a job of the sweep wrote to its standard error."""
    files = [path for one in sweep.submissions for path in log_files(one, job) if path.suffix == ".err"]
    return "".join(map(_tail, files))


def _tail(path: Path) -> str:
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return handle.read().decode(errors="replace")
