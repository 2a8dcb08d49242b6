"""``harness report``: leaderboards of all records."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.commands.options import add_json, add_store, new_verb
from harness.cli.commands.store import warn
from harness.errors import UsageError, nearest
from harness.machine.progress import terminal_progress
from harness.store.store import Store

EXAMPLES = """  harness report                                     Markdown tables
  harness report --out leaderboard/results            tables, LaTeX, CSV, Parquet, pictures, the page
  harness report --out board --format html            the interactive page only
  harness report --records results/records.parquet    from a full export instead of a store
"""
FORMATS = ("md", "csv", "parquet", "latex", "svg", "html")
COSTS = ("seconds", "size_bytes", "bit_operations")


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "report", "Make leaderboards of all records: tables, pictures, a page.", EXAMPLES)
    parser.add_argument("--out", type=Path, metavar="<dir>", help="write files there instead of printing Markdown")
    parser.add_argument("--format", default=",".join(FORMATS), metavar="<list>", help=f"any of {','.join(FORMATS)}")
    parser.add_argument("--cost", default="seconds", metavar="<list>", help=f"axes of the pictures: {','.join(COSTS)}")
    parser.add_argument("--records", type=Path, metavar="<file>", help="a full export (harness store export --full)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    formats, costs = known(arguments.format, FORMATS, "format"), known(arguments.cost, COSTS, "cost")
    if arguments.records is None:
        return report(Store.default(arguments.store), arguments, formats, costs)
    from harness.store.exchange import merge

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        warn(merge(store, arguments.records, arguments.records.stem).refused)
        return report(store, arguments, formats, costs)


def known(text: str, choices: Sequence[str], what: str) -> list[str]:
    """The parts of a list joined by commas.

    Raises:
        UsageError: One is not among the choices.
    """
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((part for part in chosen if part not in choices), None)
    if wrong is not None or not chosen:
        raise UsageError(f"unknown {what} {wrong or text!r}.{nearest(wrong or '', choices)} Expected {', '.join(choices)}")
    return chosen


def report(store: Store, arguments: argparse.Namespace, formats: list[str], costs: list[str]) -> int:
    """Print or write the report of a store."""
    if arguments.json:
        warn(store.broken())
        print(json.dumps(list(store.records()), indent=1))
        return 0
    from harness.store.table_cache import rows

    progress = terminal_progress(arguments.quiet)
    found = rows(store, progress)
    warn(found.broken)
    if not len(found.table):
        print(f"no records in {store.root} (start with: harness run --method fqvit)", file=sys.stderr)
        return 0
    from harness.leaderboard.board.evidence import Evidence
    from harness.leaderboard.report import markdown, write

    if arguments.out is None:
        print(markdown(found.table, Evidence(store, found.table)))
        return 0
    for path in write(found.table, Evidence(store, found.table), arguments.out, formats, costs):
        print(path)
    return 0
