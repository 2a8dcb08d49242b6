"""``harness resume``: run what is missing of a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.cli.actions.launching import How, launch
from harness.cli.actions.planning import planned
from harness.errors import UsageError, nearest
from harness.machine.progress import Progress
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.sweep.cells import TO_RUN, Plan, PlanCell
from harness.sweep.compose import CONF, parse_settings
from harness.sweep.launch.options import Options, launcher_options
from harness.sweep.manifest import Planned, Sweep, adopt, find, remember_trust
from harness.sweep.past import Past
from harness.sweep.status import states_of, write_down_deaths
from harness.trial.record import KINDS
from harness.trial.spec import execution_fields


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a trial failed."""
    store = Store.default(arguments.store, trust_imported=arguments.trust_imported)
    sweep = find(store, arguments.sweep)
    retry = retried(arguments.retry)
    options, changes = changed(sweep.launcher, arguments.changes)
    progress = terminal_progress(arguments.quiet)
    share = not arguments.no_share
    write_down_deaths(sweep, states_of(sweep))  # before planning, which goes by records
    plan = plan_of_rest(sweep, progress, options, share=share, retry=retry)
    adopt(sweep, plan)
    remember_trust(sweep)
    how = How(share, arguments.fail_fast, arguments.quiet, arguments.json, changes)
    return launch(sweep, plan, options, how)


def retried(text: str) -> list[str]:
    """The kinds to retry.

    Raises:
        UsageError: There is no such kind of failure.
    """
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


def plan_of_rest(sweep: Sweep, progress: Progress, options: Options, *, share: bool, retry: Sequence[str]) -> Plan:
    """The plan of a sweep: what its records settle is taken from them, and only the rest is planned again.

    Raises:
        UsageError: Trials of the rest are no longer what was planned.
        DiskError: There is a rest, and nothing can be written to the store.
    """
    past = Past(sweep.store)
    outcomes = {trial.id: past.state(trial.id, retry) for trial in sweep.planned}
    settled = {trial.id for trial in sweep.planned if not trial.skipped and outcomes[trial.id].state != TO_RUN}
    cells = [PlanCell(trial.spec, trial.id, *outcomes[trial.id]) for trial in sweep.planned if trial.id in settled]
    rest = [trial for trial in sweep.planned if trial.id not in settled]
    if not rest:
        return Plan(tuple(cells), 0, 0, 0, {}, 0)
    sweep.store.check_writable()
    progress.say(f"sweep {sweep.name}: loading torch")
    specs = [trial.spec for trial in rest]
    plan = planned(specs, sweep.store, progress, options, share=share, retry=retry, past=past)
    check_same(sweep, rest, plan)
    return replace(plan, cells=(*cells, *plan.cells))


def check_same(sweep: Sweep, rest: Sequence[Planned], plan: Plan) -> None:
    """Refuse to go on when trials are no longer what was planned.

    Raises:
        UsageError: Ids differ.
    """
    before = {trial.id for trial in rest if not trial.skipped}
    now = {cell.id for cell in plan.cells if cell.identity}
    lost = before - now
    if lost:
        raise UsageError(
            f"{len(lost)} of {len(before)} trials of {sweep.name} are not what was planned: their weights, data or methods"
            " changed since",
            "restore them, or start a new sweep",
        )
