"""``harness run``: one trial."""

from __future__ import annotations

import argparse
from argparse import _ActionsContainer
from pathlib import Path

from harness.cli.commands.options import add_json, add_store
from harness.errors import UsageError
from harness.trial.spec import DATA, EMBEDDED, TrialSpec

EXAMPLES = """  harness run --method fqvit
  harness run --method fqvit+omse+biascorr+evolq --bits w4a8 --seed 1
  harness run --method 'fqvit(lis=true)' --bits w8a8s4
  harness run --method repqvit --bits w4a4 --calib-source psaq --calib 32
  harness run --method fqvit --model deit_tiny_patch16_224 --weights deit.safetensors --data imagenet
  harness run --trial 3f9c                  repeat a record and compare
see also: harness list methods, harness describe method <name>, harness report
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    trial = parser.add_argument_group("trial (what is measured; part of its id)")
    how = parser.add_argument_group("how it runs (not part of the id)")
    add_trial_options(trial, how)
    trial.add_argument("--trial", metavar="<id>", help="repeat a stored trial; --data and --weights say where files are now")
    how.add_argument("--force", action="store_true", help="run again although the record exists")
    how.add_argument("--no-share", action="store_true", help="neither use nor keep states of stack prefixes")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_store(how)
    add_json(how)


def add_trial_options(trial: _ActionsContainer, how: _ActionsContainer) -> None:
    """Add a trial's fields, which ``spec_of`` reads: what it is to one group, how it runs to another."""
    trial.add_argument("--method", metavar="<stack>", help="methods joined by +, settings in parentheses")
    trial.add_argument("--model", default=EMBEDDED, metavar="<name>", help="timm model arch.tag (default: embedded)")
    trial.add_argument(
        "--weights", type=Path, metavar="<file>", help="safetensors file (default: embedded or timm download)"
    )
    trial.add_argument("--data", default=EMBEDDED, metavar="<path>", help="image folder (default: embedded)")
    trial.add_argument("--bits", default="w8a8", metavar="<widths>", help="w4a8, w8a8s4 (s: softmax) (default: w8a8)")
    trial.add_argument("--calib", type=int, default=256, metavar="<n>", help="calibration images (default: 256)")
    trial.add_argument(
        "--calib-source", default=DATA, metavar="<name>", help="data, or what makes the images from the network: psaq"
    )
    trial.add_argument("--seed", type=int, default=0, metavar="<n>", help="calibration draw and search (default: 0)")
    trial.add_argument("--eval-limit", type=int, metavar="<n>", help="evaluate on n evenly spaced images (default: all)")
    text = "recipe=paper, or override crop_pct, interpolation, mean, std"
    trial.add_argument("--preprocess", action="append", default=[], metavar="<key=value>", help=text)
    how.add_argument("--device", default="auto", metavar="<name>", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    text = "for what a search keeps (default: half of what is free)"
    how.add_argument("--memory", default="auto", metavar="<size>", help=text)
    how.add_argument("--batch", type=int, default=64, metavar="<n>", help="evaluation batch (default: 64)")


def spec_of(arguments: argparse.Namespace) -> TrialSpec:
    """The trial that was asked for.

    Raises:
        UsageError: A value is not possible.
    """
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
        preprocess=_preprocess(arguments.preprocess),
        batch=arguments.batch,
        device=arguments.device,
        memory=arguments.memory,
    )


def _preprocess(items: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    wrong = next((item for item, pair in zip(items, pairs, strict=True) if not pair[1]), None)
    if wrong is not None:
        raise UsageError(f"--preprocess {wrong!r} not understood: expected key=value, for example crop_pct=0.875")
    return {key.strip(): value.strip() for key, _, value in pairs}
