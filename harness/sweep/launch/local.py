"""The local launcher: N worker processes on this machine, one per GPU where there are any."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import psutil
import torch

from harness.errors import HarnessError
from harness.machine.measure import environment
from harness.machine.memory import WORKERS_VARIABLE
from harness.models.loading import full_name
from harness.store.placeholder_records import unrun
from harness.sweep.estimate import Estimator
from harness.sweep.heartbeat import Beat, read
from harness.sweep.launch import snapshot
from harness.sweep.launch.options import LocalOptions
from harness.sweep.launch.show import Show
from harness.sweep.launch.worker import log_path
from harness.sweep.manifest import Planned, Submission, Sweep
from harness.trial.record import Record

POLL_SECONDS = 1.0
CORES_PER_WORKER = 4
# Memory that a trial on a network without past records is assumed to need, and that is left to the rest of the machine.
UNKNOWN_BYTES = 2 * 2**30
SPARE_BYTES = 2**30


def workers_of(options: LocalOptions, trials: int) -> int:
    """How many processes to start."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = options.workers or gpus or max(1, (os.cpu_count() or 1) // CORES_PER_WORKER)
    return max(1, min(wanted, trials))


class WorkerProcess:
    """One worker process and what it is doing.

    Attributes:
        pack: Trials that it still has to run.
        trial: The trial that it runs; None between trials.
    """

    def __init__(self, index: int, command: list[str], environment_: dict[str, str], log: Path) -> None:
        self.index = index
        self.pack: deque[str] = deque()
        self.trial: str | None = None
        self.started = time.monotonic()
        self.ready = False
        with log.open("a") as output:
            self.process = subprocess.Popen(
                command, env=environment_, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True
            )

    def start(self, trial: str) -> None:
        """Give it a trial."""
        assert self.process.stdin is not None
        self.trial, self.started = trial, time.monotonic()
        self.process.stdin.write(trial + "\n")
        self.process.stdin.flush()

    def memory(self) -> int:
        """Bytes in use."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def close(self) -> None:
        """End its input, so that it saves its state and stops."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalLauncher:
    """Runs a submission's trials and returns when all of them have ended.

    Args:
        sweep: The sweep.
        submission: The trials by pack.
        options: Number of processes.
        code: Folder that comes first on the path of the workers.
        show: Display.
        estimator: Knows how much memory trials needed.
    """

    def __init__(
        self, sweep: Sweep, submission: Submission, options: LocalOptions, code: Path, show: Show, estimator: Estimator
    ) -> None:
        self.sweep = sweep
        self.submission = submission
        self.code = code
        self.show = show
        self.estimator = estimator
        self.workers: list[WorkerProcess] = []
        self.results: dict[str, str] = {}
        self._planned: dict[str, Planned] = {planned.id: planned for planned in sweep.planned}
        self._packs = deque(deque(pack) for pack in submission.packs)
        self._left = sum(map(len, self._packs))
        self._count = workers_of(options, self._left)
        self._selector = selectors.DefaultSelector()

    def run(self) -> dict[str, str]:
        """Run everything; status by trial id.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C; workers have saved their state and ended.
            HarnessError: Workers cannot start.
        """
        me = psutil.Process()
        about = {"host": socket.gethostname(), "pid": me.pid, "started": me.create_time()}
        self.submission.started({"local": about})
        try:
            self.workers = [self._start(index) for index in range(self._count)]
            while len(self.results) < self._left and not self._idle_and_stopped():
                self._dispatch()
                for key, _ in self._selector.select(POLL_SECONDS):
                    self._hear(key.data)
                self._display()
        finally:
            for worker in self.workers:
                worker.close()
            self.submission.started({"local": {**about, "ended": True}})
        return self.results

    def _idle_and_stopped(self) -> bool:
        return bool(self.sweep.stopped) and not any(worker.trial for worker in self.workers)

    def _start(self, index: int) -> WorkerProcess:
        snapshot.verify(self.code)
        command = [sys.executable, "-P", "-m", "harness.sweep.launch.process"]  # -P: not the code of the present folder
        command += [str(self.sweep.store.root.absolute()), self.sweep.name, str(self.submission.number)]
        worker = WorkerProcess(index, command, self._environment(index), self.submission.folder / f"worker-{index}.txt")
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _environment(self, index: int) -> dict[str, str]:
        variables = dict(os.environ)
        variables |= snapshot.variables(self.code, variables.get("PYTHONPATH", ""))
        variables[WORKERS_VARIABLE] = str(self._count)
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._count))
        if torch.cuda.is_available():
            visible = variables.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
            devices = visible.split(",")
            variables["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
        return variables

    def _dispatch(self) -> None:
        for worker in self.workers:
            if worker.trial is None and worker.ready and not self.sweep.stopped:
                trial = self._next(worker)
                if trial is not None:
                    worker.start(trial)

    def _next(self, worker: WorkerProcess) -> str | None:
        """The next trial of the worker's pack, of a new pack, or of the fullest pack of another worker."""
        if not worker.pack and self._packs:
            worker.pack = self._packs.popleft()
        own = worker.pack or max((other.pack for other in self.workers), key=len)
        if not own or not self._memory_for(own[0]):
            return None
        return own.popleft() if own is worker.pack else own.pop()

    def _memory_for(self, trial: str) -> bool:
        """Whether memory suffices beside the running trials; the only running trial always starts."""
        running = [worker for worker in self.workers if worker.trial]
        if not running or torch.cuda.is_available():
            return True
        growing = sum(max(0, self._need(str(worker.trial)) - worker.memory()) for worker in running)
        return int(psutil.virtual_memory().available) - growing - SPARE_BYTES > self._need(trial)

    def _need(self, trial: str) -> int:
        return self.estimator.memory(full_name(self._planned[trial].spec.model)) or UNKNOWN_BYTES

    def _hear(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        line = worker.process.stdout.readline()
        if not line:
            self._died(worker)
            return
        answer: dict[str, Any] = json.loads(line)
        if "ready" in answer:
            worker.ready = True
            return
        worker.trial = None
        self._ended(answer["trial"], answer["status"])

    def _ended(self, trial: str, status: str) -> None:
        self.results[trial] = status
        record = self.sweep.store.get(trial)
        planned = self._planned[trial]
        self.show.ended(planned.spec, trial, status, record, log_path(self.sweep.store, trial))

    def _died(self, worker: WorkerProcess) -> None:
        """A worker ended by itself: its trial gets a record, and a new worker takes its place."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        code = worker.process.wait()
        if not worker.ready:
            log = self.submission.folder / f"worker-{worker.index}.txt"
            raise HarnessError(f"a worker process ended at its start with exit code {code}", f"its output: {log}")
        trial = worker.trial
        if trial is not None:
            self.sweep.store.save(self._killed(trial, code))
            self._ended(trial, "failed")
            if self.submission.content["fail_fast"]:
                self.sweep.stop(f"fail-fast: trial {trial} failed (killed)")
        replacement = self._start(worker.index)
        replacement.pack = worker.pack
        self.workers[worker.index] = replacement

    def _killed(self, trial: str, code: int) -> Record:
        beat = read(self.sweep.store, trial)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        where = f" in stage {beat.progress}" if beat else ""
        hint = "; the system kills a process that needs too much memory this way" if code == -signal.SIGKILL else ""
        message = f"its process ended with {how}{where}{hint}"
        facts = environment(torch.device("cpu"))
        return unrun(self._planned[trial].spec, trial, "failed", "killed", message, facts)

    def _display(self) -> None:
        running = [
            (worker.index, worker.trial, time.monotonic() - worker.started) for worker in self.workers if worker.trial
        ]
        rows = [(index, self._planned[trial].spec, self._beat(trial), seconds) for index, trial, seconds in running]
        self.show.running(rows, len(self.results), self._left)

    def _beat(self, trial: str) -> Beat | None:
        return read(self.sweep.store, trial)
