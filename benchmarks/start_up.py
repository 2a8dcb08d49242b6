"""Seconds until help and lists are printed, against an interpreter that does nothing, in one run.

``python benchmarks/start_up.py [--repeat 5]``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

HARNESS = [sys.executable, "-m", "harness"]
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "harness --help": [*HARNESS, "--help"],
    "harness run --help": [*HARNESS, "run", "--help"],
    "harness sweep --help": [*HARNESS, "sweep", "--help"],
    "harness list methods": [*HARNESS, "list", "methods"],
    "harness list models": [*HARNESS, "list", "models"],
    "harness list data": [*HARNESS, "list", "data"],
    "harness status": [*HARNESS, "status"],
}


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print; cases take turns, so that other work on the machine falls on all of them alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="the median of that many is printed (default: 5)")
    repeat = parser.parse_args().repeat
    rounds = [{name: seconds(command) for name, command in CASES.items()} for _ in range(repeat)]
    base = median(times["python -c pass"] for times in rounds)
    for name in CASES:
        middle = median(times[name] for times in rounds)
        print(f"{name:24} {middle:6.3f} s   {middle / base:5.2f} times python -c pass")


if __name__ == "__main__":
    main()
