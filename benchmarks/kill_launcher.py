"""Kill the local launcher at random moments of a sweep and look at what is left each time.

``python benchmarks/kill_launcher.py`` starts a sweep of 36 trials on the embedded network, kills its launcher with SIGKILL
at 20 random moments, resumes after each, and checks: no finished record is gone or changed, no trial is there twice, the
store is readable, and the final records equal those of an undisturbed sweep.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.store.check import problems
from harness.store.store import Store
from harness.sweep import heartbeat

GRID = ["--method", "fqvit,fqvit+omse,fqvit+omse+evolq(passes=40)", "--bits", "w8a8,w4a8", "--calib", "16,32"]
GRID += ["--seed", "range(3)", "--eval-limit", "500", "--workers", "1", "--device", "cpu", "--quiet"]


def sweep(root: Path) -> subprocess.Popen[str]:
    """Start or go on with the sweep."""
    command = [sys.executable, "-m", "harness", "sweep", *GRID, "--store", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(store: Store) -> dict[str, str]:
    """Creation time of every done record."""
    return {record["id"]: record["created"] for record in store.records() if record["status"] == "done"}


def wait_for_workers(store: Store) -> None:
    """Until no process beats any more."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        beats = [heartbeat.read(store, folder.name) for folder in store.trial_folders()]
        if not any(beat is not None and beat.alive() for beat in beats):
            return
        time.sleep(0.1)
    raise SystemExit("workers outlived their launcher")


def kill_once(store: Store, seconds: float) -> str:
    """One start, one kill, one look."""
    launcher = sweep(store.root)
    time.sleep(seconds)
    before = finished(store)
    ended = launcher.poll() is not None
    launcher.kill()
    launcher.communicate()
    wait_for_workers(store)
    after = finished(store)
    gone = [trial for trial in before if after.get(trial) != before[trial]]
    bad = [problem for problem in problems(store) if "interrupted" not in problem.reason]
    twice = len(after) - len({record["id"] for record in store.records()})
    left_over = sum("interrupted" in problem.reason for problem in problems(store))
    if gone or bad or twice:
        raise SystemExit(f"after {seconds:.1f} s: gone or changed {gone}, broken {bad}, twice {twice}")
    how = "had ended" if ended else "killed"
    return f"{how} after {seconds:4.1f} s: {len(after):2d} done, none lost, none twice, {left_over} temporary files left"


def results(store: Store) -> dict[str, object]:
    """Metrics by trial."""
    return {record["id"]: record.get("metrics") for record in store.records()}


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        disturbed, quiet = Store(Path(folder) / "disturbed"), Store(Path(folder) / "quiet")
        for number in range(given.kills):
            print(f"{number + 1:2d}  {kill_once(disturbed, moments.uniform(8, 26))}", flush=True)
        for store in (disturbed, quiet):
            _, errors = sweep(store.root).communicate()
            if errors.strip():
                print(errors)
        same = results(disturbed) == results(quiet)
        print(f"{len(results(disturbed))} records; equal to an undisturbed sweep: {same}")


if __name__ == "__main__":
    main()
