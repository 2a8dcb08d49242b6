"""What ``harness sweep`` and ``harness resume`` have in common: start what is missing, and say how it stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.cli.actions.status import sentence
from harness.machine.signals import INTERRUPTED
from harness.sweep.cells import Plan
from harness.sweep.launch.options import Options
from harness.sweep.manifest import Sweep
from harness.sweep.status import counts, kinds, states_of


@dataclass(frozen=True)
class How:
    """How trials are started and told of.

    Attributes:
        share: Share stack prefixes between trials.
        fail_fast: Start nothing more after the first failure.
        quiet: No progress.
        json: Results for machines.
        changes: Fields of the trials that say how they run.
    """

    share: bool
    fail_fast: bool
    quiet: bool
    json: bool
    changes: Mapping[str, Any]


def launch(sweep: Sweep, plan: Plan, options: Options, how: How) -> int:
    """Start the trials that the plan wants and that are not on their way already.

    Returns:
        The exit code: 1 when trials of this start failed, 130 when the user stopped it.
    """
    waiting = {state.id for state in states_of(sweep) if state.state in ("queued", "running")}
    cells = [cell for cell in plan.to_run if cell.id not in waiting]
    if not cells:
        text = f"{len(waiting)} trials are queued or running already" if waiting else "every trial has its record"
        return _tell(sweep, how, f"nothing to do: {text}", [])
    from harness.sweep.launch.start import start  # loads torch, which planning has done by now

    try:
        started = start(
            sweep,
            plan,
            options,
            cells=cells,
            share=how.share,
            fail_fast=how.fail_fast,
            changes=how.changes,
            quiet=how.quiet,
        )
    except KeyboardInterrupt:
        print(f"interrupted; go on with: harness resume {sweep.name}", file=sys.stderr)
        return INTERRUPTED
    jobs = list(started.jobs)
    if jobs:
        return _tell(sweep, how, f"submitted     {len(jobs)} jobs: {jobs[0]} to {jobs[-1]}", jobs)
    code = _tell(sweep, how, "ended", [])
    return 1 if "failed" in started.results.values() else code


def _tell(sweep: Sweep, how: How, first: str, jobs: list[str]) -> int:
    states = states_of(sweep)
    if how.json:
        facts = {"sweep": sweep.name, "jobs": jobs, "states": counts(states), "failed_kinds": kinds(states)}
        print(json.dumps(facts, indent=1))
    elif jobs:
        print(f"{first}\nfollow        harness status {sweep.name}")
    else:
        print(f"{first}; {sentence(states)}")
    return 0
