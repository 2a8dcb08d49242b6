"""``harness run``: one trial."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.progress import terminal_progress
from harness.store import Store
from harness.verbs.options import add_json, add_store, new_verb

if TYPE_CHECKING:
    from harness.record import Record

EXAMPLES = """  harness run --method fqvit
  harness run --method fqvit+omse+biascorr+evolq --bits w4a8 --seed 1
  harness run --method 'fqvit(lis=true)' --bits w8a8s4
  harness run --method fqvit --model deit_tiny_patch16_224 --weights deit.safetensors --data imagenet
see also: harness list methods, harness describe method <name>, harness report
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "run", "Run one trial and print its record.", EXAMPLES)
    trial = parser.add_argument_group("trial (what is measured; part of its id)")
    trial.add_argument("--method", required=True, metavar="<stack>", help="methods joined by +, settings in parentheses")
    trial.add_argument("--model", default="embedded", metavar="<name>", help="timm model arch.tag (default: embedded)")
    trial.add_argument(
        "--weights", type=Path, metavar="<file>", help="safetensors file (default: embedded or timm download)"
    )
    trial.add_argument("--data", default="embedded", metavar="<path>", help="image folder (default: embedded)")
    trial.add_argument("--bits", default="w8a8", metavar="<widths>", help="w4a8, w8a8s4 (s: softmax) (default: w8a8)")
    trial.add_argument("--calib", type=int, default=256, metavar="<n>", help="calibration images (default: 256)")
    trial.add_argument("--seed", type=int, default=0, metavar="<n>", help="calibration draw and search (default: 0)")
    trial.add_argument("--eval-limit", type=int, metavar="<n>", help="evaluate on n evenly spaced images (default: all)")
    trial.add_argument(
        "--preprocess",
        action="append",
        default=[],
        metavar="<key=value>",
        help="override crop_pct, interpolation, mean, std",
    )
    how = parser.add_argument_group("how it runs (not part of the id)")
    how.add_argument("--device", default="auto", metavar="<name>", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    how.add_argument("--batch", type=int, default=64, metavar="<n>", help="evaluation batch (default: 64)")
    how.add_argument("--force", action="store_true", help="run again although the record exists")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_store(how)  # type: ignore[arg-type]
    add_json(how)  # type: ignore[arg-type]
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    if arguments.batch < 1:
        raise UsageError(f"batch {arguments.batch} is not possible: expected at least 1")
    if arguments.seed < 0:
        raise UsageError(f"seed {arguments.seed} is not possible: expected 0 or more")
    overrides = _overrides(arguments.preprocess)
    store = Store.default(arguments.store)
    progress = terminal_progress(arguments.quiet)
    progress.say("loading torch")
    import torch

    from harness.trial import TrialSpec, run_trial

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = TrialSpec(
        method=arguments.method,
        model=arguments.model,
        weights=arguments.weights,
        data=arguments.data,
        bits=arguments.bits,
        calib=arguments.calib,
        seed=arguments.seed,
        eval_limit=arguments.eval_limit,
        preprocess=overrides,
        batch=arguments.batch,
        device=device,
    )
    record, cached = run_trial(spec, store, progress, force=arguments.force)
    show(record, store, cached=cached, as_json=arguments.json)
    return 0 if record["status"] == "done" else 1


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
        from harness.verbs.summary import print_summary

        print_summary(record, path, cached=cached)
