"""What became of a sweep's trials, from records, heartbeats and queues."""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from harness.sweep import heartbeat
from harness.sweep.deaths import death_of, killed, write_down
from harness.sweep.heartbeat import Beat
from harness.sweep.launch.queue import Queue, QueuePlace, look
from harness.sweep.manifest import CANCELLED, Planned, Sweep
from harness.trial.record import Record, headline
from harness.trial.spec import TrialSpec

STATES = ("planned", "queued", "running", "done", "failed", "skipped", "cancelled", "lost")


@dataclass(frozen=True)
class TrialState:
    """Where one trial stands.

    Attributes:
        id: The trial.
        spec: What it is.
        state: One of ``STATES``. ``lost``: it was started or submitted, nothing is left that could finish it, and there
            is no record.
        kind: Kind of a failure or skip.
        detail: Reason, stage, or what the queue says.
        beat: Last sign of life.
        suspect: Its process died, and the trial itself may be the reason: it must not be put before others.
        death: The record of its death, which is not in the store yet.
    """

    id: str
    spec: TrialSpec
    state: str
    kind: str = ""
    detail: str = ""
    beat: Beat | None = None
    suspect: bool = False
    death: Record | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for machines."""
        facts = {"id": self.id, "state": self.state, "kind": self.kind, "detail": self.detail}
        beat = heartbeat.describe(self.beat) if self.beat is not None else None
        return {**facts, "trial": self.spec.as_dict(), "heartbeat": beat}


@dataclass(frozen=True)
class SweepState:
    """A sweep at one moment.

    Attributes:
        trials: The state of every trial, in the order of the sweep.
        queue: What launchers say.
    """

    trials: list[TrialState]
    queue: Queue = field(default_factory=Queue)


def observe(sweep: Sweep) -> SweepState:
    """Look at every trial of a sweep, and ask launchers about those that are not done."""
    seen = [_seen(sweep, planned) for planned in sweep.planned]
    open_ones = [one for one in seen if one.open]
    queue = look(sweep, {one.beat.job for one in open_ones if one.beat and one.beat.job}) if open_ones else Queue()
    return SweepState([_state(sweep, one, queue) for one in seen], queue)


def states_of(sweep: Sweep) -> list[TrialState]:
    """The state of every trial of a sweep, in its order."""
    return observe(sweep).trials


def write_down_deaths(sweep: Sweep, states: list[TrialState]) -> None:
    """Make records of the deaths among the states."""
    write_down(sweep, [(state.beat, state.death) for state in states if state.beat and state.death])


def counts(states: list[TrialState]) -> dict[str, int]:
    """Number of trials by state, in the order of ``STATES``, without zeros."""
    counted = Counter(state.state for state in states)
    return {name: counted[name] for name in STATES if counted[name]}


def kinds(states: list[TrialState]) -> dict[str, int]:
    """Number of failures by kind."""
    return dict(Counter(state.kind for state in states if state.state == "failed").most_common())


@dataclass(frozen=True)
class _Seen:
    """A trial as the store shows it."""

    planned: Planned
    record: Record | None
    beat: Beat | None

    @property
    def done(self) -> bool:
        return self.record is not None and self.record["status"] == "done"

    @property
    def open(self) -> bool:
        return not self.planned.skipped and not self.done


def _seen(sweep: Sweep, planned: Planned) -> _Seen:
    record = sweep.store.get(planned.id)
    done = record is not None and record["status"] == "done"
    return _Seen(planned, record, None if done else heartbeat.read(sweep.store, planned.id))


def _state(sweep: Sweep, seen: _Seen, queue: Queue) -> TrialState:
    planned, record, beat = seen.planned, seen.record, seen.beat
    if record is not None and record["status"] == "done":
        return TrialState(planned.id, planned.spec, "done", detail=headline(record))
    place = queue.places.get(planned.id)
    ended = queue.ended(beat.job) if beat is not None and beat.job else None
    if beat is not None and _runs(beat, queue):
        return TrialState(planned.id, planned.spec, "running", detail=_running(beat), beat=beat)
    if place is None or not place.active:
        death = death_of(sweep, planned, record, beat, ended)
        if death is not None:
            return _recorded(planned, death, beat, unwritten=True)
    if record is not None and (place is None or not place.active or record["created"] >= place.created):
        return _recorded(planned, record, beat)
    return _without_record(sweep, planned, beat, place)


def _without_record(sweep: Sweep, planned: Planned, beat: Beat | None, place: QueuePlace | None) -> TrialState:
    """The state of a trial that does not run and has no record, or waits to be run again."""
    dead = beat is not None and not beat.interrupted
    if place is None:
        return TrialState(planned.id, planned.spec, "planned" if beat is None else "lost", beat=beat, suspect=dead)
    if place.active:
        waiting = place.detail + ("; its turn comes in this job" if place.running else "")
        interrupted = "; interrupted, goes on where it was" if beat is not None and beat.interrupted else ""
        return TrialState(planned.id, planned.spec, "queued", detail=waiting + interrupted, beat=beat)
    stage = f"; last seen in {beat.progress}" if beat is not None else ""
    stage += "; a running search was saved" if beat is not None and beat.interrupted else ""
    if place.cancelled or sweep.stopped == CANCELLED:
        return TrialState(planned.id, planned.spec, "cancelled", detail=place.detail + stage, beat=beat, suspect=dead)
    if beat is None and place.orderly:
        return TrialState(planned.id, planned.spec, "planned", detail=place.detail)
    return TrialState(planned.id, planned.spec, "lost", detail=place.detail + stage, beat=beat, suspect=dead)


def _runs(beat: Beat, queue: Queue) -> bool:
    """Whether the process of a heartbeat runs: its own machine knows, else SLURM, else only the time can tell."""
    if beat.interrupted or beat.host == socket.gethostname():
        return beat.alive()
    if beat.job and (queue.ended(beat.job) is not None or queue.waits(beat.job)):
        return False
    return beat.alive()


def _recorded(planned: Planned, record: Record, beat: Beat | None, *, unwritten: bool = False) -> TrialState:
    error = record["error"]
    reason = " ".join(error["message"].split())[:200]
    state = "cancelled" if error["kind"] == "cancelled" else record["status"]
    death = record if unwritten else None
    return TrialState(planned.id, planned.spec, state, error["kind"], reason, beat, killed(record), death)


def _running(beat: Beat) -> str:
    job = f", job {beat.job}" if beat.job else ""
    return f"{beat.progress} on {beat.host}{job}, heartbeat {max(0.0, time.time() - beat.beat):.0f} s ago"
