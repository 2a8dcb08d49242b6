"""``harness reproduce``: the experiments of a paper, whole or scaled down, beside the published numbers."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from harness.cli.commands.grid_options import add_grid, plan_of
from harness.cli.commands.options import new_verb
from harness.cli.commands.plan import lines, summary
from harness.cli.commands.sweep import run_grid
from harness.errors import UsageError, nearest
from harness.machine.progress import terminal_progress
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.leaderboard.published.reproduction import Reproduction
    from harness.sweep.manifest import Sweep

EXAMPLES = """  harness reproduce                                                  list what can be reproduced
  harness reproduce evolq_table3 --plan                              what it would cost
  harness reproduce evolq_table3                                     scaled down, on the embedded network
  harness reproduce evolq_table3 --data /path/to/imagenet --partition gpu
  harness reproduce evolq_table3 --model vit_tiny_patch16_224.augreg_in21k_ft_in1k --weights vit.safetensors \\
      --data photographs --calib 128
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "reproduce", "Run a published experiment, or list those there are.", EXAMPLES)
    parser.add_argument("preset", nargs="?", metavar="<name>", help="as listed; without it, the list")
    parser.add_argument("--plan", action="store_true", help="only show trials and cost")
    add_grid(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb; exit code 1 when a trial failed."""
    from harness.sweep.compose import experiments, reproductions

    if arguments.preset is None:
        return _list(as_json=arguments.json)
    known = reproductions()
    if arguments.preset not in known or arguments.experiment:
        near = nearest(arguments.preset, known)
        hint = "use harness sweep --experiment" if arguments.preset in experiments() else "see: harness reproduce"
        raise UsageError(f"{arguments.preset!r} reproduces no publication.{near}", hint)
    arguments.experiment = arguments.preset
    from harness.leaderboard.published.reproduction import Reproduction

    reproduction = Reproduction.of(known[arguments.preset])
    _scale(arguments, reproduction)
    store = Store.default(arguments.store)
    asked = plan_of(arguments, store, terminal_progress(arguments.quiet))
    if arguments.plan:
        facts = summary(asked)
        print(json.dumps(facts, indent=1) if arguments.json else "\n".join(lines(asked.plan, facts)))
        return 0
    sweep, code = run_grid(arguments, store, asked, sys.stderr)
    if not arguments.json:
        print("\n" + _beside(store, sweep, reproduction))
    return code


def _list(*, as_json: bool) -> int:
    from harness.cli.commands.listing import print_table
    from harness.sweep.compose import reproductions

    rows = [
        {"name": name, "source": content["source"], "note": content.get("note") or ""}
        for name, content in reproductions().items()
    ]
    print(json.dumps(rows, indent=1)) if as_json else print_table(rows)
    return 0


def _scale(arguments: argparse.Namespace, reproduction: Reproduction) -> None:
    """Without data there is no ImageNet: the embedded network and images take its place, on a smaller grid."""
    from harness.models.cards import cards

    given = {text.partition("=")[0] for text in arguments.overrides}
    if arguments.model and arguments.model not in cards():
        arguments.overrides = ["preprocess.recipe=timm", *arguments.overrides]
    if arguments.data or "data" in given:
        return
    values = {"model": "embedded", "data": "embedded", **reproduction.scaled_down}
    for name, value in values.items():
        if name not in given and getattr(arguments, name) is None:
            setattr(arguments, name, str(value))


def _beside(store: Store, sweep: Sweep, reproduction: Reproduction) -> str:
    from harness.leaderboard.published.reproduction import tables
    from harness.store.table_cache import rows

    order = {planned.id: number for number, planned in enumerate(sweep.planned)}
    table = rows(store, terminal_progress(quiet=True)).table
    mine = table[table["id"].isin(order) & (table["status"] == "done")]
    return tables(reproduction, mine.sort_values("id", key=lambda ids: ids.map(order)))
