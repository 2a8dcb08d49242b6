"""Start the missing trials of a sweep with the chosen launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.sweep.cells import Plan, PlanCell
from harness.sweep.estimate import Estimator
from harness.sweep.launch import snapshot
from harness.sweep.launch.local import LocalLauncher
from harness.sweep.launch.options import LocalOptions, Options, SlurmOptions
from harness.sweep.launch.packing import packs_of
from harness.sweep.launch.show import Show
from harness.sweep.manifest import Submission, Sweep


@dataclass(frozen=True)
class Started:
    """What was started.

    Attributes:
        submission: Its number.
        jobs: Job ids; empty for the local launcher.
        results: Status by trial id, as far as trials have ended.
    """

    submission: int
    jobs: tuple[str, ...]
    results: Mapping[str, str]


def start(
    sweep: Sweep,
    plan: Plan,
    options: Options,
    *,
    cells: Sequence[PlanCell] | None = None,
    share: bool = True,
    fail_fast: bool = False,
    changes: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Started:
    """Start trials. The local launcher returns when they have ended, SLURM's at once.

    Args:
        sweep: The sweep.
        plan: Its plan.
        options: Of the launcher.
        cells: The trials; None for all that the plan wants to run.
        share: Share stack prefixes between trials.
        fail_fast: Start nothing more after the first failure.
        changes: Fields of the trials that say how they run: ``batch``, ``device``.
        quiet: No progress.

    Raises:
        UsageError: The launcher cannot be used.
    """
    packs = packs_of(plan, options, cells)
    code = snapshot.take(sweep.folder.absolute() / "code")
    about = {"launcher": asdict(options), "code": code.name, "share": share, "fail_fast": fail_fast}
    ids = [[cell.id for cell in members] for members in packs]
    sweep.go()
    submission = sweep.submission({**about, "changes": dict(changes or {}), "packs": ids})
    if isinstance(options, SlurmOptions):
        from harness.sweep.launch.slurm import submit  # submitit is for clusters only

        return Started(submission.number, tuple(submit(sweep, submission, options, code)), {})
    return _run_here(sweep, submission, options, code, quiet=quiet)


def _run_here(sweep: Sweep, submission: Submission, options: LocalOptions, code: Path, *, quiet: bool) -> Started:
    with Show(quiet) as show:
        launcher = LocalLauncher(sweep, submission, options, code, show, Estimator(sweep.store.records()))
        return Started(submission.number, (), launcher.run())
