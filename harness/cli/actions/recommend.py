"""``harness recommend``: ask for a recipe and show the answer."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from harness.cli.actions.advice_lines import lines, table_rows
from harness.cli.actions.listing import print_table
from harness.cli.actions.printing import printable
from harness.cli.commands.recommend import TARGETS
from harness.errors import UsageError, nearest
from harness.machine.signals import nothing_at_stake
from harness.machine.terminal import terminal_progress
from harness.recommend.limits import Limits
from harness.recommend.portfolio import check_portfolio, listed
from harness.store.store import Store

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when no recipe keeps to the limits."""
    limits = _limits(arguments)
    check_portfolio(arguments.portfolio, listed(arguments.widths))
    if arguments.judges < 1:
        raise UsageError(f"--judges {arguments.judges} is not possible: expected at least 1")
    store, progress = Store.default(arguments.store), terminal_progress(arguments.quiet)
    progress.say("loading torch")
    with nothing_at_stake():
        from harness.cli.actions import advising  # torch and pandas: seconds
    facts = advising.facts(arguments, limits, store, progress)
    _show(facts, as_json=arguments.json)
    return 0 if facts["recommended"] is not None else 1


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=1, allow_nan=False))
        return
    print_table(table_rows(facts))
    print(printable("\n".join(lines(facts))))


def _limits(arguments: argparse.Namespace) -> Limits:
    """The constraints.

    Raises:
        UsageError: A number or the target is not understood.
    """
    if arguments.target is not None and arguments.target not in TARGETS:
        near = nearest(arguments.target, TARGETS)
        raise UsageError(f"unknown target {arguments.target!r}.{near} Expected {' or '.join(TARGETS)}")
    size = None if arguments.max_bytes is None else bytes_of(arguments.max_bytes)
    return Limits(arguments.max_drop, size, arguments.max_seconds, arguments.target)


def bytes_of(text: str) -> int:
    """A number of bytes: ``450KB`` are 450,000, ``2MiB`` are 2,097,152.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmg]i?)?b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"--max-bytes {text!r} not understood: expected a size such as 700000, 450KB, 3MB or 2.5MiB")
    return int(float(match[1]) * UNITS[(match[2] or "").lower()])
