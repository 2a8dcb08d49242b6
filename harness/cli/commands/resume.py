"""``harness resume``: run what is missing of a sweep."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from harness.cli.commands.launching import How, launch
from harness.cli.commands.options import add_json, add_store, new_verb
from harness.errors import UsageError, nearest
from harness.machine.progress import terminal_progress
from harness.store.store import Store
from harness.trial.spec import execution_fields

if TYPE_CHECKING:
    from harness.sweep.launch.options import Options
    from harness.sweep.manifest import Sweep
    from harness.sweep.plan import Plan

EXAMPLES = """  harness resume                                         what is missing of the newest sweep
  harness resume table1 --retry oom,timeout              failed trials of these kinds too
  harness resume table1 --retry oom --set batch=16 --set launcher.memory_gb=64
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "resume", "Run what is missing of a sweep: lost, never started, and failed if asked.", EXAMPLES)
    parser.add_argument("sweep", nargs="?", metavar="<sweep>", help="name or its beginning (default: the newest)")
    parser.add_argument("--retry", default="", metavar="<kinds>", help="kinds of failures to run again: oom,timeout or all")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="<key=value>",
        help="batch, device, memory or launcher.<option>",
        dest="changes",
    )
    parser.add_argument("--fail-fast", action="store_true", help="start nothing more after the first failure")
    parser.add_argument("--no-share", action="store_true", help="every trial computes everything itself")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb; exit code 1 when a trial failed."""
    from harness.sweep.manifest import adopt, find

    store = Store.default(arguments.store)
    sweep = find(store, arguments.sweep)
    retry = retried(arguments.retry)
    options, changes = changed(sweep.launcher, arguments.changes)
    progress = terminal_progress(arguments.quiet)
    progress.say(f"sweep {sweep.name}: loading torch")
    from harness.sweep.plan import make_plan

    share = not arguments.no_share
    plan = make_plan([planned.spec for planned in sweep.planned], store, progress, retry=retry, share=share)
    check_same(sweep, plan)
    adopt(sweep, plan)
    how = How(share, arguments.fail_fast, arguments.quiet, arguments.json, changes)
    return launch(sweep, plan, options, how)


def retried(text: str) -> list[str]:
    """The kinds to retry.

    Raises:
        UsageError: There is no such kind of failure.
    """
    from harness.trial.record import KINDS

    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    wrong = next((kind for kind in kinds if kind not in (*KINDS, "all")), None)
    if wrong is not None:
        raise UsageError(f"unknown kind of failure {wrong!r}.{nearest(wrong, KINDS)} Expected all or {', '.join(KINDS)}")
    return kinds


def changed(launcher: dict[str, Any], texts: list[str]) -> tuple[Options, dict[str, Any]]:
    """The launcher's options and the changes of how trials run.

    Raises:
        UsageError: A key is part of what a trial is, or unknown.
    """
    from harness.sweep.compose import CONF, parse_settings
    from harness.sweep.launch.options import launcher_options

    options, changes = dict(launcher), {}
    how = {one.name: one for one in execution_fields()}
    for key, value in parse_settings(texts).items():
        if key == "launcher":
            options = {"kind": value}
        elif key.startswith("launcher."):
            options[key.removeprefix("launcher.")] = value
        elif key in how:
            changes[key] = how[key].read(value)
        else:
            raise UsageError(
                f"{key!r} cannot change in a sweep: expected {', '.join(how)} or launcher.<option>",
                f"what a trial is makes its id; start another sweep instead (defaults: {CONF.name}/sweep.yaml)",
            )
    return launcher_options(options), changes


def check_same(sweep: Sweep, plan: Plan) -> None:
    """Refuse to go on when trials are no longer what was planned.

    Raises:
        UsageError: Ids differ.
    """
    planned = {trial.id for trial in sweep.planned if not trial.skipped}
    now = {cell.id for cell in plan.cells if cell.identity}
    lost = planned - now
    if lost:
        raise UsageError(
            f"{len(lost)} of {len(planned)} trials of {sweep.name} are not what was planned: their weights, data or methods"
            " changed since",
            "restore them, or start a new sweep",
        )
