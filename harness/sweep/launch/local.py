"""The local launcher: N worker processes on this machine, one per GPU where there are any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from harness.models.loading import full_name
from harness.store.sweep_files import PackOrder, SweepRow
from harness.sweep.estimate import Estimator
from harness.sweep.heartbeat import read
from harness.sweep.launch import orders
from harness.sweep.launch.crew import Crew, Watch
from harness.sweep.launch.options import LocalOptions
from harness.sweep.launch.show import Show
from harness.sweep.launch.worker import log_path
from harness.sweep.launch.workers import Seat, WorkerProcess, cores, environments, threads_of
from harness.sweep.manifest import Sweep
from harness.sweep.submission import Submission, process_facts
from harness.trial.spec import TrialSpec

CORES_PER_WORKER = 4
# Memory that a trial on a network without past records is assumed to need, and that is left to the rest of the machine.
UNKNOWN_BYTES = 2 * 2**30
SPARE_BYTES = 2**30


def workers_of(options: LocalOptions, trials: int) -> int:
    """How many processes to start."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = options.workers or gpus or max(1, cores() // CORES_PER_WORKER)
    return max(1, min(wanted, trials))


def run_here(
    sweep: Sweep,
    submission: Submission,
    order: PackOrder,
    options: LocalOptions,
    code: Path,
    watch: Watch,
) -> dict[str, str]:
    """Run a submission's trials on this machine and return when all of them have ended.

    Args:
        sweep: The sweep.
        submission: The trials by pack.
        order: How trials run.
        options: Number of processes.
        code: Folder that comes first on the path of the workers.
        watch: What is done beside.

    Returns:
        Status by trial id.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C; workers have saved their state and ended.
        HarnessError: Workers cannot start.
    """
    planned = {one.id: one for one in sweep.planned}
    packs = [[orders.row(planned[trial]) for trial in pack] for pack in submission.packs]
    count = workers_of(options, sum(map(len, packs)))
    places = environments(count, threads_of(count), code)
    seats = [Seat(place, submission.folder / f"worker-{index}.txt", code) for index, place in enumerate(places)]
    me = process_facts()
    submission.started({"local": me})
    try:
        return Crew(sweep, order, seats, watch).run(packs)
    finally:
        submission.started({"local": {**me, "ended": True}})


class LocalWatch(Watch):
    """Starts a trial when memory suffices beside the running ones, and shows what happens.

    Args:
        sweep: The sweep.
        show: Display.
        estimator: Knows how much memory trials needed.
    """

    def __init__(self, sweep: Sweep, show: Show, estimator: Estimator) -> None:
        self._sweep = sweep
        self._show = show
        self._estimator = estimator

    def may_start(self, trial: SweepRow, running: Sequence[WorkerProcess]) -> bool:
        """Whether memory suffices; the only running trial always starts."""
        if not running or torch.cuda.is_available():
            return True
        growing = sum(max(0, self._need(worker.trial) - worker.memory()) for worker in running if worker.trial)
        return int(psutil.virtual_memory().available) - growing - SPARE_BYTES > self._need(trial)

    def _need(self, trial: SweepRow) -> int:
        return self._estimator.memory(full_name(_spec(trial).model)) or UNKNOWN_BYTES

    def ended(self, trial: SweepRow, status: str) -> None:
        """One line."""
        store, name = self._sweep.store, trial["id"]
        self._show.ended(_spec(trial), name, status, store.get(name), log_path(store, name))

    def look(self, workers: Sequence[WorkerProcess], ended: int, total: int) -> None:
        """What runs now."""
        now = time.monotonic()
        busy = [(worker, worker.trial) for worker in workers if worker.trial]
        rows = [(one.index, _spec(row), read(self._sweep.store, row["id"]), now - one.started) for one, row in busy]
        self._show.running(rows, ended, total)


def _spec(trial: SweepRow) -> TrialSpec:
    return TrialSpec.from_dict(trial["spec"])
