"""Seconds from a command to its first useful work, against importing torch and timm alone, in one run.

"Useful work" is the first stage of a trial that touches images: the heartbeat of ``run`` and of ``sweep`` (whose local
worker is a process of its own) says when it begins. ``list`` and ``plan`` are timed to their end.

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

TRIAL = ["--method", "fqvit", "--calib", "32", "--eval-limit", "2000", "--device", "cpu"]
HARNESS = [sys.executable, "-m", "harness"]


def whole(command: list[str], home: Path) -> float:
    """Seconds until a command has ended."""
    started = time.perf_counter()
    subprocess.run(command, env=environment(home), capture_output=True, check=True)
    return time.perf_counter() - started


def until_work(command: list[str], home: Path) -> float:
    """Seconds until a trial is behind the stage of capture."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if any(stage in line for stage in ("load calibration images", "fqvit: ", "calibrate", "stage fqvit")):
                break
        else:
            raise SystemExit(f"{' '.join(command)} said nothing of its first stage")
        seconds = time.perf_counter() - started
        process.stderr.read()
    return seconds


def environment(home: Path) -> dict[str, str]:
    """The present environment with a store of its own."""
    return {**os.environ, "HARNESS_HOME": str(home)}
