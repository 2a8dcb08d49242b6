"""``harness store``: check, rebuild, export and import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.commands.options import add_json, add_store
from harness.cli.parser import Parser

EXAMPLES = """  harness store check                                   is every file what it should be?
  harness store export --format csv --out results.csv   one row per record
  harness store export --format parquet --full --out ours.parquet
  harness store import theirs.parquet --origin their-lab
  harness store rebuild                                 read every record again into results.parquet
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions and their options."""
    actions: Any = parser.add_subparsers(dest="action", metavar="<action>", required=True, parser_class=Parser)
    for name, summary, example in (
        ("check", "Look at every file of the store.", "check --json"),
        ("rebuild", "Read every record again into results.parquet.", "rebuild"),
        ("export", "Write one row per record.", "export --format csv --out all.csv"),
        ("import", "Add another group's records; own ones stay.", "import ../their/runs --origin lab"),
    ):
        epilog = f"examples:\n  harness store {example}\n"
        action = actions.add_parser(name, help=summary, description=summary, epilog=epilog)
        if name == "export":
            _add_export(action)
        elif name == "import":
            _add_import(action)
        add_store(action)
        add_json(action)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("csv", "parquet", "json"), metavar="{csv,parquet,json}", default="csv")
    parser.add_argument("--out", type=Path, required=True, metavar="<file>", help="output file")
    parser.add_argument(
        "--full", action="store_true", help="add whole records and per-image results, for harness store import"
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="<path>", help="folder of a store, or a full export")
    parser.add_argument("--origin", metavar="<name>", help="who they come from (default: the path's name)")
