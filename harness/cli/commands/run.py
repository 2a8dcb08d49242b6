"""``harness run``: one trial."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.commands.options import add_json, add_store, new_verb
from harness.errors import UsageError
from harness.machine.progress import terminal_progress
from harness.store.store import Store
from harness.trial.spec import DATA, EMBEDDED, TrialSpec

if TYPE_CHECKING:
    from harness.trial.record import Record

EXAMPLES = """  harness run --method fqvit
  harness run --method fqvit+omse+biascorr+evolq --bits w4a8 --seed 1
  harness run --method 'fqvit(lis=true)' --bits w8a8s4
  harness run --method repqvit --bits w4a4 --calib-source psaq --calib 32
  harness run --method fqvit --model deit_tiny_patch16_224 --weights deit.safetensors --data imagenet
  harness run --trial 3f9c                  repeat a record and compare
see also: harness list methods, harness describe method <name>, harness report
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "run", "Run one trial and print its record.", EXAMPLES)
    trial = parser.add_argument_group("trial (what is measured; part of its id)")
    trial.add_argument("--method", metavar="<stack>", help="methods joined by +, settings in parentheses")
    trial.add_argument("--trial", metavar="<id>", help="repeat a stored trial; --data and --weights say where files are now")
    trial.add_argument("--model", default="embedded", metavar="<name>", help="timm model arch.tag (default: embedded)")
    trial.add_argument(
        "--weights", type=Path, metavar="<file>", help="safetensors file (default: embedded or timm download)"
    )
    trial.add_argument("--data", default="embedded", metavar="<path>", help="image folder (default: embedded)")
    trial.add_argument("--bits", default="w8a8", metavar="<widths>", help="w4a8, w8a8s4 (s: softmax) (default: w8a8)")
    trial.add_argument("--calib", type=int, default=256, metavar="<n>", help="calibration images (default: 256)")
    trial.add_argument(
        "--calib-source", default=DATA, metavar="<name>", help="data, or what makes the images from the network: psaq"
    )
    trial.add_argument("--seed", type=int, default=0, metavar="<n>", help="calibration draw and search (default: 0)")
    trial.add_argument("--eval-limit", type=int, metavar="<n>", help="evaluate on n evenly spaced images (default: all)")
    trial.add_argument(
        "--preprocess",
        action="append",
        default=[],
        metavar="<key=value>",
        help="recipe=paper, or override crop_pct, interpolation, mean, std",
    )
    how = parser.add_argument_group("how it runs (not part of the id)")
    how.add_argument("--device", default="auto", metavar="<name>", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    how.add_argument(
        "--memory",
        default="auto",
        metavar="<size>",
        help="for what a search keeps (default: half of what is free)",
    )
    how.add_argument("--batch", type=int, default=64, metavar="<n>", help="evaluation batch (default: 64)")
    how.add_argument("--force", action="store_true", help="run again although the record exists")
    how.add_argument("--no-share", action="store_true", help="neither use nor keep states of stack prefixes")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_store(how)  # type: ignore[arg-type]
    add_json(how)  # type: ignore[arg-type]
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    if (arguments.method is None) == (arguments.trial is None):
        raise UsageError("expected one of --method <stack> and --trial <id>", "for example: harness run --method fqvit")
    store = Store.default(arguments.store)
    stored = store.find(arguments.trial) if arguments.trial else None
    spec = _spec(arguments) if stored is None else _repeated(stored, arguments)
    progress = terminal_progress(arguments.quiet)
    progress.say("loading torch")
    from harness.run.run_trial import run_trial

    record, cached = run_trial(
        spec, store, progress, force=arguments.force or stored is not None, share=not arguments.no_share
    )
    show(record, store, cached=cached, as_json=arguments.json)
    if stored is not None:
        print(compared(stored, record), file=sys.stderr)
    return 0 if record["status"] == "done" else 1


def _spec(arguments: argparse.Namespace) -> TrialSpec:
    return TrialSpec(
        method=arguments.method,
        model=arguments.model,
        weights=arguments.weights,
        data=arguments.data,
        bits=arguments.bits,
        calib=arguments.calib,
        calib_source=arguments.calib_source,
        seed=arguments.seed,
        eval_limit=arguments.eval_limit,
        preprocess=_overrides(arguments.preprocess),
        batch=arguments.batch,
        device=arguments.device,
        memory=arguments.memory,
    )


def _repeated(stored: Record, arguments: argparse.Namespace) -> TrialSpec:
    """The trial of a record: its command line is what repeats it."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    given = parser.parse_args(shlex.split(stored["command"])[1:])
    given.batch = stored["environment"].get("evaluation_batch", arguments.batch)
    given.device = arguments.device
    given.memory = arguments.memory
    given.data = arguments.data if arguments.data != EMBEDDED else given.data
    given.weights = arguments.weights or given.weights
    return _spec(given)


def compared(stored: Record, record: Record) -> str:
    """How a repetition compares with the stored record, in one line."""
    if record["id"] != stored["id"]:
        return f"not a repetition of {stored['id']}: weights, data or methods differ, this is trial {record['id']}"
    if stored["status"] != "done" or record["status"] != "done":
        return f"the stored record is {stored['status']}, the repetition {record['status']}"
    names = ("n_correct", "n_agree", "n_images")
    before, now = ({name: one["metrics"].get(name) for name in names} for one in (stored, record))
    return f"repetition gives the same counts: {now}" if now == before else f"repetition differs: {before} then, {now} now"


def _overrides(items: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    wrong = next((item for item, pair in zip(items, pairs, strict=True) if not pair[1]), None)
    if wrong is not None:
        raise UsageError(f"--preprocess {wrong!r} not understood: expected key=value, for example crop_pct=0.875")
    return {key.strip(): value.strip() for key, _, value in pairs}


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
        from harness.cli.commands.summary import print_summary

        print_summary(record, path, cached=cached)
