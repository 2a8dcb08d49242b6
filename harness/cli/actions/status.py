"""``harness status``: how sweeps stand."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time

from harness.store.store import Store
from harness.sweep.launch.show import label
from harness.sweep.manifest import Sweep, find, sweeps
from harness.sweep.status import TrialState, counts, kinds, states_of, write_down_deaths
from harness.trial.record import INTERRUPTIONS

WATCH_SECONDS = 10
INTERRUPTED = frozenset(INTERRUPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    store = Store.default(arguments.store)
    chosen = [find(store, arguments.sweep)] if arguments.sweep else sweeps(store)
    if not chosen and not arguments.json:
        print(f"no sweeps in {store.root} (start one with: harness sweep --experiment smoke)")
        return 0
    while True:
        states = {sweep: states_of(sweep) for sweep in chosen}
        for sweep, of_sweep in states.items():
            write_down_deaths(sweep, of_sweep)
        show(states, every=arguments.all, as_json=arguments.json)
        busy = any(state.state in ("queued", "running") for of_sweep in states.values() for state in of_sweep)
        if not arguments.watch or not busy:
            return 0
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def show(states: dict[Sweep, list[TrialState]], *, every: bool, as_json: bool) -> None:
    """Print sweeps: all numbers, and the trials when there is one sweep."""
    if as_json:
        rows = [
            {
                "sweep": sweep.name,
                "states": counts(of_sweep),
                "failed_kinds": kinds(of_sweep),
                "trials": [state.as_dict() for state in of_sweep],
            }
            for sweep, of_sweep in states.items()
        ]
        print(json.dumps(rows, indent=1))
        return
    for sweep, of_sweep in states.items():
        stopped = f"; stopped: {sweep.stopped}" if sweep.stopped else ""
        print(f"{sweep.name}  {sentence(of_sweep)}{stopped}")
        if len(states) == 1:
            _trials(of_sweep, every=every)
            for line in advice(sweep, of_sweep):
                print(line)


def sentence(states: list[TrialState]) -> str:
    """The numbers of a sweep in one line."""
    counted = counts(states)
    parts = [f"{number} {name}" for name, number in counted.items()]
    failures = ", ".join(f"{kind} x{number}" for kind, number in kinds(states).items())
    return f"{len(states)} trials: " + ", ".join(parts) + (f" ({failures})" if failures else "")


def _trials(states: list[TrialState], *, every: bool) -> None:
    for state in states:
        if every or state.state != "done":
            what = f"{state.state} ({state.kind})" if state.kind else state.state
            print(f"  {state.id}  {what:<20} {label(state.spec)}" + (f": {state.detail}" if state.detail else ""))


def advice(sweep: Sweep, states: list[TrialState]) -> list[str]:
    """What to do next."""
    counted = counts(states)
    name = shlex.quote(sweep.name)
    lines = []
    if sum(counted.get(state, 0) for state in ("lost", "planned", "cancelled")) or INTERRUPTED & set(kinds(states)):
        lines.append(f"next: harness resume {name}")
    if counted.get("failed"):
        again = [kind for kind in kinds(states) if kind not in INTERRUPTED]
        lines += [f"next: harness logs TRIAL, then harness resume {name} --retry {','.join(again)}"] if again else []
    return lines
