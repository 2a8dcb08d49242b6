"""Wall time, peak memory and a description of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

SAMPLE_SECONDS = 0.02
PACKAGE = Path(__file__).resolve().parents[1]
COMMIT_FILE = "_commit.txt"  # in the package's folder of a sweep's copy of the code
LIBRARIES = ("torch", "timm", "numpy", "safetensors", "ptq-harness")


@dataclass
class Measurement:
    """What one stage cost; filled when its ``with`` block ends.

    Attributes:
        seconds: Wall time.
        peak_memory_bytes: Largest memory in use: allocated on the GPU, else resident set of this process.
    """

    seconds: float = 0.0
    peak_memory_bytes: int = 0


@contextmanager
def meter(device: torch.device) -> Iterator[Measurement]:
    """Measure a block."""
    measurement = Measurement()
    sampler = _Sampler() if device.type != "cuda" else None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    try:
        yield measurement
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        measurement.seconds = time.perf_counter() - started
        peak = sampler.stop() if sampler is not None else torch.cuda.max_memory_allocated(device)
        measurement.peak_memory_bytes = peak


class _Sampler:
    """Samples the resident set size in a thread: the kernel's own peak never goes down between stages."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = self._process.memory_info().rss
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def stop(self) -> int:
        """End sampling and return the peak in bytes."""
        self._stopped.set()
        self._thread.join()
        return int(max(self._peak, self._process.memory_info().rss))


def environment(device: torch.device, load_at_start: float | None = None) -> dict[str, Any]:
    """Versions, hardware, load and the project's commit, for the record; not part of a trial's identity.

    Args:
        device: What was computed on.
        load_at_start: ``load_per_core`` when the work began.
    """
    load = {"start": load_at_start, "end": load_per_core()}
    return {
        "python": platform.python_version(),
        "versions": {**{name: _version(name) for name in LIBRARIES}, "torch": torch.__version__},
        "commit": COMMIT,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "load": load if any(one is not None for one in load.values()) else None,
    }


def load_per_core() -> float | None:
    """Processes that ran or waited for a processor, the mean of the last minute over the machine's cores.

    1 means that every core had work; above it processes waited for each other. Cores are all of the machine, as the load is,
    also where this process may use only some. None where the system does not say.
    """
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 3)
    except (OSError, AttributeError):
        return None


def project_commit() -> str | None:
    """Commit of the project's source tree, with ``+changes`` when files differ; None outside a checkout.

    A sweep's copy of the code has it in a file.
    """
    written = PACKAGE / COMMIT_FILE
    if written.is_file():
        return written.read_text(encoding="utf-8").strip() or None
    folder = PACKAGE.parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's name; empty where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


COMMIT = project_commit()  # of the code that was loaded: the checkout may move on while a long run is under way
