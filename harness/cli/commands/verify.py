"""``harness verify``: are another group's results what they say?"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json

EXAMPLES = """  harness verify a-lab.parquet                      types, ids, counts; nothing is run
  harness verify a-lab.parquet --repeat             and run one of its trials again, drawn at random
  harness verify a-lab.parquet --repeat --data imagenet --weights deit.safetensors
exit code 0: nothing is wrong; 1: something is, or the repetition differs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, metavar="<file>", help="what harness submit wrote")
    parser.add_argument("--repeat", action="store_true", help="run one of its trials again and compare image by image")
    parser.add_argument("--draw", type=int, metavar="<n>", help="seed of the choice (default: another trial each time)")
    parser.add_argument("--data", metavar="<path>", help="where its images are here (without it: embedded ones)")
    parser.add_argument("--classes", metavar="<file>", help="its class file here, where it had one")
    parser.add_argument("--weights", type=Path, metavar="<file>", help="its weights here (without it: embedded, or timm's)")
    parser.add_argument("--device", default="auto", metavar="<name>", help="where it runs (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_json(parser)
