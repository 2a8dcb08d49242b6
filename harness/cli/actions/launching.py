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
from harness.sweep.launch.packing import packs_of
from harness.sweep.launch.queue import unnoted
from harness.sweep.manifest import Sweep
from harness.sweep.status import TrialState, counts, kinds, observe, states_of, write_down_deaths

LONGEST_LIST = 5


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
    seen = observe(sweep)
    write_down_deaths(sweep, seen.trials)
    waiting = [state for state in seen.trials if state.state in ("queued", "running")]
    ids = {state.id for state in waiting}
    cells = [cell for cell in plan.to_run if cell.id not in ids]
    orphans = unnoted(sweep, seen.queue)
    if not cells and not orphans:
        return _nothing_to_do(sweep, how, waiting)
    from harness.sweep.launch.start import Way, adopt_orphans, start  # loads torch, which planning has done by now

    if orphans:
        number = adopt_orphans(sweep, seen.queue)
        print(f"found {number} jobs of {sweep.name} whose submission was interrupted", file=sys.stderr)
    if not cells:
        return _nothing_to_do(sweep, how, waiting)
    packs = packs_of(plan, options, cells, {state.id for state in seen.trials if state.suspect})
    way = Way(how.share, how.fail_fast, how.changes, how.quiet)
    try:
        started = start(sweep, packs, options, way, seen.queue.arrays)
    except KeyboardInterrupt:
        print(f"interrupted; go on with: harness resume {sweep.name}", file=sys.stderr)
        return INTERRUPTED
    jobs = list(started.jobs)
    if jobs:
        return _tell(sweep, how, f"submitted     {len(jobs)} jobs: {jobs[0]} to {jobs[-1]}", jobs)
    code = _tell(sweep, how, "ended", [])
    return 1 if "failed" in started.results.values() else code


def _nothing_to_do(sweep: Sweep, how: How, waiting: list[TrialState]) -> int:
    """Say why nothing is started, and what is waited for."""
    why = f"{len(waiting)} trials are queued or running already" if waiting else "every trial has its record"
    code = _tell(sweep, how, f"nothing to do: {why}", [])
    if not how.json:
        for state in waiting[:LONGEST_LIST]:
            print(f"  {state.id}  {state.state}: {state.detail}")
        if len(waiting) > LONGEST_LIST:
            print(f"  and {len(waiting) - LONGEST_LIST} more (harness status {sweep.name})")
    return code


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
