"""``harness reproduce``: the experiments of a paper, whole or scaled down, beside the published numbers."""

from __future__ import annotations

import argparse
import json
import sys

from harness.cli.actions.listing import print_table
from harness.cli.actions.plan import lines, summary
from harness.cli.actions.planning import plan_of
from harness.cli.actions.sweep import run_grid
from harness.errors import UsageError, nearest
from harness.leaderboard.published.reproduction import Reproduction, tables
from harness.machine.terminal import terminal_progress
from harness.models.cards import cards
from harness.store.store import Store
from harness.store.table_cache import rows
from harness.sweep.compose import experiments, reproductions
from harness.sweep.manifest import Sweep
from harness.trial.spec import FEATURES


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a trial failed."""
    _sort_words(arguments)
    if arguments.preset is None:
        return _list(as_json=arguments.json)
    known = reproductions()
    if arguments.preset not in known or arguments.experiment:
        near = nearest(arguments.preset, known)
        hint = "use harness sweep --experiment" if arguments.preset in experiments() else "see: harness reproduce"
        raise UsageError(f"{arguments.preset!r} reproduces no publication.{near}", hint)
    arguments.experiment = arguments.preset
    reproduction = Reproduction.of(known[arguments.preset], small=not _has_data(arguments))
    _scale(arguments, reproduction)
    store = Store.default(arguments.store, trust_imported=arguments.trust_imported)
    chosen = arguments.method or any(text.partition("=")[0] in ("method", "calib_source") for text in arguments.overrides)
    beside = None if chosen or arguments.calib_source else reproduction.beside
    asked = plan_of(arguments, store, terminal_progress(arguments.quiet), beside)
    if arguments.plan:
        facts = summary(asked)
        print(json.dumps(facts, indent=1) if arguments.json else "\n".join(lines(asked.plan, facts)))
        return 0
    sweep, code = run_grid(arguments, store, asked, sys.stderr)
    if not arguments.json:
        print("\n" + _beside(store, sweep, reproduction))
    return code


def _sort_words(arguments: argparse.Namespace) -> None:
    """The name is the word that is no ``key=value``, wherever it stands."""
    words = [word for word in (arguments.preset, *arguments.overrides) if word is not None]
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise UsageError(f"several names: {', '.join(map(repr, names))}", "give one; see: harness reproduce")
    arguments.preset = names[0] if names else None
    arguments.overrides = [word for word in words if "=" in word]


def _list(*, as_json: bool) -> int:
    found = [
        {"name": name, "source": content["source"], "note": content.get("note") or ""}
        for name, content in reproductions().items()
    ]
    print(json.dumps(found, indent=1)) if as_json else print_table(found)
    return 0


def _has_data(arguments: argparse.Namespace) -> bool:
    return bool(arguments.data) or any(text.partition("=")[0] == "data" for text in arguments.overrides)


def _scale(arguments: argparse.Namespace, reproduction: Reproduction) -> None:
    """Without data there is no ImageNet: the embedded network and images take its place, on a smaller grid."""
    given = {text.partition("=")[0] for text in arguments.overrides}
    if arguments.model and arguments.model not in cards():
        arguments.overrides = ["preprocess.recipe=timm", *arguments.overrides]
    if _has_data(arguments):
        return
    values = {"model": "embedded", "data": "embedded", **reproduction.scaled_down}
    for name, value in values.items():
        if name not in given and getattr(arguments, name) is None:
            setattr(arguments, name, str(value))


def _beside(store: Store, sweep: Sweep, reproduction: Reproduction) -> str:
    order = {planned.id: number for number, planned in enumerate(sweep.planned)}
    table = rows(store, terminal_progress(quiet=True)).table
    mine = table[table["id"].isin(order) & (table["status"] == "done") & (table["task"] != FEATURES)]
    return tables(reproduction, mine.sort_values("id", key=lambda ids: ids.map(order)))
