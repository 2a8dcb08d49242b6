"""A worker process of this machine: where it sits, which GPU and how many threads it has, and what it is doing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from harness.machine.memory import WORKERS_VARIABLE
from harness.store.sweep_files import SweepRow
from harness.sweep.launch import snapshot

CLOSE_SECONDS = 20  # for saving a search's state
THREADS_VARIABLE = "OMP_NUM_THREADS"
DEVICES_VARIABLE = "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """Cores that this process may use: a user or a cluster may have given it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus_here() -> list[str]:
    """GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = os.environ.get(DEVICES_VARIABLE)
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return list(map(str, range(torch.cuda.device_count()))) if torch.cuda.is_available() else []


def threads_of(workers: int) -> int:
    """Threads of each of several workers on this machine: what the user has set, else an equal share of the cores."""
    given = os.environ.get(THREADS_VARIABLE, "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, cores() // workers)


def environments(count: int, threads: int, code: Path | None = None) -> list[dict[str, str]]:
    """The environment of each of ``count`` workers: one GPU each where there are any.

    Args:
        count: Number of workers.
        threads: Threads of each.
        code: Copy of the code that comes first on their path; None to leave the path alone.
    """
    gpus = gpus_here()
    shared = {WORKERS_VARIABLE: str(count), THREADS_VARIABLE: str(threads)}
    if code is not None:
        shared |= snapshot.variables(code, os.environ.get("PYTHONPATH", ""))
    own = [{DEVICES_VARIABLE: gpus[index % len(gpus)]} if gpus else {} for index in range(count)]
    return [{**os.environ, **shared, **device} for device in own]


@dataclass(frozen=True)
class Seat:
    """Where a worker sits.

    Attributes:
        environment: Its environment.
        log: File for what it prints outside of trials.
        code: Copy of the code that it runs, which is looked at before; None where that was done already.
    """

    environment: Mapping[str, str]
    log: Path
    code: Path | None = None


class WorkerProcess:
    """One worker process and what it is doing.

    Attributes:
        index: Its seat.
        pack: Trials that it still has to run.
        trial: The trial that it runs; None between trials.
        started: When it got that trial, by the monotonic clock in seconds.
        ready: It has loaded everything.
    """

    def __init__(self, index: int, command: list[str], seat: Seat) -> None:
        self.index = index
        self.pack: deque[SweepRow] = deque()
        self.trial: SweepRow | None = None
        self.started = time.monotonic()
        self.ready = False
        with seat.log.open("a") as output:
            self.process = subprocess.Popen(
                command, env=seat.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True
            )

    def start(self, trial: SweepRow) -> None:
        """Give it a trial. A process that died meanwhile is noticed where its answers are read."""
        assert self.process.stdin is not None
        self.trial, self.started = trial, time.monotonic()
        try:
            self.process.stdin.write(json.dumps(trial) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def memory(self) -> int:
        """Bytes in use."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def close(self) -> None:
        """End its input, so that it saves its state and stops."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except BrokenPipeError:
            return

    def wait(self) -> None:
        """Until it has stopped; not for ever."""
        try:
            self.process.wait(timeout=CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
