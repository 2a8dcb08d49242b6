"""Before a worker starts a trial with a heartbeat of another machine, it asks the scheduler, or waits, and says so."""

import time

import pytest

from harness.errors import UsageError
from harness.sweep.heartbeat import Heart
from harness.sweep.launch import holder as module
from harness.sweep.launch.cluster import JobState
from harness.sweep.launch.holder import elsewhere as told
from harness.sweep.launch.holder import holder
from harness.sweep.launch.worker import ELSEWHERE, run_pack
from tests.sweep.launch.swept import elsewhere, spec, swept

TRIAL = "ab12cd34ef56ab78"


def scheduler(monkeypatch, states=None):
    """What the scheduler says of jobs; None: it does not answer."""

    def job_states(jobs):
        if states is None:
            raise UsageError("SLURM's queue cannot be read")
        return {job: JobState(states[job], "", states[job] == "RUNNING") for job in jobs if job in states}

    monkeypatch.setattr(module, "job_states", job_states)


@pytest.mark.parametrize(("state", "held"), [("FAILED", False), ("CANCELLED", False), ("RUNNING", True)])
def test_the_scheduler_decides_at_once(store, monkeypatch, state, held):
    elsewhere(store, TRIAL, "7")
    scheduler(monkeypatch, {"7": state})
    said = []
    beat = holder(store, TRIAL, Heart(store, "8"), said.append)
    assert (beat is not None) is held
    assert said == [], "nothing was waited for"
    if beat is not None:
        assert "another-node, job 7" in told(TRIAL, beat)


def test_a_stale_heartbeat_of_a_running_job_is_held_too(store, monkeypatch):
    elsewhere(store, TRIAL, "7", beat=time.time() - 1000)
    scheduler(monkeypatch, {"7": "RUNNING"})
    assert holder(store, TRIAL, Heart(store, "8"), print) is not None


@pytest.mark.parametrize(("job", "states"), [("", {}), ("7", {}), ("7", None)])
def test_where_nobody_knows_it_waits_until_the_heartbeat_is_old(store, monkeypatch, job, states):
    """No cluster, or one that has forgotten the job, or one that does not answer."""
    elsewhere(store, TRIAL, job)
    scheduler(monkeypatch, states)
    naps, said = [], []

    def sleep(seconds):
        naps.append(seconds)
        elsewhere(store, TRIAL, job, beat=time.time() - 1000)

    monkeypatch.setattr(module.time, "sleep", sleep)
    assert holder(store, TRIAL, Heart(store, "8"), said.append) is None
    assert len(naps) == 1
    assert "waiting up to 60 s" in said[0]
    assert "another-node" in said[0]


def test_where_nobody_knows_a_renewed_heartbeat_is_alive(store, monkeypatch):
    elsewhere(store, TRIAL)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: elsewhere(store, TRIAL, beat=time.time() + 1))
    assert holder(store, TRIAL, Heart(store, "8"), print) is not None


def test_a_job_says_whom_it_leaves_a_trial_to(store, monkeypatch, capsys):
    sweep, _ = swept(store, [spec()])
    (planned,) = sweep.planned
    elsewhere(store, planned.id, "7")
    scheduler(monkeypatch, {"7": "RUNNING"})
    order = {"share": True, "fail_fast": False, "changes": {}, "gpus": 0, "cpus": 1}
    row = {"id": planned.id, "skipped": False, "spec": planned.spec.as_dict()}
    assert run_pack(sweep, {**order, "trials": [row]}, Heart(store, "8")) == {planned.id: ELSEWHERE}
    assert "runs elsewhere: has a heartbeat of process 4711 on another-node, job 7" in capsys.readouterr().out
