"""``harness compare A B``: two trials, stacks or sets of records."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness compare 3f9c 81ab                          two trials
  harness compare fqvit fqvit+omse                   two stacks, wherever both were measured, paired by seed
  harness compare stack=fqvit,bits=w4a8 stack=fqvit+omse,bits=w4a8
  harness compare stack=fqvit,seed=0 stack=fqvit,seed=1,calib=32
columns of filters: stack, model, bits, data, calib, calib_source, seed, protocol, device, commit
and the others of harness store export
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("first", metavar="<first>", help="id, stack, or filters column=value,...")
    parser.add_argument("second", metavar="<second>", help="likewise")
    add_store(parser)
    add_json(parser)
