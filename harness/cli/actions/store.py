"""``harness store``: check, rebuild, export and import."""

from __future__ import annotations

import argparse
import json

from harness.cli.actions.printing import warn
from harness.errors import UsageError
from harness.machine.terminal import terminal_progress
from harness.store.check import problems
from harness.store.exchange import export, merge
from harness.store.store import Store
from harness.store.table_cache import path_of, rows


def run(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for."""
    actions = {"check": _check, "rebuild": _rebuild, "export": _export, "import": _import}
    return actions[arguments.action](arguments)


def _check(arguments: argparse.Namespace) -> int:
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
    store = Store.default(arguments.store)
    if not store.root.is_dir():
        raise UsageError(f"store {str(store.root)!r} does not exist", "give a folder with --store DIR")
    found = rows(store, terminal_progress(), rebuild=True)
    warn(found.broken)
    facts = {"rows": len(found.table), "broken": len(found.broken), "path": str(path_of(store))}
    print(json.dumps(facts, indent=1) if arguments.json else f"{facts['rows']} rows in {facts['path']}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    count = export(store, arguments.out, arguments.format, full=arguments.full)
    warn(store.broken())
    facts = {"rows": count, "path": str(arguments.out)}
    print(json.dumps(facts, indent=1) if arguments.json else f"{count} rows in {arguments.out}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    merged = merge(store, arguments.source, arguments.origin or arguments.source.name)
    warn(merged.refused)
    facts = {"added": merged.added, "replicas": merged.replicas, "known": merged.known, "refused": len(merged.refused)}
    print(json.dumps(facts, indent=1) if arguments.json else ", ".join(f"{count} {what}" for what, count in facts.items()))
    return 1 if merged.refused else 0
