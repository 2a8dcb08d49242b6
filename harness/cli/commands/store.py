"""``harness store``: check, rebuild, export and import."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness.cli.commands.options import add_json, add_store, new_verb
from harness.errors import UsageError
from harness.machine.progress import terminal_progress
from harness.store.store import Store

EXAMPLES = """  harness store check                                   is every file what it should be?
  harness store export --format csv --out results.csv   one row per record
  harness store export --format parquet --full --out ours.parquet
  harness store import theirs.parquet --origin their-lab
  harness store rebuild                                 read every record again into results.parquet
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "store", "Check, export or merge stores of records.", EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="<action>", required=True, parser_class=type(parser))
    check = new_verb(actions, "check", "Look at every file of the store.", "  harness store check --json\n")
    rebuild = new_verb(actions, "rebuild", "Read every record again into results.parquet.", "  harness store rebuild\n")
    export = new_verb(actions, "export", "Write one row per record.", "  harness store export --format csv --out all.csv\n")
    export.add_argument("--format", choices=("csv", "parquet", "json"), metavar="{csv,parquet,json}", default="csv")
    export.add_argument("--out", type=Path, required=True, metavar="<file>", help="output file")
    export.add_argument(
        "--full", action="store_true", help="add whole records and per-image results, for harness store import"
    )
    taken = new_verb(
        actions,
        "import",
        "Add another group's records; own ones stay.",
        "  harness store import ../their/runs --origin lab\n",
    )
    taken.add_argument("source", type=Path, metavar="<path>", help="folder of a store, or a full export")
    taken.add_argument("--origin", metavar="<name>", help="who they come from (default: the path's name)")
    for action, handler in ((check, _check), (rebuild, _rebuild), (export, _export), (taken, _import)):
        add_store(action)
        add_json(action)
        action.set_defaults(handler=handler)


def _check(arguments: argparse.Namespace) -> int:
    from harness.store.check import problems

    store = Store.default(arguments.store)
    found = list(problems(store))
    count = sum(1 for _ in store.records())
    if arguments.json:
        files = [{"path": str(problem.path), "reason": problem.reason} for problem in found]
        print(json.dumps({"records": count, "problems": files}, indent=1))
    else:
        for problem in found:
            print(f"{problem.path}: {problem.reason}")
        print(f"{count} records in {store.root}, {len(found)} problem{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


def _rebuild(arguments: argparse.Namespace) -> int:
    from harness.store.table_cache import path_of, rows

    store = Store.default(arguments.store)
    if not store.root.is_dir():
        raise UsageError(f"store {str(store.root)!r} does not exist", "give a folder with --store DIR")
    found = rows(store, terminal_progress(), rebuild=True)
    warn(found.broken)
    facts = {"rows": len(found.table), "broken": len(found.broken), "path": str(path_of(store))}
    print(json.dumps(facts, indent=1) if arguments.json else f"{facts['rows']} rows in {facts['path']}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from harness.store.exchange import export

    store = Store.default(arguments.store)
    count = export(store, arguments.out, arguments.format, full=arguments.full)
    warn(store.broken())
    facts = {"rows": count, "path": str(arguments.out)}
    print(json.dumps(facts, indent=1) if arguments.json else f"{count} rows in {arguments.out}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from harness.store.exchange import merge

    store = Store.default(arguments.store)
    merged = merge(store, arguments.source, arguments.origin or arguments.source.name)
    warn(merged.refused)
    facts = {"added": merged.added, "replicas": merged.replicas, "known": merged.known, "refused": len(merged.refused)}
    print(json.dumps(facts, indent=1) if arguments.json else ", ".join(f"{count} {what}" for what, count in facts.items()))
    return 1 if merged.refused else 0


def warn(broken: list[Any]) -> None:
    """Name files that are no records on standard error."""
    for problem in broken:
        print(f"warning: {problem.path} is no record: {problem.reason}", file=sys.stderr)
