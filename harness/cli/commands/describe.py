"""``harness describe method NAME``: role, needs, settings, paper."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json

EXAMPLES = """  harness describe method evolq
  harness describe model deit_tiny_patch16_224.fb_in1k
  harness describe method fqvit --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("what", choices=("method", "model"), metavar="{method,model}")
    parser.add_argument("name", metavar="<name>")
    add_json(parser)
