"""Options that several verbs share."""

from __future__ import annotations

import argparse
from typing import Any


def new_verb(verbs: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """A sub-parser with its examples below the help."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary,
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_store(parser: argparse.ArgumentParser) -> None:
    """``--store``."""
    parser.add_argument("--store", metavar="<dir>", help="folder of the records (default: $HARNESS_HOME, else ./runs)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="machine-readable output on standard output")
