"""Faults on a real SLURM of two nodes: what ``status`` says, what ``resume`` does, whether the results are the same bytes.

``.ci/slurm python -m benchmarks.slurm_faults`` runs every fault in a store of its own, ``... scancel node-down`` some.
Each is a sweep of four trials, of which one is a search that is held in the middle while the fault happens. Prints a row
per fault: the states before and after each ``harness resume``, and how many of the four results equal those of an
undisturbed run (the record without times, per-image results and the quantized state as bytes).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat, process_alive
from harness.trial.record import Record
from tests.sweep.launch.waiting import KILLED_AFTER_SBATCH, Gate, Poison, wait_for

FIRST, SEARCH = "minmax", "fqvit+evolq(passes=2,cycles=1)"
TRIALS = ["--method", f"{FIRST},{SEARCH},fqvit,fqvit+omse", "--bits", "w4a8", "--calib", "8", "--eval-limit", "50"]
TRIALS += ["--device", "cpu"]
JOBS = ["--launcher", "slurm", "--gpus", "0", "--cpus", "1", "--memory-gb", "3.4", "--timeout", "20"]
FILES = ("correct.npy", "quantizers.safetensors")


class Bench:
    """One sweep in a store of its own.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "gate").mkdir()
        self.store = Store(folder / "runs")
        self.gate = Gate(folder / "gate")
        self.poison = Poison(folder / "gate")
        self.environment = {**os.environ, "HARNESS_HOME": str(self.store.root), "HARNESS_HEARTBEAT_SECONDS": "0.5"}
        self.environment |= {"PYTHONPATH": f"{folder / 'gate'}:{Path.cwd()}", "OMP_NUM_THREADS": "1"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A process of the command line."""
        command = [sys.executable, "-m", "harness", *words]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def harness(self, *words: str, code: int | None = None) -> str:
        """What the command line prints; a traceback or another exit code than ``code`` ends the benchmark."""
        process = self.start(*words)
        out, err = process.communicate()
        if "Traceback" in err or code not in (None, process.returncode):
            raise SystemExit(f"harness {' '.join(words)}: {err}")
        return out + err

    def sweep(self, *words: str) -> None:
        """Submit the sweep."""
        self.harness("sweep", *TRIALS, *JOBS, *words, code=0)

    def trials(self) -> list[dict[str, Any]]:
        """The trials of the only sweep as ``harness status`` tells of them."""
        out, _ = self.start("status", "--json").communicate()  # warnings are on the other stream
        found: list[dict[str, Any]] = json.loads(out)[0]["trials"]
        return found

    def states(self) -> str:
        """The states in a few words, with the kinds of failures."""
        named = sorted(trial["state"] + (f" ({trial['kind']})" if trial["kind"] else "") for trial in self.trials())
        return ", ".join(f"{named.count(name)} {name}" for name in dict.fromkeys(named))

    def settle(self) -> str:
        """Wait until nothing is queued or runs; the states."""
        wait_for(lambda: not {trial["state"] for trial in self.trials()} & {"queued", "running"}, pause=0.5)
        return self.states()

    def held(self) -> Beat:
        """Wait for the search that is held."""
        beat: Beat = self.gate.held(self.store)
        return beat

    def resume(self, *words: str) -> str:
        """Resume and wait; what it said first and how it ended."""
        text = self.harness("resume", *words)
        first = next(line for line in text.splitlines() if not line.startswith(("sweep ", "loading", "plan ")))
        told = re.sub(r": \d+ to \d+$", "", " ".join(first.split()).split("; ")[0])
        return f"`resume {' '.join(words)}`".replace(" `", "`") + f" {told}; then {self.settle()}"

    def equal(self, reference: Bench) -> int:
        """How many results equal the reference's."""
        return sum(
            _timeless(record) == _timeless(reference.store.get(record["id"]))
            and all(_bytes(self, record, name) == _bytes(reference, record, name) for name in FILES)
            for record in self.store.records()
            if record["status"] == "done"
        )


def _bytes(bench: Bench, record: Record, name: str) -> bytes:
    return (bench.store.folder(record["id"]) / name).read_bytes()


def _timeless(record: Record | None) -> Any:
    """A record without times, and without what tells of the machine and of interruptions."""
    if record is None:
        return None
    kept = {name: value for name, value in record.items() if name not in ("created", "seconds", "environment", "stages")}
    return {**kept, "stages": [stage["name"] for stage in record["stages"]]}


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def worker_killed(bench: Bench) -> list[str]:
    """Process of a job killed (kill -9)."""
    bench.sweep("--pack", "1")
    os.kill(bench.held().pid, signal.SIGKILL)
    bench.gate.open()
    return [bench.settle(), bench.resume(), bench.resume("--retry", "killed")]


def memory(bench: Bench) -> list[str]:
    """The first of a pack of four needs more than the job's memory."""
    bench.gate.open()
    bench.poison.lay("memory")
    bench.sweep("--pack", "4")
    said = [bench.settle(), bench.resume()]
    bench.poison.remove()
    return [*said, bench.resume("--retry", "oom", "--set", "launcher.memory_gb=5")]


def time_limit_deaf(bench: Bench) -> list[str]:
    """Time limit: the first of a pack of four hangs, and hears no warning."""
    bench.gate.open()
    bench.poison.lay("deaf")
    bench.sweep("--pack", "4")
    bench.poison.met()
    (beat,) = filter(None, (heartbeat.read(bench.store, trial["id"]) for trial in bench.trials()))
    scontrol("update", f"jobid={beat.job}", "timelimit=1")
    said = [bench.settle(), bench.resume()]
    bench.poison.remove()
    return [*said, bench.resume("--retry", "timeout", "--set", "launcher.timeout_min=30")]


def time_limit_warned(bench: Bench) -> list[str]:
    """Time limit after a warning."""
    bench.sweep("--pack", "1")
    beat = bench.held()
    scontrol("update", f"jobid={beat.job}", "timelimit=1")
    wait_for(lambda: any("interrupted" in trial["detail"] for trial in bench.trials()))
    said = bench.states()
    bench.gate.open()
    return [said, f"goes on by itself; then {bench.settle()}", bench.resume()]


def cancel(bench: Bench) -> str:
    """Cancel the job of the search that is held, and wait until its process is gone; the states."""
    beat = bench.held()
    subprocess.run(["scancel", beat.job], check=True)
    wait_for(lambda: not process_alive(beat.pid, beat.started_process))
    return bench.settle()


def cancelled(bench: Bench) -> list[str]:
    """Running job cancelled (scancel)."""
    bench.sweep("--pack", "1")
    said = cancel(bench)
    bench.gate.open()
    return [said, bench.resume()]


@contextmanager
def node_of(beat: Beat) -> Iterator[str]:
    """The node of a job goes down, and comes back at the end."""
    scontrol("update", f"nodename={beat.host}", "state=down", "reason=test")
    yield beat.host
    # SLURM refuses this when the node's daemon has registered since, which brings it back too.
    subprocess.run(["scontrol", "update", f"nodename={beat.host}", "state=resume"], capture_output=True, check=False)
    look = ["sinfo", "-h", "-n", beat.host, "-t", "idle,mixed,allocated", "-o", "%T"]
    wait_for(lambda: subprocess.run(look, capture_output=True, check=True).stdout)


def node_down(bench: Bench) -> list[str]:
    """Node down, jobs may not be queued again."""
    bench.sweep("--pack", "1", "+launcher.sbatch.no-requeue=true")
    beat = bench.held()
    with node_of(beat):
        said = bench.settle()
        wait_for(lambda: not process_alive(beat.pid, beat.started_process))
        bench.gate.open()
        return [said, bench.resume()]


def node_down_requeue(bench: Bench) -> list[str]:
    """Node down, SLURM queues its job again."""
    bench.sweep("--pack", "1")
    with node_of(bench.held()):
        said = bench.states()
        bench.gate.open()
        return [said, f"goes on by itself; then {bench.settle()}", bench.resume()]


def controller_restarts(bench: Bench) -> list[str]:
    """Controller killed, and started again (slurmctld)."""
    bench.sweep("--pack", "1")
    bench.held()
    pid = int((Path(os.environ["HARNESS_TEST_SLURM"]) / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    said = bench.states()
    subprocess.run(["slurmctld"], check=True)
    wait_for(lambda: subprocess.run(["scontrol", "ping"], capture_output=True, text=True).stdout.count("UP"))
    bench.gate.open()
    return [f"while it is down: {said}", f"goes on by itself; then {bench.settle()}", bench.resume()]


def submitter_killed(bench: Bench) -> list[str]:
    """Submitting process killed as soon as sbatch has returned."""
    bench.gate.open()
    before = _jobs()
    command = [sys.executable, "-c", KILLED_AFTER_SBATCH, "sweep", *TRIALS, *JOBS, "--pack", "1"]
    ended = subprocess.run(command, env=bench.environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended
    return [bench.states(), bench.resume(), f"{_jobs() - before} jobs in all"]


def two_resumes(bench: Bench) -> list[str]:
    """Two resumes at once after a job was killed."""
    bench.sweep("--pack", "1")
    said = cancel(bench)
    bench.gate.open()
    both = [bench.start("resume"), bench.start("resume")]
    for process in both:
        process.communicate()
    return [said, f"twice `resume`; then {bench.settle()}"]


def poisoned_pack(bench: Bench) -> list[str]:
    """The first trial of a pack of four kills its process each time."""
    bench.gate.open()
    bench.poison.lay("kill")
    bench.sweep("--pack", "4")
    said = [bench.settle(), bench.resume(), bench.resume("--retry", "killed")]
    bench.poison.remove()
    return [*said, f"mended: {bench.resume('--retry', 'killed')}"]


def other_node(bench: Bench) -> list[str]:
    """Process killed on another node, resumed at once."""
    bench.sweep("--pack", "1", "--sbatch", "nodelist=nb")
    beat = bench.held()
    os.kill(beat.pid, signal.SIGKILL)
    wait_for(lambda: subprocess.run(["squeue", "-h", "-j", beat.job, "-t", "running"], capture_output=True).stdout == b"")
    age = time.time() - beat.beat
    bench.gate.open()
    said = [f"{age:.0f} s after its last heartbeat: {bench.states()}", bench.resume("--retry", "killed")]
    return said


def _jobs() -> int:
    """Jobs that SLURM knows of, of all sweeps; it forgets none while this runs."""
    text = subprocess.run(["squeue", "-h", "-r", "-t", "all"], capture_output=True, text=True, check=True).stdout
    return len(text.splitlines())


FAULTS: dict[str, Callable[[Bench], list[str]]] = {
    "kill": worker_killed,
    "memory": memory,
    "time-deaf": time_limit_deaf,
    "time-warned": time_limit_warned,
    "scancel": cancelled,
    "node-down": node_down,
    "node-down-requeue": node_down_requeue,
    "slurmctld": controller_restarts,
    "submitter": submitter_killed,
    "two-resumes": two_resumes,
    "poisoned-pack": poisoned_pack,
    "other-node": other_node,
}


def tried(name: str, reference: Bench, folder: Path) -> str:
    """One fault as a row of a table."""
    folder.mkdir()
    bench = Bench(folder)
    began = time.monotonic()
    said = FAULTS[name](bench)
    about = (FAULTS[name].__doc__ or "").strip().rstrip(".")
    rest = "<br>".join(said[1:])
    return f"| {about} | {said[0]} | {rest} | {bench.equal(reference)} of 4 | {time.monotonic() - began:.0f} |"


def main() -> None:
    """Run the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)} (default: all)")
    names = parser.parse_args().faults or list(FAULTS)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "reference").mkdir()
        reference = Bench(Path(folder) / "reference")
        reference.gate.open()
        reference.harness("sweep", *TRIALS, "--workers", "1", "--quiet")
        print("| fault | `status` | `resume` | results equal | seconds |\n|---|---|---|---|---|", flush=True)
        for name in names:
            print(tried(name, reference, Path(folder) / name), flush=True)


if __name__ == "__main__":
    main()
