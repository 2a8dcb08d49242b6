"""Worker processes of one machine: a GPU each, threads and cores as the user has set them; one that dies is replaced."""

import os

import pytest

from harness.sweep.launch import workers
from harness.sweep.launch.job import Job
from harness.sweep.launch.local import workers_of
from harness.sweep.launch.options import LocalOptions
from harness.sweep.launch.orders import read
from harness.sweep.launch.workers import cores, environments, gpus_here, threads_of
from tests.sweep.launch.swept import spec, swept

NOTE = """
import os, sys
if "harness.sweep.launch.process" in sys.orig_argv:
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    with open({folder!r} + f"/{{os.getpid()}}", "w") as file:
        file.write(" ".join(os.environ[name] for name in names))
"""
KILL = """
if "harness.sweep.launch.process" in sys.orig_argv:
    from harness.baselines import observers
    observers.MinMax.apply = lambda *given: os.kill(os.getpid(), 9)
"""


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Worker processes write down what they got; returns what they wrote."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(NOTE.format(folder=str(tmp_path / "notes")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")]))
    return lambda: sorted(path.read_text() for path in (tmp_path / "notes").iterdir())


@pytest.mark.slow
def test_a_job_with_two_gpus_runs_a_worker_on_each(store, tmp_path, monkeypatch, noted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with (tmp_path / "path" / "sitecustomize.py").open("a") as code:
        code.write(KILL)
    specs = [spec("minmax"), spec("fqvit"), spec("fqvit", seed=1)]
    ids = [trial.id for trial in swept(store, specs)[0].planned]
    sweep, submission = swept(store, specs, [ids], gpus=2)
    (submission.folder / "slurm").mkdir()
    job = Job(sweep, {**read(submission.folder, 0), "cpus": 2}, submission.folder / "slurm")
    assert job.run() == {ids[0]: "failed", ids[1]: "done", ids[2]: "done"}
    assert set(noted()) == {"4 1", "7 1"}
    assert len(noted()) == 3, "the worker that died was replaced"
    error = store.get(ids[0])["error"]
    assert (error["kind"], "SIGKILL" in error["message"]) == ("killed", True)


@pytest.mark.parametrize(
    ("given", "gpus"), [("0,1", ["0", "1"]), ("GPU-8f", ["GPU-8f"]), ("", []), ("-1", []), ("NoDevFiles", [])]
)
def test_which_gpus_there_are(monkeypatch, given, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus_here() == gpus


def test_what_the_user_has_set_counts(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments(3, 8)] == ["3", "5", "3"]
    first, _ = environments(2, 8, "/code")
    assert first["OMP_NUM_THREADS"] == "8"
    assert first["PYTHONPATH"].split(os.pathsep)[0] == "/code"
    monkeypatch.setattr(workers, "cores", lambda: 12)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of(2) == 3
    for nonsense in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert threads_of(2) == 6


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 64)
    assert cores() == 3
    assert workers_of(LocalOptions(), 100) == 1
    monkeypatch.delattr(workers.os, "sched_getaffinity")
    assert cores() == 64
    assert workers_of(LocalOptions(), 100) == 16
