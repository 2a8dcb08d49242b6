"""``harness report``: a Markdown table of all records."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from harness.progress import terminal_progress
from harness.store import Store
from harness.verbs.options import add_json, add_store, new_verb
from harness.verbs.store import warn

EXAMPLES = """  harness report
  harness report --store results --json
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "report", "Print Markdown tables of all records.", EXAMPLES)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    store = Store.default(arguments.store)
    if arguments.json:
        warn(store.broken())
        print(json.dumps(list(store.records()), indent=1))
        return 0
    from harness.cache import rows

    found = rows(store, terminal_progress())
    warn(found.broken)
    if not len(found.table):
        print(f"no records in {store.root} (start with: harness run --method fqvit)", file=sys.stderr)
        return 0
    from leaderboard.tables import markdown

    print(markdown(found.table))
    return 0
