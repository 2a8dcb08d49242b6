"""``harness run``: one trial."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import Any

from harness.cli.actions.summary import print_summary
from harness.cli.trial_options import given
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.machine.signals import nothing_at_stake
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.trial.fields import SpecField, fields_of
from harness.trial.record import Record, task_of
from harness.trial.spec import CLASSIFICATION, FEATURES, TrialSpec, execution_fields

COMPARED = {
    CLASSIFICATION: ("n_correct", "n_agree", "n_images"),
    FEATURES: ("feature_cosine", "feature_mse", "n_images"),
}


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if (arguments.method is None) == (arguments.trial is None):
        raise UsageError("expected one of --method <stack> and --trial <id>", "for example: harness run --method fqvit")
    store = Store.default(arguments.store, trust_imported=arguments.trust_imported)
    stored = store.find(arguments.trial) if arguments.trial else None
    spec = TrialSpec(**given(arguments)) if stored is None else repeated(stored, given(arguments))
    progress = terminal_progress(arguments.quiet)
    record, cached = carried_out(
        spec, store, progress, force=arguments.force or stored is not None, share=not arguments.no_share
    )
    show(record, store, cached=cached, as_json=arguments.json, placed=arguments.store is not None)
    if stored is not None:
        print(compared(stored, record), file=sys.stderr)
    return 0 if record["status"] == "done" else 1


def carried_out(
    spec: TrialSpec, store: Store, progress: Progress, *, force: bool = False, share: bool = True
) -> tuple[Record, bool]:
    """The record of a trial, and whether it came from the store."""
    progress.say("loading torch")
    with nothing_at_stake():
        from harness.run.run_trial import run_trial  # seconds: mistakes in what was asked for are told before
    return run_trial(spec, store, progress, force=force, share=share)


def repeated(stored: Record, changes: Mapping[str, Any]) -> TrialSpec:
    """The trial of a record, on this machine: what is given now says where files are and how it runs.

    Raises:
        UsageError: The record does not say how to repeat it.
    """
    asked = stored.get("asked")
    spec = TrialSpec.from_command(stored["command"]) if asked is None else TrialSpec.from_dict(asked)
    batch = stored["environment"].get("evaluation_batch", spec.batch)
    here = {one.name: one.default for one in execution_fields()} | {"batch": batch}
    here |= {one.name: changes[one.name] for one in fields_of(TrialSpec) if one.name in changes and _is_here(one)}
    return dataclasses.replace(spec, **here)


def _is_here(one: SpecField) -> bool:
    """Whether a field may differ when a trial is repeated: places of files and how it runs."""
    return one.about.path or not one.is_identity


def compared(stored: Record, record: Record) -> str:
    """How a repetition compares with the stored record, in one line."""
    if record["id"] != stored["id"]:
        return f"not a repetition of {stored['id']}: weights, data or methods differ, this is trial {record['id']}"
    if stored["status"] != "done" or record["status"] != "done":
        return f"the stored record is {stored['status']}, the repetition {record['status']}"
    names = COMPARED[task_of(record)]
    before, now = ({name: one["metrics"].get(name) for name in names} for one in (stored, record))
    return (
        f"repetition gives the same {'counts' if task_of(record) != FEATURES else 'numbers'}: {now}"
        if now == before
        else f"repetition differs: {before} then, {now} now"
    )


def show(record: Record, store: Store, *, cached: bool, as_json: bool, placed: bool) -> None:
    """Print a record: JSON for machines, a summary for people; ``placed`` says that the store was given by ``--store``."""
    path = store.folder(record["id"]) / "record.json"
    if record["status"] != "done":
        error = record["error"]
        reason = " ".join(error["message"].split())
        print(f"error: trial {record['id']} failed ({error['kind']}): {reason}; record: {path}", file=sys.stderr)
    if as_json:
        print(json.dumps(record, indent=1))
        return
    if record["status"] == "done":
        print_summary(record, path, cached=cached, store=store.root if placed else None)
