"""``harness run``: one trial."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json, add_store, add_trust
from harness.cli.trial_options import add_trial

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
    add_trial(trial, how)
    trial.add_argument("--trial", metavar="<id>", help="repeat a stored trial; --data and --weights say where files are now")
    how.add_argument("--force", action="store_true", help="run again although the record exists")
    how.add_argument("--no-share", action="store_true", help="neither use nor keep states of stack prefixes")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_trust(how)
    add_store(how)
    add_json(how)
