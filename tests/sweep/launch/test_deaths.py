"""Trials whose process died: SLURM's word becomes a record, which --retry can select; nobody else is touched."""

import time

import pytest

from harness.store.placeholder_records import unrun
from harness.sweep import heartbeat
from harness.sweep.launch.arrays import array_name
from harness.sweep.launch.options import LocalOptions, SlurmOptions
from harness.sweep.launch.packing import packs_of
from harness.sweep.plan import make_plan
from harness.sweep.status import counts, states_of, write_down_deaths
from tests.store.test_store import record
from tests.sweep.launch.swept import elsewhere, mocked, spec, swept


@pytest.fixture
def dead(store):
    """Four trials in one job that died in the first of them; the second was never started."""
    specs = [spec(seed=seed) for seed in range(4)]
    ids = [cell.id for cell in make_plan(specs, store).cells]
    sweep, submission = swept(store, specs, [ids])
    submission.started({"slurm": ["7"]})
    elsewhere(store, ids[0], "7")
    return sweep, submission, ids


@pytest.mark.parametrize(
    ("state", "errors", "kind"),
    [
        ("OUT_OF_MEMORY|0:125", "", "oom"),
        ("FAILED|9:0", "slurmstepd: error: Job 7 exceeded memory limit (5 > 3), being killed", "oom"),
        ("FAILED|0:9", "error: Detected 1 oom-kill event(s) in StepId=7.batch.", "oom"),
        ("TIMEOUT|0:0", "", "timeout"),
        ("DEADLINE|0:0", "", "timeout"),
        ("CANCELLED by 1000|0:15", "", "cancelled"),
        ("NODE_FAIL|0:0", "", "node_fail"),
        ("PREEMPTED|0:0", "", "preempted"),
        ("FAILED|9:0", "Killed", "killed"),
        ("COMPLETED|0:0", "", "killed"),
    ],
)
def test_what_slurm_says_becomes_a_record_of_that_kind(store, dead, monkeypatch, state, errors, kind):
    sweep, submission, ids = dead
    (submission.folder / "slurm").mkdir()
    (submission.folder / "slurm" / "7_0_log.err").write_text("x" * 10_000 + errors)
    mocked(monkeypatch, "", f"7|{state}\n")
    states = states_of(sweep)
    assert (states[0].state, states[0].kind) == ("cancelled" if kind == "cancelled" else "failed", kind)
    assert store.get(ids[0]) is None, "looking writes nothing"
    write_down_deaths(sweep, states)
    error = store.get(ids[0])["error"]
    assert error["kind"] == kind
    assert f"job 7 ended as {state.split('|')[0]}" in error["message"]
    assert "omse 3/7 on another-node" in error["message"]
    assert all(store.get(other) is None for other in ids[1:]), "they were never started"
    write_down_deaths(sweep, states_of(sweep))
    assert not (store.folder(ids[0]) / "attempts").exists(), "one death is one record"


def test_retry_selects_the_kind_and_the_suspect_goes_last_and_alone(store, dead, monkeypatch):
    sweep, _, ids = dead
    mocked(monkeypatch, "", "7|OUT_OF_MEMORY|0:125\n")
    write_down_deaths(sweep, states_of(sweep))
    specs = [planned.spec for planned in sweep.planned]
    assert [cell.id for cell in make_plan(specs, store).to_run] == ids[1:], "the others are not starved"
    plan = make_plan(specs, store, retry=["oom"])
    alone = {state.id for state in states_of(sweep) if state.suspect}
    assert alone == {ids[0]}
    for options in (SlurmOptions(pack=4), LocalOptions()):
        packs = [[cell.id for cell in pack] for pack in packs_of(plan, options, None, alone)]
        assert packs[-1] == [ids[0]]
        assert sorted(trial for pack in packs[:-1] for trial in pack) == sorted(ids[1:])


@pytest.mark.parametrize("kind", ["cancelled", "node_fail", "preempted"])
def test_what_happened_to_the_job_needs_no_retry(store, dead, kind):
    sweep, _, ids = dead
    store.save(unrun(sweep.planned[0].spec, ids[0], "failed", kind, "", {}))
    assert make_plan([sweep.planned[0].spec], store).to_run


def test_a_done_record_stays(store, dead, monkeypatch):
    sweep, _, ids = dead
    mocked(monkeypatch, "", "7|FAILED|9:0\n")
    states = states_of(sweep)
    store.save(record(ids[0]))
    write_down_deaths(sweep, states)
    assert store.get(ids[0])["status"] == "done"
    assert states_of(sweep)[0].state == "done"


def test_nothing_is_written_while_somebody_runs_the_trial(store, dead, monkeypatch):
    sweep, _, ids = dead
    mocked(monkeypatch, "", "7|FAILED|9:0\n")
    states = states_of(sweep)
    elsewhere(store, ids[0], "8")
    write_down_deaths(sweep, states)
    assert store.get(ids[0]) is None, "another job has taken it up since"
    mocked(monkeypatch, "8|RUNNING|n|None\n", "7|FAILED|9:0\n")
    assert states_of(sweep)[0].state == "running"


@pytest.mark.parametrize("queue", ["7|RUNNING|{}|None\n", "7|PENDING|{}|BeginTime\n", ""])
def test_a_job_that_may_run_still_is_not_dead(store, dead, monkeypatch, queue):
    sweep, submission, ids = dead
    mocked(monkeypatch, queue.format(array_name(submission, 0)), None)
    states = states_of(sweep)
    write_down_deaths(sweep, states)
    assert states[0].state == "running"
    assert store.get(ids[0]) is None


def test_a_saved_search_is_no_death(store, dead, monkeypatch):
    sweep, _, ids = dead
    elsewhere(store, ids[0], "7", interrupted=True)
    mocked(monkeypatch, "", "7|FAILED|1:0\n")
    assert states_of(sweep)[0].state == "lost"
    assert not states_of(sweep)[0].suspect


def test_a_death_after_a_retry_replaces_the_older_failure(store, dead, monkeypatch):
    sweep, _, ids = dead
    old = unrun(sweep.planned[0].spec, ids[0], "failed", "oom", "no memory", {})
    store.save({**old, "created": "2020-01-01T00:00:00+00:00"})
    mocked(monkeypatch, "", "7|TIMEOUT|0:0\n")
    write_down_deaths(sweep, states_of(sweep))
    assert store.get(ids[0])["error"]["kind"] == "timeout"
    assert len(list((store.folder(ids[0]) / "attempts").iterdir())) == 1


def test_without_a_reason_it_is_lost_and_goes_alone(store, dead, monkeypatch):
    sweep, _, ids = dead
    elsewhere(store, ids[0], "7", beat=time.time() - 1000)
    mocked(monkeypatch, "", None)
    states = states_of(sweep)
    assert counts(states) == {"lost": 4}
    assert [state.suspect for state in states] == [True, False, False, False]


def test_a_store_that_cannot_be_written_can_be_looked_at(store, dead, monkeypatch, capsys):
    sweep, _, ids = dead
    mocked(monkeypatch, "", "7|FAILED|9:0\n")

    def full(record):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store, "save", full)
    states = states_of(sweep)
    write_down_deaths(sweep, states)
    assert states[0].kind == "killed"
    assert "cannot be written down" in capsys.readouterr().err
    assert heartbeat.read(store, ids[0]) is not None
