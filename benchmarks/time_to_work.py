"""Seconds from a command to its first useful work, against importing torch and timm alone, in one run.

"Useful work" is the first stage of a trial that touches images: ``run`` says when it begins, for ``sweep`` (whose local
worker is a process of its own) the trial's heartbeat does. ``list`` and ``plan`` are timed to their end.

``python benchmarks/time_to_work.py [--repeat 3]``
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from harness.store.store import Store
from harness.sweep import heartbeat

TRIAL = ["--method", "fqvit", "--calib", "32", "--eval-limit", "2000", "--device", "cpu"]
EARLY = ("", "start", "starting", "capture")
HARNESS = [sys.executable, "-m", "harness"]


def whole(command: list[str], home: Path) -> float:
    """Seconds until a command has ended."""
    started = time.perf_counter()
    subprocess.run(command, env=environment(home), capture_output=True, check=True)
    return time.perf_counter() - started


def until_work(command: list[str], home: Path) -> float:
    """Seconds until the heartbeat of a trial says that it is behind capture."""
    store = Store(home)
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not _at_work(store):
            if process.poll() is not None and not _at_work(store):
                raise SystemExit(f"{' '.join(command)} ended before its first stage was seen")
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        process.wait()
    return seconds


def until_said(command: list[str], home: Path) -> float:
    """Seconds until ``run`` says that it loads calibration images."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "load calibration images" in line:
                break
        else:
            raise SystemExit(f"{' '.join(command)} said nothing of its first stage")
        seconds = time.perf_counter() - started
        process.stderr.read()
    return seconds


def _at_work(store: Store) -> bool:
    beats = [heartbeat.read(store, folder.name) for folder in store.trial_folders()]
    return any(beat is not None and beat.stage not in EARLY for beat in beats)


def environment(home: Path) -> dict[str, str]:
    """The present environment with a store of its own."""
    return {**os.environ, "HARNESS_HOME": str(home), heartbeat.INTERVAL_VARIABLE: "0.05"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="the median of that many is printed (default: 3)")
    arguments = parser.parse_args()
    imports = [sys.executable, "-c", "import torch, timm"]
    cases = {
        "import torch, timm": lambda home: whole(imports, home),
        "list methods, to the end": lambda home: whole([*HARNESS, "list", "methods"], home),
        "plan, to the end": lambda home: whole([*HARNESS, "plan", *TRIAL], home),
        "run, to the first stage": lambda home: until_said([*HARNESS, "run", *TRIAL], home),
        "sweep, to the first stage": lambda home: until_work([*HARNESS, "sweep", *TRIAL], home),
    }
    base = 0.0
    for name, measure in cases.items():
        found = []
        for _ in range(arguments.repeat):
            with tempfile.TemporaryDirectory() as home:
                found.append(measure(Path(home)))
        base = base or median(found)
        print(f"{name:28} {median(found):6.2f} s   {median(found) / base:5.2f} times the imports", flush=True)


if __name__ == "__main__":
    main()
