"""``harness logs``: what a trial's process printed, and why it failed."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_store

EXAMPLES = """  harness logs 3f9c             a trial's id or its beginning
  harness logs 3f9c --lines 0   the whole log
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("trial", metavar="<trial>", help="id or its beginning")
    parser.add_argument("--lines", type=int, default=60, metavar="<n>", help="last lines; 0 for all (default: 60)")
    add_store(parser)
