"""``harness plan``: what a sweep will do, before any work."""

from __future__ import annotations

import argparse

from harness.cli.commands.grid_options import add_grid

EXAMPLES = """  harness plan --experiment table1
  harness plan --method fqvit+omse+evolq --ladder --bits w8a8,w4a8 --seed 'range(3)'
  harness plan experiment=table1 launcher=slurm launcher.partition=gpu bits=w4a8 --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_grid(parser)
