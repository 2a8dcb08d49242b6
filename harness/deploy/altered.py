"""The trial of an altered network that is exported in the place of another: with float LayerNorms, evaluated, on record."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import HarnessError, UsageError
from harness.machine.progress import Progress
from harness.run.alteration import original_id
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import TrialSpec


def altered_trial(store: Store, trial: str, spec: TrialSpec, progress: Progress) -> Record:
    """The record of a trial with float LayerNorms in the place of integer ones; made, or from the store.

    The network is rebuilt from the trial's stored state and evaluated; nothing is calibrated again.

    Args:
        store: Where the trial is, and where the new record goes.
        trial: Full id of a finished trial.
        spec: The trial on this machine.
        progress: Display.

    Raises:
        UsageError: The trial of this specification is another one today.
        HarnessError: The new trial failed; its record says why.
    """
    asked, session = replace(spec, float_layernorm=True), Session()
    today = original_id(prepare(asked, session.opened, progress).identity)
    if today != trial:
        raise UsageError(
            f"trial {trial} is {today} today: methods, images or weights are others, and the record of an altered network "
            "says how it is made",
            f"run it again: {spec.command(spec.method)}",
        )
    record = run_trial(asked, store, progress, session=session).record
    if record["status"] != "done":
        raise HarnessError(f"the altered trial {record['id']} failed: {record['error']['message']}")
    return record
