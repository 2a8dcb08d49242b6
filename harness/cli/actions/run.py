"""``harness run``: one trial."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from harness.cli.actions.summary import print_summary
from harness.cli.commands.run import add_options, spec_of
from harness.errors import UsageError
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import EMBEDDED, TrialSpec


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if (arguments.method is None) == (arguments.trial is None):
        raise UsageError("expected one of --method <stack> and --trial <id>", "for example: harness run --method fqvit")
    store = Store.default(arguments.store)
    stored = store.find(arguments.trial) if arguments.trial else None
    spec = spec_of(arguments) if stored is None else _repeated(stored, arguments)
    progress = terminal_progress(arguments.quiet)
    progress.say("loading torch")
    from harness.run.run_trial import run_trial  # seconds: mistakes in what was asked for are told before

    record, cached = run_trial(
        spec, store, progress, force=arguments.force or stored is not None, share=not arguments.no_share
    )
    show(record, store, cached=cached, as_json=arguments.json)
    if stored is not None:
        print(compared(stored, record), file=sys.stderr)
    return 0 if record["status"] == "done" else 1


def _repeated(stored: Record, arguments: argparse.Namespace) -> TrialSpec:
    """The trial of a record: its command line is what repeats it."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = parser.parse_args(shlex.split(stored["command"])[2:])  # behind harness run
    given.batch = stored["environment"].get("evaluation_batch", arguments.batch)
    given.device = arguments.device
    given.memory = arguments.memory
    given.data = arguments.data if arguments.data != EMBEDDED else given.data
    given.weights = arguments.weights or given.weights
    return spec_of(given)


def compared(stored: Record, record: Record) -> str:
    """How a repetition compares with the stored record, in one line."""
    if record["id"] != stored["id"]:
        return f"not a repetition of {stored['id']}: weights, data or methods differ, this is trial {record['id']}"
    if stored["status"] != "done" or record["status"] != "done":
        return f"the stored record is {stored['status']}, the repetition {record['status']}"
    names = ("n_correct", "n_agree", "n_images")
    before, now = ({name: one["metrics"].get(name) for name in names} for one in (stored, record))
    return f"repetition gives the same counts: {now}" if now == before else f"repetition differs: {before} then, {now} now"


def show(record: Record, store: Store, *, cached: bool, as_json: bool) -> None:
    """Print a record: JSON for machines, a summary for people."""
    path = store.folder(record["id"]) / "record.json"
    if record["status"] != "done":
        error = record["error"]
        reason = " ".join(error["message"].split())
        print(f"error: trial {record['id']} failed ({error['kind']}): {reason}; record: {path}", file=sys.stderr)
    if as_json:
        print(json.dumps(record, indent=1))
        return
    if record["status"] == "done":
        print_summary(record, path, cached=cached)
