"""``harness list``: methods, models, data. Reads source text and a small table; imports no method and no torch."""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json

EXAMPLES = """  harness list methods
  harness list models
  harness list models --tested
  harness list models --timm 'deit*'
  harness list data --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("what", choices=("methods", "models", "data"), metavar="{methods,models,data}")
    parser.add_argument("--timm", metavar="<pattern>", help="list timm's models that match (imports timm)")
    parser.add_argument("--tested", action="store_true", help="what the test-suite covers: weights, blocks and sites")
    add_json(parser)
