"""The SLURM launcher with mocked commands and submitit's local mode; ``test_on_slurm.py`` has the real thing."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import submitit

from harness.errors import UsageError
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.sweep.launch import cluster, slurm, snapshot
from harness.sweep.launch.arrays import array_name, divide
from harness.sweep.launch.cluster import JobState, job_states
from harness.sweep.launch.options import SlurmOptions
from harness.sweep.launch.queue import look
from harness.sweep.launch.slurm import Pack
from harness.sweep.plan import make_plan
from harness.sweep.status import states_of
from tests.sweep.launch.swept import mocked, spec, swept
from tests.sweep.launch.waiting import wait_for
from tests.threads import one_thread

SEARCH = "fqvit+evolq(passes=2,cycles=1)"


def test_arrays_are_split_by_the_clusters_limit(monkeypatch):
    monkeypatch.setattr(cluster, "_call", lambda command: "MaxArraySize            = 4\nMaxJobCount = 10000\n")
    assert cluster.max_array() == 4
    assert [array.count for array in divide(10, 4, 64)] == [4, 4, 2]

    def absent(command):
        raise FileNotFoundError("scontrol")

    monkeypatch.setattr(cluster, "_call", absent)
    assert cluster.max_array() == 1001


def test_the_submission_asks_for_what_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    options = SlurmOptions(
        partition="gpu", account="lab", qos="high", gpus=2, cpus=6, memory_gb=48, timeout_min=90, constraint="h200"
    )
    options = SlurmOptions(**{**options.__dict__, "setup": ["module load x"], "sbatch": {"reservation": "r"}})
    asked = {"name": "a-sweep.0", "slurm_array_parallelism": 16, "slurm_dependency": "afterany:7"}
    executor = slurm._executor(tmp_path, asked, options, Path("/code dir"), "slurm")
    text = executor._executor._make_submission_file_text(executor._executor._submitit_command_str, "uid")
    wanted = ["partition=gpu", "account=lab", "qos=high", "gpus-per-node=2", "cpus-per-task=6", "mem=48GB", "time=90"]
    wanted += ["job-name=a-sweep.0", "dependency=afterany:7"]
    for option in [*wanted, "constraint=h200", "reservation=r", "signal=B:USR2@60"]:
        assert f"#SBATCH --{option}\n" in text, option
    lines = text.splitlines()
    (path,) = (line for line in lines if line.startswith("export PYTHONPATH='/code dir'\"${PYTHONPATH:+:$PYTHONPATH}\""))
    assert lines.index("module load x") < lines.index(path)
    assert "srun" not in text, "with srun the warning signal would reach every child"
    assert re.search(r"^exec .*python.* -P -u -m submitit.core._submit ", text, re.M), "Python is the batch process"
    assert executor._executor.parameters["array_parallelism"] == 16


def test_without_slurm_the_launcher_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match=r"no SLURM found here.*--launcher local"):
        slurm._executor(tmp_path, {}, SlurmOptions(), tmp_path, "slurm")


def test_states_come_from_the_queue_then_from_the_accounting(monkeypatch):
    mocked(
        monkeypatch,
        "7_0|RUNNING|n|None\n7_1|PENDING|n|Resources\n7_2|COMPLETED|n|None\n8|PENDING|n|Priority|with a bar\n"
        "7_6|FAILED|n|NonZeroExitCode\n10|RUNNING|n|None\n",
        "7_0|COMPLETED|0:0\n7_2|COMPLETED|0:0\n7_3|CANCELLED by 0|0:0\n7_4|FAILED|0:9\n9_0|FAILED|1:0\n7_5|RUNNING|0:0\n",
    )
    states = job_states(["7_0", "7_1", "7_2", "7_3", "7_4", "7_5", "7_6", "8"])
    assert states["7_0"] == JobState("RUNNING", "None", True, "n"), "the accounting lags behind the queue"
    assert states["7_1"] == JobState("PENDING", "Resources", True, "n")
    assert states["8"].active
    assert (states["7_2"].active, states["7_3"].state, states["7_4"].detail) == (False, "CANCELLED by 0", "exit 0:9")
    assert states["7_6"].word == "FAILED", "the queue remembers it, the accounting does not know it yet"
    assert not {"7_5", "9_0", "10"} & set(states)
    assert job_states([]) == {}


def test_the_queue_is_asked_for_our_jobs_only(store, monkeypatch):
    sweep, submission = swept(store, [spec()])
    submission.started({"slurm": ["7"]})
    asked = []
    mocked(monkeypatch, f"7|PENDING|{array_name(submission, 0)}|Resources\n", asked=asked)
    assert [state.state for state in states_of(sweep)] == ["queued"]
    (queue,) = [command for command in asked if command[0] == "squeue"]
    assert queue[queue.index("-u") + 1] == str(os.getuid())
    assert queue[queue.index("-n") + 1] == array_name(submission, 0)


def test_trials_of_jobs_that_are_gone_are_lost_also_without_accounting(store, monkeypatch):
    sweep, submission = swept(store, [spec(seed=seed) for seed in range(5)])
    submission.started({"slurm": ["7_0", "7_1", "7_2", "7_3"]})
    mocked(monkeypatch, "7_0|PENDING|n|Resources\n7_1|RUNNING|n|None\n", "7_3|CANCELLED by 0|0:0\n")
    states = states_of(sweep)
    assert [state.state for state in states] == ["queued", "queued", "lost", "cancelled", "planned"]
    assert states[3].detail == "job 7_3 CANCELLED by 0 (exit 0:0)"
    assert "was not submitted" in look(sweep).places[states[4].id].detail
    mocked(monkeypatch, "", None)
    states = states_of(sweep)
    assert [state.state for state in states] == ["lost"] * 4 + ["planned"]
    assert states[0].detail == "job 7_0 left the queue"


def test_a_cluster_that_does_not_answer_is_said(store, monkeypatch, capsys):
    sweep, submission = swept(store, [spec()])
    submission.started({"slurm": ["7"]})

    def down(command):
        raise subprocess.CalledProcessError(1, command, stderr="squeue: error: Unable to contact slurm controller\n")

    monkeypatch.setattr(cluster, "_call", down)
    assert [state.state for state in states_of(sweep)] == ["queued"], "not knowing is no reason to run it again"
    assert "Unable to contact slurm controller" in capsys.readouterr().err


def test_a_retried_failure_is_queued_not_failed(store, monkeypatch):
    from harness.store.placeholder_records import unrun

    sweep, submission = swept(store, [spec()])
    (planned,) = sweep.planned
    failed = unrun(planned.spec, planned.id, "failed", "oom", "no memory", {})
    store.save({**failed, "created": "2020-01-01T00:00:00+00:00"})
    assert states_of(sweep)[0].state == "failed"
    submission.started({"slurm": ["7"]})
    mocked(monkeypatch, "7|PENDING|n|Resources\n")
    assert states_of(sweep)[0].state == "queued"
    mocked(monkeypatch, "", "7|COMPLETED|0:0\n")
    assert states_of(sweep)[0].state == "failed"


def test_a_preempted_job_goes_on_in_the_middle_of_its_search(tmp_path, quick_beats, gate, monkeypatch):
    """submitit's local mode: the same signal, checkpoint and second start as on a cluster."""
    alone, store = Store(tmp_path / "alone"), Store(tmp_path / "runs")
    code = snapshot.take(tmp_path / "code")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(code), os.environ["PYTHONPATH"]]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    specs = [spec(SEARCH), spec("minmax")]
    ids = [cell.id for cell in make_plan(specs, store).cells]
    sweep, submission = swept(store, specs, [ids])
    executor = submitit.AutoExecutor(folder=submission.folder / "local", cluster="local")
    executor.update_parameters(timeout_min=20)
    job = executor.submit(Pack(str(store.root), sweep.name, 1, 0))
    beat = gate.held(store, ids[:1])
    os.kill(beat.pid, signal.SIGUSR2)
    gate.open()
    wait_for(job.done)
    assert job.result() == {ids[0]: "done", ids[1]: "done"}
    record = store.get(ids[0])
    assert record["stages"][3]["notes"]["seconds_before_interruption"] > 0
    with one_thread():
        run_trial(spec(SEARCH), alone)
    for name in ("quantizers.safetensors", "correct.npy"):
        assert (alone.folder(ids[0]) / name).read_bytes() == (store.folder(ids[0]) / name).read_bytes(), name
    assert alone.get(ids[0])["metrics"] == record["metrics"]


def test_a_job_out_of_time_leaves_a_record_of_kind_timeout(store, monkeypatch):
    from harness.methods.fqvit import Fqvit

    def out_of_time(self, *rest):
        raise submitit.core.utils.UncompletedJobError("Job not requeued because: timed-out too many times.")

    monkeypatch.setattr(Fqvit, "apply", out_of_time)
    record, _ = run_trial(spec(), store)
    assert record["error"]["kind"] == "timeout"
