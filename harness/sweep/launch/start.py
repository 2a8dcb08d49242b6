"""Start the missing trials of a sweep with the chosen launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.store import sweep_files
from harness.store.inside import inside
from harness.sweep.cells import PlanCell
from harness.sweep.estimate import Estimator
from harness.sweep.launch import orders, slurm, snapshot
from harness.sweep.launch.arrays import SubmittedArray, divide
from harness.sweep.launch.cluster import max_array
from harness.sweep.launch.local import LocalWatch, run_here
from harness.sweep.launch.options import Options, SlurmOptions, launcher_options
from harness.sweep.launch.queue import Queue, unnoted
from harness.sweep.launch.show import Show
from harness.sweep.manifest import Sweep


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


@dataclass(frozen=True)
class Way:
    """How trials run, beside what the launcher is asked for.

    Attributes:
        share: Share stack prefixes between trials.
        fail_fast: Start nothing more after the first failure.
        changes: Fields of the trials that say how they run: ``batch``, ``device``.
        quiet: No progress.
    """

    share: bool = True
    fail_fast: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False

    def settings(self) -> dict[str, Any]:
        """What workers need to know of it."""
        return {"share": self.share, "fail_fast": self.fail_fast, "changes": dict(self.changes)}


def start(
    sweep: Sweep,
    packs: Sequence[Sequence[PlanCell]],
    options: Options,
    way: Way,
    earlier: Sequence[SubmittedArray] = (),
) -> Started:
    """Start trials. The local launcher returns when they have ended, SLURM's at once.

    Args:
        sweep: The sweep.
        packs: Its trials, grouped (``packs_of``).
        options: Of the launcher.
        way: How they run.
        earlier: Arrays of the sweep that wait or run.

    Raises:
        UsageError: The launcher cannot be used, or a folder of the sweep is a link out of the store.
    """
    for name in ("code", "submissions"):
        inside(sweep.store.root, sweep.folder / name)
    code = snapshot.take(sweep.folder.absolute() / "code")
    ids = [[cell.id for cell in pack] for pack in packs]
    about = {**way.settings(), "launcher": asdict(options), "code": code.name, "packs": ids}
    sweep.go()
    if isinstance(options, SlurmOptions):
        return _submit(sweep, about, options, way, code, earlier)
    submission = sweep.submission(about)
    order = sweep_files.ORDER.validate_python({**way.settings(), "gpus": 0, "cpus": 0, "trials": []})
    with Show(way.quiet) as show:
        watch = LocalWatch(sweep, show, Estimator(sweep.store.records()))
        return Started(submission.number, (), run_here(sweep, submission, order, options, code, watch))


def _submit(
    sweep: Sweep, about: dict[str, Any], options: SlurmOptions, way: Way, code: Path, earlier: Sequence[SubmittedArray]
) -> Started:
    """Submit jobs. What they need is written before, and which arrays there will be, so that they are found again."""
    arrays = divide(len(about["packs"]), max_array(), options.array_parallelism, earlier)
    submission = sweep.submission({**about, "arrays": [array.facts() for array in arrays]})
    planned = {one.id: one for one in sweep.planned}
    orders.write(submission, planned, {**way.settings(), "gpus": options.gpus, "cpus": options.cpus})
    return Started(submission.number, tuple(slurm.submit(sweep, submission, options, arrays, code)), {})


def adopt_orphans(sweep: Sweep, queue: Queue) -> int:
    """Take up jobs whose submission was killed before it could note them; returns how many there were."""
    found = 0
    for submission in unnoted(sweep, queue):
        options = launcher_options(submission.content.get("launcher", {}))
        if isinstance(options, SlurmOptions):
            inside(sweep.store.root, submission.folder / "slurm")
            found += slurm.adopt(sweep, submission, queue.jobs[submission.number], options)
    return found
