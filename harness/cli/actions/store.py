"""``harness store``: list, check, rebuild, migrate, export and import."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable
from functools import cache

from harness.cli.actions.listing import print_table
from harness.cli.actions.printing import printable, warn
from harness.errors import UsageError
from harness.machine.terminal import terminal_progress
from harness.method.registry import available
from harness.models.cards import block_pattern
from harness.store.aside import set_aside
from harness.store.check import problems
from harness.store.exchange import export, merge
from harness.store.migrate import migrate_file, migrate_store
from harness.store.reading import BrokenFile
from harness.store.store import Store
from harness.store.table import origin_of
from harness.store.table_cache import path_of, rows
from harness.trial.record import Record


def run(arguments: argparse.Namespace) -> int:
    """Run the action that was asked for."""
    return ACTIONS[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    warn(store.broken())
    wanted = (one for one in store.records() if "imported" in one or not arguments.imported)
    found = [_line(record) for record in wanted]
    if arguments.json:
        print(json.dumps(found, indent=1))
    elif found:
        print_table(found)
    else:
        print(f"no {'imported ' if arguments.imported else ''}records in {store.root}")
    return 0


def _line(record: Record) -> dict[str, str]:
    top1 = record.get("metrics", {}).get("top1")
    facts = {name: str(record[name]) for name in ("id", "status", "model", "bits", "stack", "seed")}
    return {**facts, "top1": "-" if top1 is None else f"{top1:.2f}", "origin": origin_of(record) or "own"}


def _check(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    found = list(problems(store))
    moved = [_moved(store, problem) for problem in found] if arguments.repair else [""] * len(found)
    count = sum(1 for _ in store.records())
    if arguments.json:
        files = [
            {"path": str(problem.path), "reason": problem.reason, **({"moved": where} if arguments.repair else {})}
            for problem, where in zip(found, moved, strict=True)
        ]
        print(json.dumps({"records": count, "problems": files}, indent=1))
    else:
        for problem, where in zip(found, moved, strict=True):
            print(printable(f"{problem.path}: {problem.reason}" + (f"; {where}" if where else "")))
        print(f"{count} records in {store.root}, {len(found)} problem{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


def _moved(store: Store, problem: BrokenFile) -> str:
    """Move a file aside; says where it is now, or why it is still there."""
    if problem.stays or not os.path.lexists(problem.path):
        return "stays"
    try:
        return f"moved to {set_aside(store.root, problem)}"
    except UsageError as error:
        return str(error)


def _rebuild(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    if not store.root.is_dir():
        raise UsageError(f"store {str(store.root)!r} does not exist", "give a folder with --store DIR")
    found = rows(store, terminal_progress(), rebuild=True)
    warn(found.broken)
    facts = {"rows": len(found.table), "broken": len(found.broken), "path": str(path_of(store))}
    print(json.dumps(facts, indent=1) if arguments.json else f"{facts['rows']} rows in {facts['path']}")
    return 0


def _migrate(arguments: argparse.Namespace) -> int:
    if arguments.file is None:
        done = migrate_store(Store.default(arguments.store), block_pattern)
    else:
        done = migrate_file(arguments.file, block_pattern)
    warn(done.refused)
    old, stale = earlier_methods(done.records)
    facts = {"records": len(done.records), "moved": done.moved, "refused": len(done.refused), "earlier_methods": stale}
    if arguments.json:
        print(json.dumps({**facts, "methods": old}, indent=1))
        return 0
    print(f"{facts['records']} records, {done.moved} got the id that their trial has today")
    if stale:
        names = ", ".join(f"{name}: {count}" for name, count in old.items())
        print(f"{stale} are of earlier versions of their methods ({names}); they stay, and a sweep measures today's again")
    return 0


def earlier_methods(records: Iterable[Record]) -> tuple[dict[str, int], int]:
    """Records whose stack has a method in another version than today's.

    Returns:
        Their number by method and versions, and their number altogether.
    """
    found = [_earlier(record) for record in records]
    counted = Counter(text for texts in found for text in texts)
    return dict(sorted(counted.items())), sum(map(bool, found))


def is_current(record: Record) -> bool:
    """Whether every method of a record's stack has the version that it has today."""
    return not _earlier(record)


def _earlier(record: Record) -> list[str]:
    """The methods of a record's stack that have another version today, with both versions."""
    today = _versions()
    steps = {(step["name"], step["version"]) for step in record["spec"].get("stack", [])}
    return [f"{name} {was}, now {today.get(name, 'gone')}" for name, was in sorted(steps) if today.get(name) != was]


@cache
def _versions() -> dict[str, int]:
    return {name: info.version for name, info in available().items()}


def _export(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    wanted = is_current if arguments.current else bool
    how = {"full": arguments.full, "public": arguments.public}
    count = export(store, arguments.out, arguments.format, **how, wanted=wanted)
    warn(store.broken())
    facts = {"rows": count, "path": str(arguments.out)}
    print(json.dumps(facts, indent=1) if arguments.json else f"{count} rows in {arguments.out}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    store = Store.default(arguments.store)
    origin = None if arguments.own else arguments.origin or arguments.source.name
    merged = merge(store, arguments.source, origin, block_pattern)
    warn(merged.refused)
    facts = {"added": merged.added, "replicas": merged.replicas, "known": merged.known, "migrated": merged.migrated}
    facts |= {"latencies": merged.latencies, "refused": len(merged.refused)}
    print(json.dumps(facts, indent=1) if arguments.json else ", ".join(f"{count} {what}" for what, count in facts.items()))
    return 1 if merged.refused else 0


ACTIONS = {
    "list": _list,
    "check": _check,
    "rebuild": _rebuild,
    "migrate": _migrate,
    "export": _export,
    "import": _import,
}
