"""Where the trials of a sweep stand in the launchers' queues: which submission holds each, and whether it is alive."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.errors import UsageError
from harness.store.sweep_files import ProcessFacts
from harness.sweep.heartbeat import process_alive
from harness.sweep.launch.arrays import SubmittedArray, active_arrays, jobs_of, names_of
from harness.sweep.launch.cluster import WAITING, JobState, job_states
from harness.sweep.manifest import Sweep
from harness.sweep.submission import Submission

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
        cancelled: Somebody cancelled the job.
        detail: What the launcher says, for example ``CANCELLED by 0``.
    """

    submission: int
    created: str
    job: str
    active: bool
    running: bool
    orderly: bool
    detail: str
    cancelled: bool = False


@dataclass
class Queue:
    """What launchers say of a sweep.

    Attributes:
        places: The place of every submitted trial, by trial id.
        states: What SLURM says of jobs; None when it does not answer.
        jobs: Ids of SLURM jobs by submission, in the order of its packs; those whose submission was killed before it could
            note them are found by name. An empty id stands for a job that was not submitted.
        arrays: Arrays of jobs that wait or run.
    """

    places: dict[str, QueuePlace] = field(default_factory=dict)
    states: dict[str, JobState] | None = field(default_factory=dict)
    jobs: dict[int, list[str]] = field(default_factory=dict)
    arrays: list[SubmittedArray] = field(default_factory=list)

    def active(self) -> list[str]:
        """Jobs of the sweep that wait or run."""
        states = self.states or {}
        return [job for jobs in self.jobs.values() for job in jobs if job in states and states[job].active]

    def ended(self, job: str) -> JobState | None:
        """The final state of a job; None where it waits, runs, or is not known."""
        state = (self.states or {}).get(job)
        return state if state is not None and not state.active else None

    def waits(self, job: str) -> bool:
        """Whether a job is in the queue and does not run: it was not started yet, or was queued again."""
        state = (self.states or {}).get(job)
        return state is not None and state.word in WAITING


def look(sweep: Sweep, others: Iterable[str] = ()) -> Queue:
    """Ask for all jobs of a sweep, and for ``others``; warns on standard error when the cluster does not answer."""
    queue = Queue()
    slurm = [one for one in sweep.submissions if _is_slurm(one)]
    queue.states = _states(sweep, slurm, set(others))
    for submission in sweep.submissions:
        process = submission.jobs.get("local")
        if process is not None:
            queue.places |= _local(submission, process)
        elif submission in slurm:
            _add_slurm(queue, submission)
        else:
            queue.places |= {trial: _unsubmitted(submission) for pack in submission.packs for trial in pack}
    return queue


def _is_slurm(submission: Submission) -> bool:
    return submission.content.get("launcher", {}).get("kind") == "slurm" or "slurm" in submission.jobs


def _states(sweep: Sweep, submissions: list[Submission], others: set[str]) -> dict[str, JobState] | None:
    """States of the jobs of submissions, by name in the queue, and of other jobs."""
    found: dict[str, JobState] = {}
    noted = {job for one in submissions for job in one.jobs.get("slurm", [])}
    names = {name for one in submissions for name in names_of(one, sweep.name)}
    users = {one.content["user"] for one in submissions if "user" in one.content}
    everybody = any("user" not in one.content for one in submissions)  # submitted by an earlier version
    try:
        if submissions:
            found = job_states(noted, names, () if everybody else users)
        rest = others - set(found)
        return {**found, **job_states(rest)} if rest else found
    except UsageError as error:
        log.warning("%s; what was submitted is assumed to be queued", error)
        return None


def _add_slurm(queue: Queue, submission: Submission) -> None:
    """The places of a submission's trials, its jobs, and its arrays that are active."""
    states = queue.states or {}
    jobs = jobs_of(submission, states)
    queue.jobs[submission.number] = jobs
    queue.arrays += active_arrays(submission, jobs, states)
    for index, pack in enumerate(submission.packs):
        place = _place(submission, jobs[index] if index < len(jobs) else "", queue.states)
        queue.places |= dict.fromkeys(pack, place)


def _place(submission: Submission, job: str, states: Mapping[str, JobState] | None) -> QueuePlace:
    number, created = submission.number, submission.content["created"]
    if not job:
        return _unsubmitted(submission)
    if states is None:
        return QueuePlace(number, created, job, True, False, False, "SLURM does not answer")
    if job not in states:
        return QueuePlace(number, created, job, False, False, False, f"job {job} left the queue")
    state = states[job]
    text = f"job {job} {state.state}" + (f" ({state.detail})" if state.detail not in ("", "None") else "")
    running, orderly = state.state == "RUNNING", state.state == "COMPLETED"
    return QueuePlace(number, created, job, state.active, running, orderly, text, state.word == "CANCELLED")


def _unsubmitted(submission: Submission) -> QueuePlace:
    """A pack without a job: its submission is still at work, was killed, or SLURM refused."""
    at_work = submits_now(submission)
    detail = "is being submitted now" if at_work else "was not submitted"
    return QueuePlace(submission.number, submission.content["created"], "", at_work, False, True, detail)


def submits_now(submission: Submission) -> bool:
    """Whether another process of this machine submits it at this moment."""
    by = submission.content.get("by")
    other = by is not None and by["pid"] != os.getpid() and alive_here(by)
    return other and len(submission.jobs.get("slurm", [])) < len(submission.packs) and "local" not in submission.jobs


def unnoted(sweep: Sweep, queue: Queue) -> list[Submission]:
    """Submissions with jobs that they did not note, because they were killed."""
    return [
        one
        for one in sweep.submissions
        if sum(map(bool, queue.jobs.get(one.number, []))) > len(one.jobs.get("slurm", [])) and not submits_now(one)
    ]


def _local(submission: Submission, about: ProcessFacts) -> dict[str, QueuePlace]:
    alive = alive_here(about)
    detail = f"launcher process {about['pid']} on {about['host']} " + ("works" if alive else "has ended")
    created = submission.content["created"]
    place = QueuePlace(submission.number, created, f"pid {about['pid']}", alive, alive, not alive, detail)
    return {trial: place for pack in submission.packs for trial in pack}


def launchers_here(sweep: Sweep) -> list[int]:
    """Processes of local launchers of the sweep that work on this machine."""
    found = [one.jobs.get("local") for one in sweep.submissions]
    return [about["pid"] for about in found if about is not None and alive_here(about)]


def alive_here(about: ProcessFacts) -> bool:
    """Whether a process works on this machine; other machines are judged by heartbeats only."""
    here = about["host"] == socket.gethostname() and not about.get("ended")
    return here and process_alive(about["pid"], about["started"])
