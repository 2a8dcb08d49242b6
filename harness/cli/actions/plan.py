"""``harness plan``: what a sweep will do, before any work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.cli.actions.planning import Asked, plan_of
from harness.cli.actions.printing import printable
from harness.machine.terminal import terminal_progress
from harness.store.store import Store
from harness.sweep.cells import Plan
from harness.sweep.launch.cluster import max_array
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.launch.packing import packs_of
from harness.trial.spec import FEATURES

LONGEST_LIST = 8


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    store = Store.default(arguments.store, trust_imported=arguments.trust_imported)
    asked = plan_of(arguments, store, terminal_progress(arguments.quiet))
    facts = summary(asked)
    if arguments.json:
        trials = [
            {"id": cell.id, "state": cell.state, "kind": cell.kind, "reason": cell.reason, "trial": cell.spec.as_dict()}
            for cell in asked.plan.cells
        ]
        print(json.dumps({**facts, "trials": trials}, indent=1))
    else:
        print("\n".join(lines(asked.plan, facts)))
    return 0


def summary(asked: Asked) -> dict[str, Any]:
    """The plan in numbers."""
    plan = asked.plan
    packs = packs_of(plan, asked.options)
    jobs: dict[str, Any] = {}
    if isinstance(asked.options, SlurmOptions):
        most = max_array()
        jobs = {"jobs": len(packs), "arrays": -(-len(packs) // most), "max_array_size": most}
    return {
        "trials_total": len(plan.cells),
        "done": plan.count("done"),
        "imported": asked.imported,
        "failed": plan.count("failed"),
        "failed_reasons": plan.reasons("failed"),
        "incompatible": plan.count("incompatible"),
        "incompatible_reasons": plan.reasons("incompatible"),
        "to_run": len(plan.to_run),
        "steps": {"total": plan.steps, "in_store": plan.steps_stored, "shared": plan.steps_shared},
        "estimated_hours": round(plan.hours, 4),
        "past_records": plan.records,
        "without_estimate": plan.unknown,
        "decoded_images": _decoded(plan),
        "launcher": asked.options.kind,
        **jobs,
    }


def lines(plan: Plan, facts: dict[str, Any]) -> list[str]:
    """The plan for people."""
    steps = facts["steps"]
    compute = steps["total"] - steps["in_store"] - steps["shared"]
    text = [
        f"trials        {facts['trials_total']}{axes(plan)}",
        f"records       {facts['done']} of {facts['trials_total']} done",
        *_imported(facts["imported"]),
        f"failed        {facts['failed']}" + (" (again with: harness resume --retry KIND)" if facts["failed"] else ""),
        *_reasons(facts["failed_reasons"]),
        f"incompatible  {facts['incompatible']}",
        *_reasons(facts["incompatible_reasons"]),
        *_tasks(plan),
        f"to run        {facts['to_run']}",
        f"stack steps   {steps['total']}: {steps['in_store']} in the store, {steps['shared']} shared, {compute} to compute",
        f"estimate      {_hours(facts)}",
        *_images(facts["decoded_images"]),
    ]
    if "jobs" in facts:
        text.append(f"slurm         {facts['jobs']} jobs in {facts['arrays']} arrays of at most {facts['max_array_size']}")
    return text


def axes(plan: Plan) -> str:
    """The sizes of the grid's axes, where it has more than one trial."""
    names = {"models": "model", "data sets": "data", "bit-widths": "bits", "stacks": "method", "calibration sizes": "calib"}
    names |= {"seeds": "seed", "tasks": "task"}
    sizes = {name: len({str(getattr(cell.spec, field)) for cell in plan.cells}) for name, field in names.items()}
    parts = [f"{size} {name}" for name, size in sizes.items() if size > 1]
    return f" ({' x '.join(parts)})" if parts else ""


def _tasks(plan: Plan) -> list[str]:
    """How many trials measure features, where there are some."""
    count = sum(cell.spec.task == FEATURES for cell in plan.cells)
    return (
        [f"task          {FEATURES}: {count} of {len(plan.cells)} (cosine similarity and SQNR, no top-1)"] if count else []
    )


def _imported(count: int) -> list[str]:
    return [f"imported      {count} more by other groups (they count with --trust-imported)"] if count else []


def _reasons(reasons: dict[str, int]) -> list[str]:
    shown = [f"              {count} x {text[:200]}" for text, count in list(reasons.items())[:LONGEST_LIST]]
    more = len(reasons) - LONGEST_LIST
    return shown + ([f"              and {more} more reasons (--json has all)"] if more > 0 else [])


def _decoded(plan: Plan) -> dict[str, Any]:
    """What the trials to run keep of their images."""
    images = plan.images
    folders = sorted({str(Path(one.path).parent) for one in images})
    there = sum(one.nbytes for one in images if one.there)
    return {"sets": len(images), "bytes": sum(one.nbytes for one in images), "bytes_there": there, "folders": folders}


def _images(decoded: dict[str, Any]) -> list[str]:
    if not decoded["sets"]:
        return []
    total, there = (f"{decoded[name] / 1e6:,.1f} MB" for name in ("bytes", "bytes_there"))
    where = ", ".join(map(printable, decoded["folders"]))
    return [f"images        {total} decoded in {decoded['sets']} sets, {there} of it there already: {where}"]


def _hours(facts: dict[str, Any]) -> str:
    if not facts["to_run"]:
        return "nothing to do"
    if facts["without_estimate"] == facts["to_run"]:
        return f"unknown: none of the {facts['past_records']} past records has these steps on these networks"
    hours = facts["estimated_hours"]
    text = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
    rest = f"; {facts['without_estimate']} trials without an estimate" if facts["without_estimate"] else ""
    return f"{text} of work, from {facts['past_records']} past records{rest}"
