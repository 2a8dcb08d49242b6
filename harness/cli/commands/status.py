"""``harness status``: how sweeps stand."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness status                  all sweeps; the trials of the only one
  harness status table1           trials that are not done, with reasons
  harness status table1 --all     every trial
  harness status table1 --watch   again every ten seconds, until nothing runs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("sweep", nargs="?", metavar="<sweep>", help="name or its beginning (default: all sweeps)")
    parser.add_argument("--all", action="store_true", help="list the done trials too")
    parser.add_argument("--watch", action="store_true", help="repeat until nothing is queued or running")
    add_store(parser)
    add_json(parser)
