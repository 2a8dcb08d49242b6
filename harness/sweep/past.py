"""What a store knows of trials already, from one pass over its records: what became of them, and what they cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from harness.store.store import Store
from harness.sweep.cells import DONE, FAILED, INCOMPATIBLE, TO_RUN
from harness.sweep.estimate import Estimator
from harness.trial.record import INTERRUPTIONS, Record


class Outcome(NamedTuple):
    """What became of a trial, in the words of a plan.

    Attributes:
        state: ``done``, ``failed``, ``incompatible`` or ``to run``.
        kind: Kind of the failure; empty for others.
        reason: Why it failed; empty for others.
    """

    state: str
    kind: str = ""
    reason: str = ""


class Past:
    """The records of a store, read once; of each only its outcome is kept.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._estimators = {gpu: Estimator(gpu=gpu) for gpu in (False, True)}
        self._outcomes: dict[str, Outcome] = {}
        for record in store.records():
            for estimator in self._estimators.values():
                estimator.learn(record)
            if store.counts(record):
                self._outcomes[record["id"]] = _outcome(record)

    def estimator(self, *, gpu: bool) -> Estimator:
        """What trials cost on a GPU, or on a CPU."""
        return self._estimators[gpu]

    def state(self, trial: str, retry: Collection[str] = ()) -> Outcome:
        """What a plan does with a trial.

        Args:
            trial: Its id.
            retry: Kinds of failures to run again; ``all`` for any. What happened to the job, not to the trial, always is.
        """
        found = self._outcomes.get(trial, Outcome(TO_RUN))
        again = bool(found.kind) and ("all" in retry or found.kind in {*retry, *INTERRUPTIONS})
        return Outcome(TO_RUN) if again else found


def _outcome(record: Record) -> Outcome:
    if record["status"] == "done":
        return Outcome(DONE)
    kind, reason = record["error"]["kind"], record["error"]["message"]
    return Outcome(INCOMPATIBLE if kind == "incompatible" else FAILED, kind, reason)
