"""What SLURM's own commands tell and do: limits, states of jobs, cancelling. Needs no submitit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.sweep.manifest import Submission

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
        state: PENDING, RUNNING, REQUEUED, CANCELLED, ...; empty when SLURM does not know it.
        detail: Exit code or reason of waiting.
        active: It waits or runs.
    """

    state: str
    detail: str
    active: bool


def job_states(jobs: Iterable[str]) -> dict[str, JobState]:
    """States of jobs: from the queue, for those that left it from the accounting where there is one.

    Raises:
        UsageError: The queue cannot be read.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    try:
        lines = _call(["squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%r"]).splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"SLURM's queue cannot be read: {reason_of(_text(error))}") from error
    found: dict[str, JobState] = {}
    for job, state, reason in (line.split("|", 2) for line in lines if line.count("|") >= 2):
        if job in wanted and state in ACTIVE:
            found[job] = JobState(state, reason, True)
    return {**_accounted(wanted - set(found)), **found}


# Everything that is not an end; a job that is queued again is REQUEUED for a moment.
ACTIVE = (
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
    "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
)  # fmt: skip


def _accounted(jobs: set[str]) -> dict[str, JobState]:
    """Final states of jobs that left the queue."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    if not arrays:
        return {}
    try:
        lines = _call(["sacct", "-X", "-n", "-P", "-j", ",".join(arrays), "-o", "JobID,State,ExitCode"]).splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}  # no accounting: the caller says that the job left the queue, which is all that is known
    rows = (line.split("|") for line in lines if line.count("|") == 2)
    return {job: JobState(state, f"exit {code}", False) for job, state, code in rows if job in jobs}


def cancel(jobs: Sequence[str]) -> list[str]:
    """Cancel the jobs that wait or run, and return them.

    Raises:
        UsageError: SLURM refuses.
    """
    active = [job for job, state in job_states(jobs).items() if state.active]
    for start in range(0, len(active), 500):  # argument lists have a limit
        try:
            _call(["scancel", *active[start : start + 500]])
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"scancel failed: {reason_of(_text(error))}") from error
    return active


def log_files(submission: Submission, job: str) -> list[Path]:
    """What a job wrote outside its trials."""
    folder = submission.folder / "slurm"
    return sorted(folder.glob(f"{job}_*_log.*"))


def _call(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return result.stdout


def _text(error: Exception) -> str:
    return (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else str(error)


def reason_of(text: str) -> str:
    """The errors in what a command of SLURM printed, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return "; ".join(dict.fromkeys(errors)) or (lines[-1] if lines else "no answer")
