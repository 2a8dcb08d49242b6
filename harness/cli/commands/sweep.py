"""``harness sweep``: run a grid of trials, here or on SLURM."""

from __future__ import annotations

import argparse

from harness.cli.commands.grid_options import add_grid

EXAMPLES = """  harness sweep --experiment smoke
  harness sweep --method fqvit+omse+biascorr+evolq --ladder --bits w8a8,w4a8,w3a8 --seed 'range(3)'
  harness sweep --method fqvit,fqvit+omse --model 'deit_*' --data /path/to/imagenet --calib 128,512,1000 --partition gpu
  harness sweep experiment=table1 launcher=slurm launcher.partition=gpu 'launcher.setup=[module load cuda]'
see also: harness plan (the same options; does nothing), harness status, harness resume, harness cancel, harness logs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_grid(parser)
