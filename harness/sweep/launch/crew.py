"""Worker processes of one machine and the trials that they run: of the local launcher, and of a job with several GPUs."""

from __future__ import annotations

import json
import selectors
import signal
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from harness.errors import HarnessError
from harness.machine.measure import environment
from harness.store.placeholder_records import unrun
from harness.store.sweep_files import PackOrder, SweepRow
from harness.sweep.heartbeat import read
from harness.sweep.launch import snapshot
from harness.sweep.launch.workers import Seat, WorkerProcess
from harness.sweep.manifest import Sweep
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

POLL_SECONDS = 1.0


class Watch:
    """What is done beside running trials: nothing, unless a subclass says otherwise."""

    def may_start(self, trial: SweepRow, running: Sequence[WorkerProcess]) -> bool:
        """Whether a trial may start beside those that run."""
        return True

    def ended(self, trial: SweepRow, status: str) -> None:
        """A trial ended."""

    def look(self, workers: Sequence[WorkerProcess], ended: int, total: int) -> None:
        """Called about once a second."""


class Crew:
    """Runs packs of trials with a worker process per seat, and replaces workers that die.

    Args:
        sweep: The sweep.
        order: How trials run; its trials are not looked at.
        seats: Where workers sit.
        watch: What is done beside.
    """

    def __init__(self, sweep: Sweep, order: PackOrder, seats: Sequence[Seat], watch: Watch | None = None) -> None:
        self.sweep = sweep
        self.workers: list[WorkerProcess] = []
        self.results: dict[str, str] = {}
        self._settings = json.dumps({**order, "trials": []})
        self._fail_fast = order["fail_fast"]
        self._seats = seats
        self._watch = watch or Watch()
        self._packs: deque[deque[SweepRow]] = deque()
        self._total = 0
        self._interrupted = False
        self._selector = selectors.DefaultSelector()

    def run(self, packs: Iterable[Iterable[SweepRow]]) -> dict[str, str]:
        """Run everything; status by trial id.

        Raises:
            HarnessError: Workers cannot start.
        """
        self._packs = deque(map(deque, packs))
        self._total = sum(map(len, self._packs))
        try:
            self.workers = [self._start(index) for index in range(len(self._seats))]
            while len(self.results) < self._total and not self._idle_and_stopped():
                self._dispatch()
                for key, _ in self._selector.select(POLL_SECONDS):
                    self._hear(key.data)
                self._watch.look(self.workers, len(self.results), self._total)
        finally:
            self.interrupt()
        return self.results

    def interrupt(self) -> None:
        """Let all workers save their states and end; nothing more starts."""
        self._interrupted = True
        for worker in self.workers:
            worker.close()
        for worker in self.workers:
            worker.wait()

    def _idle_and_stopped(self) -> bool:
        stopped = self._interrupted or bool(self.sweep.stopped)
        return stopped and not any(worker.trial for worker in self.workers)

    def _start(self, index: int) -> WorkerProcess:
        seat = self._seats[index]
        if seat.code is not None:
            snapshot.verify(seat.code)
        command = [sys.executable, "-P", "-m", "harness.sweep.launch.process"]  # -P: not the code of the present folder
        command += [str(self.sweep.store.root.absolute()), self.sweep.name, self._settings]
        worker = WorkerProcess(index, command, seat)
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _dispatch(self) -> None:
        for worker in self.workers:
            if worker.trial is None and worker.ready and not self._interrupted and not self.sweep.stopped:
                trial = self._next(worker)
                if trial is not None:
                    worker.start(trial)

    def _next(self, worker: WorkerProcess) -> SweepRow | None:
        """The next trial of the worker's pack, of a new pack, or of the fullest pack of another worker."""
        if not worker.pack and self._packs:
            worker.pack = self._packs.popleft()
        own = worker.pack or max((other.pack for other in self.workers), key=len)
        if not own or not self._watch.may_start(own[0], [other for other in self.workers if other.trial]):
            return None
        return own.popleft() if own is worker.pack else own.pop()

    def _hear(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        line = worker.process.stdout.readline()
        if not line:
            self._died(worker)
            return
        answer: dict[str, Any] = json.loads(line)
        if "ready" in answer:
            worker.ready = True
        elif worker.trial is not None:
            trial, worker.trial = worker.trial, None
            self._ended(trial, answer["status"])

    def _ended(self, trial: SweepRow, status: str) -> None:
        self.results[trial["id"]] = status
        self._watch.ended(trial, status)

    def _died(self, worker: WorkerProcess) -> None:
        """A worker ended by itself: its trial gets a record, and a new worker takes its place."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        code = worker.process.wait()
        if not worker.ready:
            log = self._seats[worker.index].log
            raise HarnessError(f"a worker process ended at its start with exit code {code}", f"its output: {log}")
        trial = worker.trial
        if trial is not None:
            status = self._after_death(trial, code)
            self._ended(trial, status)
            if self._fail_fast and status == "failed":
                self.sweep.stop(f"fail-fast: trial {trial['id']} failed (killed)")
        replacement = self._start(worker.index)
        replacement.pack = worker.pack
        self.workers[worker.index] = replacement

    def _after_death(self, trial: SweepRow, code: int) -> str:
        """The status of a trial whose process ended: a process can die after it has written that the trial is done."""
        self.sweep.store.save(self._killed(trial, code))
        record = self.sweep.store.get(trial["id"])
        return "failed" if record is None else record["status"]

    def _killed(self, trial: SweepRow, code: int) -> Record:
        beat = read(self.sweep.store, trial["id"])
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        where = f" in stage {beat.progress}" if beat else ""
        hint = "; the system kills a process that needs too much memory this way" if code == -signal.SIGKILL else ""
        facts = environment(torch.device("cpu"))
        message = f"its process ended with {how}{where}{hint}"
        return unrun(TrialSpec.from_dict(trial["spec"]), trial["id"], "failed", "killed", message, facts)
