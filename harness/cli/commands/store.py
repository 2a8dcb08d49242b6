"""``harness store``: list, check, rebuild, migrate, export and import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.commands.options import add_json, add_store
from harness.cli.parser import Parser

EXAMPLES = """  harness store list                                    all records, and where imported ones come from
  harness store check                                   is every file what it should be?
  harness store check --repair                          move aside what is not; nothing is deleted
  harness store export --format csv --out results.csv   one row per record
  harness store export --format parquet --full --out ours.parquet
  harness store import theirs.parquet --origin their-lab
  harness store migrate                                 records of earlier versions get the ids of today
  harness store rebuild                                 read every record again into results.parquet
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions and their options."""
    actions: Any = parser.add_subparsers(dest="action", metavar="<action>", required=True, parser_class=Parser)
    for name, summary, example in (
        ("list", "List all records, own and imported.", "list --imported"),
        ("check", "Look at every file of the store.", "check --repair"),
        ("rebuild", "Read every record again into results.parquet.", "rebuild"),
        ("migrate", "Give records of earlier versions the ids of today.", "migrate results/records.parquet"),
        ("export", "Write one row per record.", "export --format csv --out all.csv"),
        ("import", "Add another group's records; own ones stay.", "import ../their/runs --origin lab"),
    ):
        epilog = f"examples:\n  harness store {example}\n"
        action = actions.add_parser(name, help=summary, description=summary, epilog=epilog)
        OPTIONS.get(name, _none)(action)
        add_store(action)
        add_json(action)


def _none(_: argparse.ArgumentParser) -> None:
    """An action without options of its own."""


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--imported", action="store_true", help="only records of other groups")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="move what is wrong to the folder aside/ of the store, with the reason"
    )


def _add_migrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="<file>", help="a full export to write again (default: the store)"
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("csv", "parquet", "json"), metavar="{csv,parquet,json}", default="csv")
    parser.add_argument("--out", type=Path, required=True, metavar="<file>", help="output file")
    parser.add_argument(
        "--full", action="store_true", help="add whole records and per-image results, for harness store import"
    )
    parser.add_argument("--public", action="store_true", help="names in the place of paths of this machine")
    parser.add_argument("--current", action="store_true", help="only records of today's versions of their methods")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="<path>", help="folder of a store, or a full export")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--origin", metavar="<name>", help="who they come from (default: the path's name)")
    whose.add_argument("--own", action="store_true", help="they are this group's own, put back from an export: no mark")


OPTIONS = {
    "list": _add_list,
    "check": _add_check,
    "migrate": _add_migrate,
    "export": _add_export,
    "import": _add_import,
}
