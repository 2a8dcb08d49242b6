"""``harness submit``: results for others, in one file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from harness.cli.actions.store import is_current
from harness.errors import UsageError, nearest
from harness.store.contribution import pack
from harness.store.store import Store
from harness.trial.record import Record

KEYS = ("id", "model", "data", "bits", "stack", "calib", "seed")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.out.suffix != ".parquet":
        raise UsageError(f"{str(arguments.out)!r}: expected a name that ends in .parquet")
    conditions = dict(map(_condition, arguments.where))
    chosen = _matching(conditions)
    count = pack(
        Store.default(arguments.store),
        arguments.out,
        {"by": arguments.by, "note": arguments.note},
        lambda record: chosen(record) and (arguments.all or is_current(record)),
    )
    facts = {"records": count, "path": str(arguments.out)}
    print(json.dumps(facts, indent=1) if arguments.json else f"{count} records in {arguments.out}")
    return 0


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in KEYS:
        raise UsageError(f"--where {text!r} not understood: expected key=value.{nearest(key, KEYS)} Keys: {', '.join(KEYS)}")
    return key, value


def _matching(conditions: Mapping[str, str]) -> Callable[[Record], bool]:
    def matches(record: Record) -> bool:
        shown = {key: str(record["data"]["name"] if key == "data" else record[key]) for key in KEYS}  # type: ignore[literal-required]
        return all(fnmatchcase(shown[key], pattern) for key, pattern in conditions.items())

    return matches
