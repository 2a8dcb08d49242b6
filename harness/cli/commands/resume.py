"""``harness resume``: run what is missing of a sweep."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json, add_store, add_trust

EXAMPLES = """  harness resume                                         what is missing of the newest sweep
  harness resume table1 --retry oom,timeout              failed trials of these kinds too
  harness resume table1 --retry oom --set batch=16 --set launcher.memory_gb=64
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("sweep", nargs="?", metavar="<sweep>", help="name or its beginning (default: the newest)")
    parser.add_argument("--retry", default="", metavar="<kinds>", help="kinds of failures to run again: oom,timeout or all")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="<key=value>",
        help="batch, device, memory, cache_dir or launcher.<option>",
        dest="changes",
    )
    parser.add_argument("--fail-fast", action="store_true", help="start nothing more after the first failure")
    parser.add_argument("--no-share", action="store_true", help="every trial computes everything itself")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_trust(parser)
    add_store(parser)
    add_json(parser)
