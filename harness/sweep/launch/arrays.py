"""How a submission's jobs are divided into arrays, and which jobs belong to which pack.

SLURM limits the jobs that an array runs at a time, not those of several arrays. So the shares of all arrays that can run at
the same time add up to the limit of the sweep: arrays get shares of it, and those that would get none wait for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.store.sweep_files import ArrayFacts
from harness.sweep.launch.cluster import JobState
from harness.sweep.submission import Submission


@dataclass(frozen=True)
class SubmittedArray:
    """An array that waits or runs.

    Attributes:
        job: Its id, without index.
        slots: Jobs that it can run at a time still.
    """

    job: str
    slots: int


@dataclass(frozen=True)
class PlannedArray:
    """An array to submit.

    Attributes:
        first: Its first pack.
        count: Number of its packs.
        parallel: Jobs at a time.
        follows: The array of the same submission whose end it waits for; None when it waits for none.
        after: Jobs of earlier submissions whose end it waits for.
    """

    first: int
    count: int
    parallel: int
    follows: int | None = None
    after: tuple[str, ...] = ()

    def facts(self) -> ArrayFacts:
        """What ``packs.json`` says of it."""
        return {"first": self.first, "count": self.count, "parallel": self.parallel}


def divide(packs: int, largest: int, limit: int, earlier: Sequence[SubmittedArray] = ()) -> list[PlannedArray]:
    """Arrays for packs, such that never more than ``limit`` jobs run, those of ``earlier`` included.

    Earlier arrays keep what they can use. If what they leave is enough for all packs or half of the limit, the new arrays
    start with that. Otherwise they get the whole limit and start when the earlier ones have ended.

    Args:
        packs: Number of packs.
        largest: Jobs that an array may have.
        limit: Jobs at a time.
        earlier: Arrays of the same sweep that wait or run.
    """
    free = limit - sum(array.slots for array in earlier)
    waits = bool(earlier) and free < min(packs, (limit + 1) // 2)
    slots = limit if waits else free
    after = tuple(array.job for array in earlier) if waits else ()
    starts = range(0, packs, largest)
    lanes = min(slots, len(starts))
    planned: list[PlannedArray] = []
    for number, first in enumerate(starts):
        lane = number % lanes
        share = slots // lanes + (lane < slots % lanes)
        follows = number - lanes if number >= lanes else None
        count = min(largest, packs - first)
        planned.append(PlannedArray(first, count, share, follows, after if follows is None else ()))
    return planned


def names_of(submission: Submission, sweep_name: str) -> list[str]:
    """What the arrays of a submission are called in the queue; each has a name of its own."""
    if "job_name" not in submission.content:
        return [sweep_name[:60]]  # submitted by an earlier version
    arrays = submission.content.get("arrays", [])
    return [array_name(submission, number) for number in range(len(arrays))]


def array_name(submission: Submission, number: int) -> str:
    """What one array of a submission is called."""
    return f"{submission.content.get('job_name', '')}.{number}"


def jobs_of(submission: Submission, states: Mapping[str, JobState]) -> list[str]:
    """Jobs in the order of the packs; an empty text where none is known.

    What the submission noted counts. Jobs that it could not note before it was killed are found by their names.
    """
    noted: list[str] = list(submission.jobs.get("slurm", []))
    jobs = noted + [""] * (len(submission.packs) - len(noted))
    bases = {state.name: base_of(job) for job, state in states.items() if state.name}
    for number, array in enumerate(submission.content.get("arrays", [])):
        base = bases.get(array_name(submission, number))
        for index in range(array["count"]):
            pack = array["first"] + index
            if base is not None and pack < len(jobs) and not jobs[pack]:
                jobs[pack] = base if array["count"] == 1 else f"{base}_{index}"
    return jobs


def active_arrays(submission: Submission, jobs: Iterable[str], states: Mapping[str, JobState]) -> list[SubmittedArray]:
    """The arrays of a submission that wait or run, with the jobs that they can run at a time still."""
    running: dict[str, int] = {}
    for job in jobs:
        if job in states and states[job].active:
            running[base_of(job)] = running.get(base_of(job), 0) + 1
    shares = [array["parallel"] for array in submission.content.get("arrays", [])]
    names = {array_name(submission, number): share for number, share in enumerate(shares)}
    named = {base_of(job): names.get(state.name) for job, state in states.items()}
    return [SubmittedArray(base, min(count, named.get(base) or count)) for base, count in running.items()]


def base_of(job: str) -> str:
    """Id of the array that a job belongs to."""
    return job.partition("_")[0]
