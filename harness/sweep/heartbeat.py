"""Signs of life of a running trial: ``heartbeat.json`` in its folder, rewritten every few seconds by its process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from harness.machine.progress import Progress, Task
from harness.store.store import Store, write_json
from harness.store.sweep_files import BEAT, BrokenSweepFileError
from harness.store.sweep_files import read as read_file

log = logging.getLogger(__name__)

INTERVAL_VARIABLE = "HARNESS_HEARTBEAT_SECONDS"
INTERVAL_SECONDS = 5.0
STALE_SECONDS = 60.0  # network file systems show a file some seconds late; clocks of nodes differ a little


@dataclass(frozen=True)
class Beat:
    """What a running trial reports about itself.

    Attributes:
        host: Name of the machine.
        pid: Process.
        started_process: When the process started, to distinguish it from a later process with the same number.
        job: Job of the cluster; empty elsewhere.
        stage: What it does now.
        step: Finished steps of the stage.
        steps: Steps of the stage; 0 where there are none.
        started: When the trial started, seconds since 1970.
        beat: When this was written.
        interrupted: The process was interrupted and saved its state.
    """

    host: str
    pid: int
    started_process: float
    job: str = ""
    stage: str = "start"
    step: float = 0
    steps: float = 0
    started: float = 0.0
    beat: float = 0.0
    interrupted: bool = False

    def alive(self, now: float | None = None) -> bool:
        """Whether its process runs, as far as can be seen from here."""
        if self.interrupted:
            return False
        if self.host == socket.gethostname():
            return process_alive(self.pid, self.started_process)
        return (time.time() if now is None else now) - self.beat < STALE_SECONDS

    @property
    def progress(self) -> str:
        """The stage with its steps, for people."""
        return f"{self.stage} {self.step:g}/{self.steps:g}" if self.steps else self.stage


def process_alive(pid: int, started: float) -> bool:
    """Whether a process of this machine runs and is the one that started then."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def path_of(store: Store, trial: str) -> Path:
    """Where a trial's heartbeat is."""
    return store.folder(trial) / "heartbeat.json"


def read(store: Store, trial: str) -> Beat | None:
    """The last heartbeat of a trial; None when there is none or it is broken."""
    try:
        return Beat(**read_file(path_of(store, trial), BEAT))
    except (FileNotFoundError, BrokenSweepFileError):
        return None


class Heart(Progress):
    """Beats while trials run, and passes progress on to a display.

    Args:
        store: The store.
        job: Job of the cluster; empty elsewhere.
        display: Where progress is shown.
    """

    def __init__(self, store: Store, job: str = "", display: Progress | None = None) -> None:
        self._store = store
        self._display = display or Progress()
        self._save: Callable[[], None] = lambda: None
        self._trial: str | None = None
        process = psutil.Process()
        self._beat = Beat(socket.gethostname(), process.pid, process.create_time(), job)
        self._interrupted = False
        self._writing = threading.RLock()  # of the thread that beats, and of a signal's handler inside a write
        self._stopped = threading.Event()
        self._interval = float(os.environ.get(INTERVAL_VARIABLE) or INTERVAL_SECONDS)

    @contextmanager
    def of(self, trial: str) -> Iterator[None]:
        """Beat for a trial; the file goes when the block ends, unless the process was interrupted."""
        self._beat = replace(self._beat, stage="start", step=0, steps=0, started=time.time())
        self._interrupted = False
        self._trial = trial
        self._store.folder(trial).mkdir(parents=True, exist_ok=True)
        self._stopped = threading.Event()
        self._write()
        thread = threading.Thread(target=self._keep_beating, args=(self._stopped,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
            self._save = lambda: None
            self._trial = None
            if not self._interrupted:
                self._remove(path_of(self._store, trial))

    def _keep_beating(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._interval):
            self._write()

    def _write(self) -> None:
        """Write the file. An interruption that comes while it is written is written after it, by whoever it was."""
        trial = self._trial
        if trial is None:
            return
        with self._writing:
            written: Beat | None = None
            while written is None or written.interrupted != self._interrupted:
                written = replace(self._beat, beat=time.time(), interrupted=self._interrupted)
                self._write_file(trial, written)

    def _write_file(self, trial: str, beat: Beat) -> None:
        try:
            write_json(path_of(self._store, trial), asdict(beat))
        except OSError as error:  # a full disk must not end the trial here; its record will say so
            log.warning("heartbeat of %s not written: %s", trial, error)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # the trial has ended and its record says how
            log.warning("%s is not deleted: %s", path, error)

    @property
    def interrupted(self) -> bool:
        """Whether the process was interrupted."""
        return self._interrupted

    def owns(self, beat: Beat) -> bool:
        """Whether a beat is of this process, or of this job before it was queued again."""
        own = self._beat
        return (beat.host, beat.pid) == (own.host, own.pid) or (bool(own.job) and beat.job == own.job)

    def interrupt(self) -> None:
        """Save the search's state and mark the heartbeat as interrupted."""
        self._save()
        self._interrupted = True
        self._write()

    def stage(self, name: str) -> None:
        """Beat at once: the stage changed."""
        self._beat = replace(self._beat, stage=name, step=0, steps=0)
        self._write()
        self._display.stage(name)

    def interruptible(self, save: Callable[[], None]) -> None:
        """Remember what saves the state."""
        self._save = save

    def say(self, text: str) -> None:
        """Pass on."""
        self._display.say(text)

    @contextmanager
    def task(self, description: str, total: float) -> Iterator[Task]:
        """Count steps and pass them on."""
        self._beat = replace(self._beat, step=0, steps=total)
        with self._display.task(description, total) as shown:
            yield _Counted(self, shown)

    def count(self, steps: float) -> None:
        """Some steps are finished."""
        self._beat = replace(self._beat, step=self._beat.step + steps)


class _Counted(Task):
    """A task whose steps the heart counts."""

    def __init__(self, heart: Heart, shown: Task) -> None:
        self._heart = heart
        self._shown = shown

    def advance(self, steps: float = 1) -> None:
        self._heart.count(steps)
        self._shown.advance(steps)

    def update(self, text: str) -> None:
        self._shown.update(text)


def environ_job() -> str:
    """Id of the cluster's job that this process belongs to; empty elsewhere."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def describe(beat: Beat) -> dict[str, Any]:
    """What status shows of a beat, as plain values."""
    return {"stage": beat.progress, "host": beat.host, "pid": beat.pid, "job": beat.job, "age_s": time.time() - beat.beat}
