"""``harness doctor``: is everything there that a trial needs?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from harness.cli.commands.options import add_json, add_store, new_verb
from harness.errors import HarnessError
from harness.store.store import Store

EXAMPLES = """  harness doctor
  harness doctor --json
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "doctor", "Check the installation, the machine and the store.", EXAMPLES)
    add_store(parser)
    add_json(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb; exit code 1 when a check fails."""
    store = Store.default(arguments.store)
    checks: dict[str, Callable[[], str]] = {
        "libraries": _libraries,
        "machine": _machine,
        "gpu": _gpu,
        "embedded model": _embedded,
        "methods": _methods,
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


def _libraries() -> str:
    import torch

    from harness.machine.measure import environment

    versions = environment(torch.device("cpu"))["versions"]
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())


def _machine() -> str:
    import torch

    from harness.machine.measure import environment

    facts = environment(torch.device("cpu"))
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB, Python {facts['python']}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none (trials run on the CPU)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _embedded() -> str:
    from harness.data.sources import open_source
    from harness.models.loading import load_model

    model, source = load_model("embedded"), open_source("embedded")
    return f"{model.name}, weights {model.weights_sha256[:12]}, {source.calibration_size} calibration images"


def _methods() -> str:
    from harness.method.registry import available

    return ", ".join(available())


def _store(store: Store) -> str:
    store.check_writable()
    broken = store.broken()
    if broken:
        raise HarnessError(f"{store.root}: {len(broken)} broken record(s), first {broken[0].path}: {broken[0].reason}")
    return f"{store.root} is writable, {sum(1 for _ in store.records())} records"
