"""Kill a local sweep again and again while it computes, and look at what is left each time.

``python benchmarks/kill_launcher.py`` starts a sweep of 72 trials on the embedded network and kills it 20 times (SIGKILL),
each time some moments after a trial has started: in turn the launcher, a worker and then the launcher, and all processes. It
resumes after each and checks: no finished record is gone or changed, and the store is readable. At the end the sweep is
finished and compared with an undisturbed one: the same trials, each once, the same bytes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.store.check import problems
from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat

T = TypeVar("T")
GRID = ["--method", "fqvit,fqvit+omse,fqvit+omse+evolq(passes=2)", "--bits", "w8a8,w4a8", "--calib", "16,32"]
GRID += ["--seed", "range(6)", "--eval-limit", "500", "--workers", "1", "--device", "cpu", "--quiet"]
WAYS = ("launcher", "worker, then launcher", "all at once")
LATEST_SECONDS = 10.0  # some trials finish before the kill
FILES = ("correct.npy", "quantizers.safetensors")


def wait(look: Callable[[], T | None]) -> T:
    """The first true result of ``look``; not for ever."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit("waited in vain")


def go(store: Store) -> subprocess.Popen[str]:
    """Start the sweep, or go on with it."""
    begun = list(store.root.glob("sweeps/*/submissions/1/packs.json"))
    words = ["resume", "--retry", "killed", "--quiet"] if begun else ["sweep", *GRID]
    command = [sys.executable, "-m", "harness", *words, "--store", str(store.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(store: Store) -> dict[str, str]:
    """Creation time of every done record."""
    return {record["id"]: record["created"] for record in store.records() if record["status"] == "done"}


def beating(store: Store) -> list[Beat]:
    """Heartbeats of trials that run."""
    beats = (heartbeat.read(store, folder.name) for folder in store.trial_folders())
    return [beat for beat in beats if beat is not None and beat.alive()]


def kill(store: Store, launcher: subprocess.Popen[str], way: str) -> None:
    """Kill while a trial runs."""
    if way.startswith("worker"):
        os.kill(wait(lambda: beating(store))[0].pid, signal.SIGKILL)
        wait(lambda: beating(store))  # the worker that takes its place
    if launcher.poll() is not None:
        raise SystemExit("the sweep ended before it could be killed: give it more trials")
    if way.startswith("all"):
        os.killpg(launcher.pid, signal.SIGKILL)
    else:
        launcher.kill()


def kill_once(store: Store, way: str, seconds: float) -> str:
    """One start, one kill, one look."""
    launcher = go(store)
    wait(lambda: beating(store))
    time.sleep(seconds)
    before = finished(store)
    kill(store, launcher, way)
    launcher.communicate()
    wait(lambda: not beating(store))
    after = finished(store)
    gone = [trial for trial in before if after.get(trial) != before[trial]]
    bad = [problem for problem in problems(store) if "interrupted" not in problem.reason]
    left_over = sum("interrupted" in problem.reason for problem in problems(store))
    if gone or bad:
        raise SystemExit(f"after the kill of {way}: gone or changed {gone}, broken {bad}")
    return (
        f"{way} killed {seconds:.1f} s after a trial began: {len(after)} done, none lost, {left_over} temporary files left"
    )


def results(store: Store) -> dict[str, object]:
    """What each trial gave: metrics, and its files as bytes."""
    return {
        record["id"]: (record["status"], record.get("metrics"), *_files(store, record["id"])) for record in store.records()
    }


def _files(store: Store, trial: str) -> list[bytes]:
    return [(store.folder(trial) / name).read_bytes() for name in FILES]


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
            told = kill_once(disturbed, WAYS[number % len(WAYS)], moments.uniform(0, LATEST_SECONDS))
            print(f"{number + 1:2d}  {told}", flush=True)
        for store in (disturbed, quiet):
            _, errors = go(store).communicate()
            print(errors.strip() or "finished", flush=True)
        same = results(disturbed) == results(quiet)
        attempts = len(list(disturbed.root.glob("trials/*/*/attempts/*.json")))
        print(f"{len(results(disturbed))} records, {attempts} failed attempts kept; equal to an undisturbed sweep: {same}")


if __name__ == "__main__":
    main()
