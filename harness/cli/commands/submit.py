"""``harness submit``: results for others, in one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness submit --by 'A. Lab' --out a-lab.parquet            all finished records of today's methods
  harness submit --by 'A. Lab' --where stack=repqvit* --where bits=w4a4 --out a-lab.parquet
  harness submit --by 'A. Lab' --note 'one A100, idle' --out a-lab.parquet
see also: harness verify <file>
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--by", required=True, metavar="<name>", help="who measured them; shown beside every result")
    parser.add_argument("--note", default="", metavar="<text>", help="what others should know of them")
    parser.add_argument("--out", type=Path, required=True, metavar="<file>", help="the file, ending in .parquet")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="<key=value>",
        help="only records with this id, model, data, bits, stack, calib or seed; * stands for any text",
    )
    parser.add_argument("--all", action="store_true", help="also records of earlier versions of their methods")
    add_store(parser)
    add_json(parser)
