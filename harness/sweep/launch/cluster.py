"""What SLURM's own commands say and do: limits, states of jobs, cancelling. Needs no submitit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.sweep.launch.refusals import reason_of
from harness.sweep.submission import Submission

DEFAULT_MAX_ARRAY = 1001
COMMAND_SECONDS = 60


def max_array() -> int:
    """The cluster's MaxArraySize, SLURM's own default where it does not answer."""
    try:
        text = _call(["scontrol", "show", "config"])
    except (OSError, subprocess.SubprocessError):
        return DEFAULT_MAX_ARRAY
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", text)
    return max(1, int(found[1])) if found else DEFAULT_MAX_ARRAY


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job.

    Attributes:
        state: PENDING, RUNNING, REQUEUED, CANCELLED, ...
        detail: Exit code or reason of waiting.
        active: It waits or runs; otherwise it has ended for good.
        name: What it is called in the queue; empty where only the accounting knows it.
    """

    state: str
    detail: str
    active: bool
    name: str = ""

    @property
    def word(self) -> str:
        """The state in one word: the accounting says ``CANCELLED by 1000``."""
        return self.state.partition(" ")[0]


def job_states(jobs: Iterable[str], names: Collection[str] = (), users: Collection[int] = ()) -> dict[str, JobState]:
    """States of jobs: from the queue, for those that left it from the accounting where there is one.

    Args:
        jobs: Ids of interest.
        names: Names of jobs; with names the queue is asked for these only, and every job found there is in the result.
            Without names it is asked for the ids.
        users: Numbers of the owners of the named jobs.

    Returns:
        State by job id. A job that neither the queue nor the accounting knows is not in it.

    Raises:
        UsageError: The queue cannot be read.
    """
    wanted = set(jobs)
    if names:
        owners = ["-u", ",".join(map(str, sorted(users)))] if users else []
        queued = _queued([*owners, "-n", ",".join(sorted(names))])
    else:
        queued = {job: state for job, state in _queued_ids(wanted).items() if job in wanted}
    ended = wanted - {job for job, state in queued.items() if state.active}
    return {**queued, **_accounted(ended)}


# Everything that is not an end; a job that is queued again is REQUEUED for a moment.
ACTIVE = (
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
)  # fmt: skip


def _queued_ids(jobs: set[str]) -> dict[str, JobState]:
    if not jobs:
        return {}
    try:
        return _queued(["-j", ",".join(_arrays(jobs))])
    except UsageError as error:
        if "invalid job id" in str(error).lower():  # what squeue says when it knows none of them any more
            return {}
        raise


def _queued(which: Sequence[str]) -> dict[str, JobState]:
    """Jobs in the queue, and those that ended a short time ago."""
    try:
        lines = _call(["squeue", "-h", "-r", "-t", "all", *which, "-o", "%i|%T|%j|%r"]).splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"SLURM's queue cannot be read: {reason_of(_text(error))}") from error
    rows = (line.split("|", 3) for line in lines if line.count("|") >= 3)
    return {job: JobState(state, reason, state in ACTIVE, name) for job, state, name, reason in rows}


def _accounted(jobs: set[str]) -> dict[str, JobState]:
    """Final states of jobs that left the queue; what the accounting still believes to run is left out."""
    if not jobs:
        return {}
    command = ["sacct", "-X", "-n", "-P", "-j", ",".join(_arrays(jobs)), "-o", "JobID,State,ExitCode"]
    try:
        lines = _call(command).splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}  # no accounting: the caller says that the job left the queue, which is all that is known
    rows = (line.split("|") for line in lines if line.count("|") == 2)
    return {job: JobState(state, f"exit {code}", False) for job, state, code in rows if job in jobs and state not in ACTIVE}


def _arrays(jobs: Iterable[str]) -> list[str]:
    return sorted({job.partition("_")[0] for job in jobs})


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs.

    Raises:
        UsageError: SLURM refuses.
    """
    for start in range(0, len(jobs), 500):  # argument lists have a limit
        try:
            _call(["scancel", *jobs[start : start + 500]])
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"scancel failed: {reason_of(_text(error))}") from error


def log_files(submission: Submission, job: str) -> list[Path]:
    """What a job wrote outside its trials."""
    return sorted((submission.folder / "slurm").glob(f"{job}_*_log.*"))


def _call(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return result.stdout


def _text(error: Exception) -> str:
    return (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else str(error)
