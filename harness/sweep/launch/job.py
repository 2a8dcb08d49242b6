"""What a cluster's job does: the trials of one pack, one after the other, or on each of its GPUs one at a time."""

from __future__ import annotations

from pathlib import Path

from harness.machine.progress import LineProgress
from harness.store.sweep_files import PackOrder, SweepRow
from harness.sweep.heartbeat import Heart, environ_job
from harness.sweep.launch.crew import Crew, Watch
from harness.sweep.launch.worker import run_pack
from harness.sweep.launch.workers import Seat, environments, gpus_here
from harness.sweep.manifest import Sweep


class Job:
    """A job of a submission.

    Args:
        sweep: The sweep.
        order: The pack's trials, and how they run.
        folder: For what worker processes print outside of trials.
    """

    def __init__(self, sweep: Sweep, order: PackOrder, folder: Path) -> None:
        self._sweep = sweep
        self._order = order
        self._heart = Heart(sweep.store, environ_job(), LineProgress())
        self._crew = self._workers(folder)

    def run(self) -> dict[str, str]:
        """Run the pack's trials; status by trial id."""
        if self._crew is None:
            return run_pack(self._sweep, self._order, self._heart)
        return self._crew.run([[row] for row in self._order["trials"]])

    def interrupt(self) -> None:
        """Save what runs; nothing more starts."""
        if self._crew is None:
            self._heart.interrupt()
        else:
            self._crew.interrupt()

    def _workers(self, folder: Path) -> Crew | None:
        """A worker process per GPU; None where this process does all by itself."""
        count = min(self._order["gpus"], len(gpus_here()), len(self._order["trials"]))
        if count < 2:
            return None
        places = environments(count, max(1, self._order["cpus"] // count))
        logs = [folder / f"{environ_job() or 'job'}_worker-{index}_log.txt" for index in range(count)]
        seats = [Seat(place, log) for place, log in zip(places, logs, strict=True)]
        return Crew(self._sweep, self._order, seats, _Told())


class _Told(Watch):
    """What ended, for the job's log."""

    def ended(self, trial: SweepRow, status: str) -> None:
        """One line."""
        print(f"trial {trial['id']}: {status}", flush=True)
