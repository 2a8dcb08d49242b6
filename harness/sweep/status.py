"""What became of a sweep's trials, from records, heartbeats and queues."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat
from harness.sweep.launch.queue import QueuePlace, places
from harness.sweep.manifest import Planned, Sweep
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

STATES = ("planned", "queued", "running", "done", "failed", "skipped", "lost")


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
    """

    id: str
    spec: TrialSpec
    state: str
    kind: str = ""
    detail: str = ""
    beat: Beat | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for machines."""
        facts = {"id": self.id, "state": self.state, "kind": self.kind, "detail": self.detail}
        beat = heartbeat.describe(self.beat) if self.beat is not None else None
        return {**facts, "trial": self.spec.as_dict(), "heartbeat": beat}


def states_of(sweep: Sweep) -> list[TrialState]:
    """The state of every trial of a sweep, in its order."""
    where = places(sweep) if any(_open(sweep, planned) for planned in sweep.planned) else {}
    return [_state(sweep, planned, where) for planned in sweep.planned]


def counts(states: list[TrialState]) -> dict[str, int]:
    """Number of trials by state, in the order of ``STATES``, without zeros."""
    counted = Counter(state.state for state in states)
    return {name: counted[name] for name in STATES if counted[name]}


def kinds(states: list[TrialState]) -> dict[str, int]:
    """Number of failures by kind."""
    return dict(Counter(state.kind for state in states if state.state == "failed").most_common())


def _open(sweep: Sweep, planned: Planned) -> bool:
    record = sweep.store.get(planned.id)
    return not planned.skipped and (record is None or record["status"] == "failed")


def _state(sweep: Sweep, planned: Planned, where: Mapping[str, QueuePlace]) -> TrialState:
    record = sweep.store.get(planned.id)
    place = where.get(planned.id)
    if record is not None and record["status"] == "done":
        return TrialState(planned.id, planned.spec, "done", detail=f"top-1 {record['metrics']['top1']:.2f} %")
    beat = heartbeat.read(sweep.store, planned.id)
    if beat is not None and beat.alive() and not _ended(beat, place):
        return TrialState(planned.id, planned.spec, "running", detail=_running(beat), beat=beat)
    if record is not None and (place is None or not place.active or record["created"] >= place.created):
        return _recorded(planned, record)
    if place is None:
        return TrialState(planned.id, planned.spec, "planned" if beat is None else "lost", beat=beat)
    if place.active:
        waiting = place.detail + ("; its turn comes in this job" if place.running else "")
        interrupted = "; interrupted, goes on where it was" if beat is not None and beat.interrupted else ""
        return TrialState(planned.id, planned.spec, "queued", detail=waiting + interrupted, beat=beat)
    if beat is None and place.orderly:
        return TrialState(planned.id, planned.spec, "planned", detail=place.detail)
    stage = f"; last seen in {beat.progress}" if beat is not None else ""
    stage += "; a running search was saved" if beat is not None and beat.interrupted else ""
    return TrialState(planned.id, planned.spec, "lost", detail=place.detail + stage, beat=beat)


def _ended(beat: Beat, place: QueuePlace | None) -> bool:
    """Whether the queue knows that the beating job is over: no need to wait until the heartbeat is old."""
    return place is not None and bool(beat.job) and beat.job == place.job and not place.active


def _recorded(planned: Planned, record: Record) -> TrialState:
    error = record["error"]
    reason = " ".join(error["message"].split())[:200]
    return TrialState(planned.id, planned.spec, record["status"], error["kind"], reason)


def _running(beat: Beat) -> str:
    job = f", job {beat.job}" if beat.job else ""
    return f"{beat.progress} on {beat.host}{job}, heartbeat {max(0.0, time.time() - beat.beat):.0f} s ago"
