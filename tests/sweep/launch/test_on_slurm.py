"""The SLURM launcher on a real SLURM, where one answers: ``.ci/slurm pytest tests/sweep/launch/test_on_slurm.py``.

Searches stand at a gate until it is opened, so that everything happens in the state that a test is about.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness.cli.main import main
from harness.store.store import Store
from harness.sweep.heartbeat import process_alive
from harness.sweep.launch import start
from tests.slurm import requires_slurm
from tests.sweep.launch.test_crew import NOTE
from tests.sweep.launch.waiting import KILLED_AFTER_SBATCH, Poison, saved_searches, searching, wait_for

pytestmark = [requires_slurm, pytest.mark.slow]
SEARCH = "fqvit+evolq(passes=2,cycles=1)"
# A job uses 1.7 GB: tests ask for twice as much.
JOBS = ["--launcher", "slurm", "--gpus", "0", "--cpus", "1", "--memory-gb", "3.4", "--timeout", "20", "--device", "cpu"]
TRIALS = ["--bits", "w4a8", "--calib", "8", "--eval-limit", "50"]


@pytest.fixture
def harness(tmp_path, capfd, monkeypatch, quick_beats, gate):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*words, check=0):
        monkeypatch.setattr("sys.argv", ["harness", *words])
        capfd.readouterr()
        try:
            code = main([*words])
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        assert code == check, out + err
        assert "Traceback" not in err
        return out + err

    return call


def looked(harness):
    (sweep,) = json.loads(harness("status", "--json"))
    return sweep


def settled(harness):
    def look():
        sweep = looked(harness)
        return None if {"queued", "running"} & set(sweep["states"]) else sweep

    return wait_for(look, pause=0.5)  # jobs need the cores


def held(store, trials):
    """Heartbeats of searches that all stand at the gate."""

    def look():
        beats = [searching(store, [trial], 0) for trial in trials]
        return beats if all(beats) and len(saved_searches(store)) == len(trials) else None

    return wait_for(look)


def searches(harness):
    return [trial["id"] for trial in looked(harness)["trials"] if "evolq" in trial["trial"]["method"]]


def test_a_cancelled_and_a_preempted_job(harness, tmp_path, gate):
    store = Store(tmp_path / "runs")
    grid = ["--method", f"minmax,{SEARCH}", "--bits", "w8a8,w4a8", "--calib", "8", "--eval-limit", "50"]
    assert "slurm         4 jobs in 1 arrays" in harness("sweep", *grid, *JOBS, "--pack", "1")
    assert "queued or running already" in harness("sweep", *grid, *JOBS, "--pack", "1"), "nothing is submitted twice"
    first, second = searches(harness)
    beats = held(store, [first, second])
    subprocess.run(["scancel", beats[0].job], check=True)
    subprocess.run(["scancel", "--batch", "--signal=USR2", beats[1].job], check=True)
    wait_for(lambda: _interrupted(harness, second))
    wait_for(lambda: not process_alive(beats[0].pid, beats[0].started_process))  # SLURM gives it some seconds
    gate.open()
    sweep = settled(harness)
    assert sweep["states"] == {"done": 3, "cancelled": 1}
    (cancelled,) = [trial for trial in sweep["trials"] if trial["state"] == "cancelled"]
    assert (cancelled["id"], cancelled["kind"]) == (first, "cancelled")
    assert store.get(second)["stages"][3]["notes"]["seconds_before_interruption"] > 0
    assert "submitted     1 jobs" in harness("resume", "--set", "launcher.timeout_min=30")
    assert settled(harness)["states"] == {"done": 4}
    assert "nothing to do: every trial has its record" in harness("resume")


def _interrupted(harness, trial):
    (state,) = [one for one in looked(harness)["trials"] if one["id"] == trial]
    return "interrupted, goes on where it was" in state["detail"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--partition", "nosuch"], "--partition"),
        (["--constraint", "nosuch"], "--constraint"),
        (["--sbatch", "nosuch=1"], "--sbatch nosuch"),
        (["--cpus", "5000"], "--cpus"),
    ],
)
def test_what_slurm_refuses_names_the_option(harness, words, option):
    error = harness("sweep", "--method", "fqvit", *JOBS, *words, check=2)
    assert "SLURM refuses the submission" in error
    assert f"it is about {option}" in error or option in error.split("it is about")[1]


def test_cancel_stops_what_waits_and_what_runs(harness, tmp_path, gate):
    grid = ["--method", SEARCH, "--seed", "range(6)", *TRIALS]
    assert "6 jobs" in harness("sweep", *grid, *JOBS, "--pack", "1", "--array-parallelism", "2")
    running = wait_for(lambda: looked(harness)["states"].get("running"))
    assert running <= 2
    assert "6 jobs cancelled" in harness("cancel")
    assert settled(harness)["states"] == {"cancelled": 6}
    assert "stopped: cancelled" in harness("status")
    assert "0 jobs cancelled" in harness("cancel")


def test_a_pack_whose_first_trial_eats_all_memory(harness, tmp_path, gate):
    """Killed each time: its own record says why, the others have their turn, and it can be run again with more memory."""
    poison = Poison(tmp_path / "gate")
    poison.lay("memory")
    gate.open()
    harness("sweep", "--method", f"minmax,{SEARCH},fqvit,fqvit+omse", *TRIALS, *JOBS, "--pack", "4")
    sweep = settled(harness)
    assert sweep["states"] == {"failed": 1, "lost": 3}
    assert sweep["failed_kinds"] == {"oom": 1}
    harness("resume")
    assert settled(harness)["states"] == {"done": 3, "failed": 1}
    poison.remove()
    harness("resume", "--retry", "oom", "--set", "launcher.memory_gb=4")
    assert settled(harness)["states"] == {"done": 4}


def test_three_arrays_and_two_jobs_at_a_time(harness, tmp_path, gate, monkeypatch):
    monkeypatch.setattr(start, "max_array", lambda: 1)
    harness("sweep", "--method", SEARCH, "--seed", "range(3)", *TRIALS, *JOBS, "--pack", "1", "--array-parallelism", "2")
    ids = searches(harness)
    held(Store(tmp_path / "runs"), ids[:2])
    (third,) = [trial for trial in looked(harness)["trials"] if trial["id"] == ids[2]]
    assert (third["state"], "Dependency" in third["detail"]) == ("queued", True)
    gate.open()
    assert settled(harness)["states"] == {"done": 3}


def test_jobs_of_a_submission_that_was_killed_are_found(harness, tmp_path, gate):
    grid = ["--method", f"minmax,{SEARCH}", *TRIALS]
    command = [sys.executable, "-c", KILLED_AFTER_SBATCH, "sweep", *grid, *JOBS, "--pack", "1"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert looked(harness)["states"] == {"queued": 2}
    said = harness("resume")
    assert "found 2 jobs" in said
    assert "nothing to do: 2 trials are queued or running already" in said
    gate.open()
    assert settled(harness)["states"] == {"done": 2}
    assert "submitted" not in harness("resume")


def test_a_job_with_two_gpus(harness, tmp_path, gate):
    if "gpu" not in subprocess.run(["sinfo", "-h", "-o", "%G"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this SLURM has no GPUs, not even made up ones")
    (tmp_path / "notes").mkdir()
    with (tmp_path / "gate" / "sitecustomize.py").open("a") as code:
        code.write(NOTE.format(folder=str(tmp_path / "notes")))
    gate.open()
    jobs = [*JOBS, "--gpus", "2", "--cpus", "2", "--memory-gb", "6.8"]
    assert "1 jobs" in harness("sweep", "--method", "minmax,fqvit", *TRIALS, *jobs, "--pack", "4")
    assert settled(harness)["states"] == {"done": 2}
    assert sorted(path.read_text() for path in (tmp_path / "notes").iterdir()) == ["0 1", "1 1"]
    assert os.environ["OMP_NUM_THREADS"] == "1"
