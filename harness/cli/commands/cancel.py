"""``harness cancel``: stop a sweep's jobs and let nothing more start."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_store

EXAMPLES = """  harness cancel table1     jobs that wait or run; finished trials stay, harness resume goes on
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("sweep", nargs="?", metavar="<sweep>", help="name or its beginning (default: the newest)")
    add_store(parser)
