"""Does another process run this trial? Asked by a worker before it starts a trial that has a heartbeat."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from harness.errors import UsageError
from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.heartbeat import STALE_SECONDS, Beat, Heart
from harness.sweep.launch.cluster import job_states

POLL_SECONDS = 1.0


def holder(store: Store, trial: str, heart: Heart, say: Callable[[str], None]) -> Beat | None:
    """The heartbeat of another process that runs the trial; None when nobody does.

    On this machine the process itself tells, elsewhere the cluster's scheduler. Where neither knows, this waits until the
    heartbeat is renewed or too old to be alive, and says so.
    """
    first = heartbeat.read(store, trial)
    beat = first
    while beat is not None and not beat.interrupted and not heart.owns(beat):
        if beat.host == socket.gethostname():
            return beat if beat.alive() else None
        active = job_active(beat.job) if beat.job else None
        if active is not None:
            return beat if active else None
        if first is not None and beat.beat > first.beat:
            return beat
        if not beat.alive():
            return None
        if beat is first:  # said once
            say(f"trial {trial} {_where(beat)}: waiting up to {STALE_SECONDS:.0f} s for its next heartbeat")
        time.sleep(POLL_SECONDS)
        beat = heartbeat.read(store, trial)
    return None


def job_active(job: str) -> bool | None:
    """Whether a job waits or runs; None when the scheduler does not answer or does not know it."""
    try:
        state = job_states([job]).get(job)
    except UsageError:
        return None  # no scheduler here, or it is down: the caller goes by the heartbeat
    return None if state is None else state.active


def elsewhere(trial: str, beat: Beat) -> str:
    """Who runs a trial, for people."""
    return f"trial {trial} runs elsewhere: {_where(beat)}, stage {beat.progress}"


def _where(beat: Beat) -> str:
    job = f", job {beat.job}" if beat.job else ""
    age = max(0.0, time.time() - beat.beat)
    return f"has a heartbeat of process {beat.pid} on {beat.host}{job}, {age:.0f} s old"
