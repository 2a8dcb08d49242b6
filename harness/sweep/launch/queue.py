"""Where the trials of a sweep stand in the launchers' queues: which submission holds each, and whether it is alive."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.sweep.heartbeat import process_alive
from harness.sweep.launch.cluster import job_states
from harness.sweep.manifest import Submission, Sweep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueuePlace:
    """Where a submitted trial is.

    Attributes:
        submission: Number of the newest submission that holds it.
        created: When that was submitted.
        job: Job or launcher process.
        active: The job waits or runs, or the launcher is there.
        running: The job has started.
        orderly: It ended by itself, so trials without a sign of life were never started.
        detail: What the launcher says, for example ``CANCELLED by 0``.
    """

    submission: int
    created: str
    job: str
    active: bool
    running: bool
    orderly: bool
    detail: str


def places(sweep: Sweep) -> dict[str, QueuePlace]:
    """The place of every submitted trial, by trial id; warns on standard error when the cluster does not answer."""
    found: dict[str, QueuePlace] = {}
    for submission in sweep.submissions:
        jobs = submission.jobs
        found |= _local(submission, jobs["local"]) if "local" in jobs else _slurm(submission, jobs.get("slurm", []))
    return found


def _local(submission: Submission, about: Mapping[str, Any]) -> dict[str, QueuePlace]:
    alive = _alive_here(about)
    detail = f"launcher process {about['pid']} on {about['host']} " + ("works" if alive else "has ended")
    created = submission.content["created"]
    place = QueuePlace(submission.number, created, f"pid {about['pid']}", alive, alive, not alive, detail)
    return {trial: place for pack in submission.packs for trial in pack}


def _slurm(submission: Submission, jobs: list[str]) -> dict[str, QueuePlace]:
    created = submission.content["created"]
    try:
        states = job_states(jobs)
    except UsageError as error:
        log.warning("%s; trials of submission %s are assumed to be queued", error, submission.number)
        states = None
    found: dict[str, QueuePlace] = {}
    for index, pack in enumerate(submission.packs):
        job = jobs[index] if index < len(jobs) else ""
        if not job:
            place = QueuePlace(submission.number, created, "", False, False, True, "was not submitted")
        elif states is None:
            place = QueuePlace(submission.number, created, job, True, False, False, "SLURM does not answer")
        elif job not in states:
            place = QueuePlace(submission.number, created, job, False, False, False, f"job {job} left the queue")
        else:
            state = states[job]
            text = f"job {job} {state.state}" + (f" ({state.detail})" if state.detail not in ("", "None") else "")
            running, orderly = state.state == "RUNNING", state.state == "COMPLETED"
            place = QueuePlace(submission.number, created, job, state.active, running, orderly, text)
        found |= dict.fromkeys(pack, place)
    return found


def launchers_here(sweep: Sweep) -> list[int]:
    """Processes of local launchers of the sweep that work on this machine."""
    found = [submission.jobs["local"] for submission in sweep.submissions if "local" in submission.jobs]
    return [about["pid"] for about in found if _alive_here(about)]


def _alive_here(about: Mapping[str, Any]) -> bool:
    """Whether a launcher process works on this machine; other machines are judged by heartbeats only."""
    here = about["host"] == socket.gethostname() and not about.get("ended")
    return here and process_alive(about["pid"], about["started"])
