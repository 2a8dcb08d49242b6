"""``harness doctor``: is everything there that a trial needs?"""

from __future__ import annotations

import argparse

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness doctor
  harness doctor --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_store(parser)
    add_json(parser)
