"""The local launcher through the command line: whole sweeps, dying workers, a launcher that is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import namedtuple

import pytest

from harness.cli.main import main
from harness.store.check import problems
from harness.store.store import Store
from harness.sweep import heartbeat
from harness.sweep.manifest import find
from tests.lanes import NIGHTLY
from tests.sweep.launch.waiting import saved_searches, wait_for

GRID = ["--method", "fqvit,fqvit+omse", "--bits", "w8a8,w4a8", "--calib", "8", "--eval-limit", "50", "--device", "cpu"]
ONE_WIDTH = ["--bits", "w4a8", *GRID[4:]]
SEARCH = "fqvit+evolq(passes=2,cycles=1)"


Ended = namedtuple("Ended", "returncode stdout stderr")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv(heartbeat.INTERVAL_VARIABLE, "0.2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # threads that wait for each other leave the cores to other processes
    return Store(tmp_path / "runs")


@pytest.fixture
def harness(capfd, monkeypatch):
    """The command line in this process; workers are processes of their own all the same."""

    def call(*words, check=None):
        monkeypatch.setattr("sys.argv", ["harness", *words])
        capfd.readouterr()
        try:
            code = main([*words])
        except SystemExit as stop:
            code = stop.code
        ended = Ended(code, *capfd.readouterr())
        assert check is None or ended.returncode == check, ended
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    return call


@pytest.fixture
def status(harness):
    """The only sweep as ``harness status --json`` tells of it."""
    return lambda: json.loads(harness("status", "--json", check=0).stdout)[0]


def launcher(*words):
    """A launcher in a process of its own, to be killed."""
    command = [sys.executable, "-m", "harness", "sweep", *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heeds_ctrl_c,
    )


def _heeds_ctrl_c():
    """A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_sweep_from_plan_to_report(home, harness, status):
    plan = json.loads(harness("plan", *GRID, "--json", check=0).stdout)
    assert (plan["trials_total"], plan["to_run"], plan["steps"]) == (4, 4, {"total": 6, "in_store": 0, "shared": 2})
    first = harness("sweep", *GRID, "--workers", "2", check=0)
    assert "4 trials: 4 done" in first.stdout
    assert first.stderr.count("\ndone ") == 4, "one line per trial"
    records = list(home.records())
    assert {(record["stack"], record["bits"]) for record in records} == {
        (stack, bits) for stack in ("fqvit", "fqvit+omse") for bits in ("w8a8", "w4a8")
    }
    again = harness("sweep", *GRID, check=0)
    assert "nothing to do: every trial has its record" in again.stdout
    assert harness("resume", check=0).stdout.startswith("nothing to do")
    assert status()["states"] == {"done": 4}
    assert list(problems(home)) == []
    assert all(f"{record['metrics']['top1']:.2f}" in harness("report", check=0).stdout for record in records[:1])
    sweep = find(home, None)
    (code,) = (sweep.folder / "code").iterdir()
    assert (code / "harness" / "methods" / "fqvit.py").is_file(), "the code that was planned"
    commit = (code / "harness" / "_commit.txt").read_text()
    assert all(record["environment"]["commit"] == (commit or None) for record in records)
    log = harness("logs", records[0]["id"][:8], check=0)
    assert "evaluate" in log.stdout


def test_workers_run_the_planned_code_wherever_they_are_started(home, harness, tmp_path, monkeypatch):
    """A folder called harness in the present folder must not take the place of the snapshot."""
    (tmp_path / "here" / "harness").mkdir(parents=True)
    (tmp_path / "here" / "harness" / "__init__.py").write_text("raise RuntimeError('not the planned code')\n")
    monkeypatch.chdir(tmp_path / "here")
    harness("sweep", "--method", "minmax", "--calib", "8", "--eval-limit", "50", "--quiet", check=0)
    assert [record["status"] for record in home.records()] == ["done"]


def test_workers_that_cannot_start_are_explained(home, harness, tmp_path, monkeypatch):
    code = "import os, sys\nif 'harness.sweep.launch.process' in sys.orig_argv:\n    os._exit(9)\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = harness("sweep", "--method", "minmax", "--calib", "8", "--eval-limit", "50", "--quiet", check=2)
    assert "ended at its start with exit code 9" in ended.stderr
    assert "worker-0.txt" in ended.stderr


def test_a_worker_that_is_killed_leaves_a_record_and_the_others_go_on(home, harness, status, gate):
    sweep = launcher("--method", f"{SEARCH},minmax", *ONE_WIDTH, "--workers", "1")
    beat = gate.held(home)
    os.kill(beat.pid, signal.SIGKILL)
    gate.open()
    _, err = sweep.communicate()
    assert sweep.returncode == 1
    assert "killed: its process ended with signal SIGKILL in stage evolq" in err
    counted = status()
    assert counted["states"] == {"done": 1, "failed": 1}
    assert counted["failed_kinds"] == {"killed": 1}
    assert "--retry killed" in harness("status", check=0).stdout
    untouched = harness("resume", check=0)
    assert "nothing to do" in untouched.stdout
    (failed,) = [record for record in home.records() if record["status"] == "failed"]
    harness("resume", "--retry", "killed", "--quiet", check=0)
    assert status()["states"] == {"done": 2}
    repeated = home.get(failed["id"])
    evolq = next(stage for stage in repeated["stages"] if stage["name"] == "evolq")
    assert evolq["notes"]["seconds_before_interruption"] > 0, "the search went on where it was"


def test_a_launcher_that_is_killed_loses_nothing(home, harness, status, gate):
    """What is finished stays, what ran is lost and said so, nothing is there twice."""
    for _ in range(2 if NIGHTLY else 1):
        sweep = launcher("--method", f"fqvit,{SEARCH}", *ONE_WIDTH, "--quiet")
        beat = gate.held(home)
        before = {record["id"]: record["created"] for record in home.records()}
        sweep.kill()
        sweep.communicate()
        wait_for(lambda pid=beat.pid, started=beat.started_process: not heartbeat.process_alive(pid, started))
        assert {record["id"]: record["created"] for record in home.records()}.items() >= before.items()
        assert [p for p in problems(home) if not p.path.name.startswith(".")] == []
        states = status()["states"]
        assert states.get("lost", 0) == 1
        assert sum(states.values()) == 2
        assert "running" not in states
    gate.open()
    harness("resume", "--quiet", check=0)
    assert status()["states"] == {"done": 2}
    assert len(list(home.records())) == 2


def test_fail_fast_starts_nothing_more(home, harness, status, tmp_path, monkeypatch):
    (tmp_path / "inject").mkdir()
    boom = (
        "import harness.methods.omse as m\ndef apply(self, *a):\n    raise RuntimeError('injected')\nm.Omse.apply = apply\n"
    )
    (tmp_path / "inject" / "sitecustomize.py").write_text(boom)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "inject"))
    ended = harness("sweep", *GRID, "--fail-fast", "--workers", "1", check=1)
    assert "injected" in ended.stderr
    states = status()["states"]
    assert states["failed"] == 1
    assert states["planned"] >= 1
    assert "stopped: fail-fast" in harness("status", check=0).stdout
    monkeypatch.delenv("PYTHONPATH")
    harness("resume", "--retry", "bug", "--set", "batch=16", "--quiet", check=0)
    assert status()["states"] == {"done": 4}
    assert 16 in {record["environment"]["evaluation_batch"] for record in home.records()}


def test_ctrl_c_and_cancel(home, harness, status, gate):
    sweep = launcher("--method", SEARCH, *GRID[2:])
    gate.held(home)
    assert "told to stop" in harness("cancel", check=0).stdout
    _, err = sweep.communicate()
    assert sweep.returncode == 130
    assert "harness resume" in err
    assert "Traceback" not in err
    states = status()["states"]
    assert states == {"cancelled": 2}
    (partial,) = saved_searches(home)
    assert partial.stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "--experiment", "tabel1"], "Did you mean table1"),
        (["sweep"], "no method given"),
        (["sweep", "--method", "fqvit+omze"], "Did you mean omse"),
        (["sweep", "--method", "fqvit", "--timeout", "5"], "too short"),
        (["plan", "--method", "fqvit", "--bits", "w8a8,x"], "'x'"),
        (["resume"], "no sweeps in"),
        (["status", "none"], "no sweeps in"),
        (["logs", "abc"], "0 trials match"),
        (["run", "--trial", "abc"], "0 trials match"),
        (["run"], "--method <stack> and --trial"),
        (["run", "--trial", "abc", "--method", "fqvit"], "--method <stack> and --trial"),
    ],
)
def test_mistakes_are_one_line(home, harness, words, said):
    result = harness(*words, check=2)
    assert said in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith(("error: ", "  - "))


def test_resume_refuses_what_would_be_another_trial(home, harness):
    harness("sweep", "--method", "fqvit", "--calib", "8", "--eval-limit", "50", "--quiet", check=0)
    wrong = harness("resume", "--set", "bits=w4a8", check=2)
    assert "start another sweep" in wrong.stderr
    assert "Did you mean oom" in harness("resume", "--retry", "ooom", check=2).stderr
    assert "expected one" in harness("status", "x", check=2).stderr


def test_a_record_can_be_repeated(home, harness):
    harness("run", "--method", "fqvit", "--bits", "w4a8", "--calib", "8", "--eval-limit", "50", "--quiet", check=0)
    (record,) = home.records()
    repeated = harness("run", "--trial", record["id"][:6], "--quiet", "--json", check=0)
    assert json.loads(repeated.stdout)["metrics"] == record["metrics"]
    assert "repetition gives the same counts" in repeated.stderr
