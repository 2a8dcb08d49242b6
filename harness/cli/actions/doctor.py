"""``harness doctor``: is everything there that a trial needs?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from harness.errors import HarnessError
from harness.method.registry import available
from harness.store.store import Store


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a check fails."""
    store = Store.default(arguments.store)
    checks: dict[str, Callable[[], str]] = {
        **{name: partial(_installed, name) for name in ("libraries", "machine", "gpu", "embedded model")},
        "methods": lambda: ", ".join(available()),
        "store": lambda: _store(store),
    }
    rows = [{"check": name, **_outcome(check)} for name, check in checks.items()]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['check']:<15} {row['detail']}")
    return 0 if all(row["ok"] for row in rows) else 1


def _outcome(check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "detail": check()}
    except (HarnessError, ImportError, OSError, RuntimeError) as error:
        return {"ok": False, "detail": f"{type(error).__name__}: {error}"}


def _installed(name: str) -> str:
    """A check that needs the libraries: where one cannot be imported, that is the outcome."""
    from harness.cli.actions.installation import CHECKS

    return CHECKS[name]()


def _store(store: Store) -> str:
    store.check_writable()
    broken = store.broken()
    if broken:
        raise HarnessError(f"{store.root}: {len(broken)} broken record(s), first {broken[0].path}: {broken[0].reason}")
    return f"{store.root} is writable, {sum(1 for _ in store.records())} records"
