"""``harness reproduce``: the experiments of a paper, whole or scaled down, beside the published numbers."""

from __future__ import annotations

import argparse

from harness.cli.commands.grid_options import add_grid

EXAMPLES = """  harness reproduce                                                  list what can be reproduced
  harness reproduce evolq_table3 --plan                              what it would cost
  harness reproduce evolq_table3                                     scaled down, on the embedded network
  harness reproduce evolq_table3 --data /path/to/imagenet --partition gpu
  harness reproduce evolq_table3 --model vit_tiny_patch16_224.augreg_in21k_ft_in1k --weights vit.safetensors \\
      --data photographs --calib 128
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("preset", nargs="?", metavar="<name>", help="as listed; without it, the list")
    parser.add_argument("--plan", action="store_true", help="only show trials and cost")
    add_grid(parser)
