"""What ``harness plan``, ``sweep``, ``reproduce`` and ``resume`` have in common: trials looked up before any work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.cli.commands.grid_options import overrides
from harness.machine.progress import Progress
from harness.machine.signals import nothing_at_stake
from harness.store.store import Store
from harness.sweep.cells import Plan
from harness.sweep.compose import Composed, compose_sweep
from harness.sweep.grid import expand
from harness.sweep.launch.options import Options, SlurmOptions, launcher_options
from harness.sweep.past import Past
from harness.trial.spec import TrialSpec


@dataclass(frozen=True)
class Asked:
    """A sweep as it was asked for, planned.

    Attributes:
        composed: What was asked for.
        options: Of the launcher.
        plan: Its trials.
        imported: How many of those to run have a record of another group, which does not count.
    """

    composed: Composed
    options: Options
    plan: Plan
    imported: int = 0


def plan_of(
    arguments: argparse.Namespace,
    store: Store,
    progress: Progress,
    beside: Callable[[Sequence[TrialSpec]], Sequence[TrialSpec]] | None = None,
) -> Asked:
    """Compose, expand and plan.

    Args:
        arguments: Options of a grid.
        store: Where records are.
        progress: Display.
        beside: Further trials for those of the grid.

    Raises:
        UsageError: Something in it is not understood or not possible.
    """
    composed = compose_sweep(overrides(arguments), arguments.config_dir)
    options = launcher_options(composed.launcher)
    progress.say("loading torch")
    with nothing_at_stake():
        specs = expand(composed.specs, ladder=composed.ladder)
    specs += beside(specs) if beside is not None else []
    plan = planned(specs, store, progress, options, share=composed.share)
    imported = sum("imported" in (store.stored(cell.id) or {}) for cell in plan.to_run)
    return Asked(composed, options, plan, imported)


def planned(
    specs: list[TrialSpec],
    store: Store,
    progress: Progress,
    options: Options,
    *,
    share: bool,
    retry: Iterable[str] = (),
    past: Past | None = None,
) -> Plan:
    """Plan trials for a launcher: estimates are for a GPU where the launcher gives one.

    Raises:
        UsageError: Something is wrong that concerns the sweep as a whole.
    """
    with nothing_at_stake():
        from harness.sweep.plan import gpu_here, make_plan  # loads torch: mistakes in what was asked for are told before

    gpu = options.gpus > 0 if isinstance(options, SlurmOptions) else gpu_here()
    return make_plan(specs, store, progress, retry=retry, share=share, gpu=gpu, past=past)
