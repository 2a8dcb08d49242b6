"""Sweeps on disk: names, submissions, stop signs, trials that were skipped, states."""

import socket
import time
from dataclasses import asdict, replace

import psutil
import pytest

from harness.errors import UsageError
from harness.run.run_trial import run_trial
from harness.store.placeholder_records import unrun
from harness.store.store import write_json
from harness.sweep import heartbeat
from harness.sweep.heartbeat import Beat, Heart
from harness.sweep.manifest import Sweep, adopt, create, find, sweeps
from harness.sweep.plan import make_plan
from harness.sweep.status import counts, kinds, states_of
from harness.trial.spec import TrialSpec
from tests.sweep.launch.waiting import wait_for

SPECS = [TrialSpec("fqvit", seed=seed) for seed in range(3)]


@pytest.fixture
def sweep(store):
    return create(store, "my sweep/1", "about", make_plan(SPECS, store), {"kind": "local"}, "harness sweep")


def submitted(sweep, **jobs):
    packs = [[planned.id] for planned in sweep.planned]
    submission = sweep.submission({"packs": packs, "share": True, "fail_fast": False, "changes": {}})
    submission.started(jobs)
    return submission


def beat_of(store, trial, **changes):
    process = psutil.Process()
    beat = Beat(socket.gethostname(), process.pid, process.create_time(), stage="omse", step=3, steps=7, beat=time.time())
    store.folder(trial).mkdir(parents=True, exist_ok=True)
    write_json(heartbeat.path_of(store, trial), {**asdict(beat), **changes})


def test_the_same_trials_under_the_same_name_are_the_same_sweep(store, sweep):
    again = create(store, "my sweep/1", "other", make_plan(SPECS[::-1], store), {}, "")
    assert again.name == sweep.name
    assert again.content["about"] == "about"
    assert sweep.name.startswith("my-sweep-1-")
    other = create(store, "my sweep/1", "", make_plan(SPECS[:2], store), {}, "")
    assert other.name != sweep.name
    assert [planned.spec for planned in sweep.planned] == SPECS
    assert {known.name for known in sweeps(store)} == {sweep.name, other.name}


def test_sweeps_are_found_by_their_beginning(store, sweep):
    assert find(store, "my").name == find(store, None).name == sweep.name
    with pytest.raises(UsageError, match="0 sweeps match 'mx'"):
        find(store, "mx")
    create(store, "mine", "", make_plan(SPECS[:1], store), {}, "")
    with pytest.raises(UsageError, match="2 sweeps match 'm'"):
        find(store, "m")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}'])
def test_a_broken_sweep_does_not_break_the_others(store, sweep, content):
    broken = store.root / "sweeps" / "broken" / "sweep.json"
    broken.parent.mkdir()
    broken.write_text(content)
    assert [known.name for known in sweeps(store)] == [sweep.name]
    with pytest.raises(UsageError, match="is not readable"):
        _ = Sweep(store, "broken").content


def test_submissions_are_numbered_and_kept(sweep):
    assert [submitted(sweep).number for _ in range(3)] == [1, 2, 3]
    (sweep.folder / "submissions" / "4").mkdir()
    assert submitted(sweep).number == 5, "another process is at 4"
    assert [submission.number for submission in sweep.submissions] == [1, 2, 3, 5]


def test_the_stop_sign(sweep):
    assert sweep.stopped == ""
    sweep.stop("fail-fast: x")
    assert Sweep(sweep.store, sweep.name).stopped == "fail-fast: x"
    sweep.go()
    sweep.go()
    assert sweep.stopped == ""


def test_states_without_and_with_signs_of_life(store, sweep):
    assert counts(states_of(sweep)) == {"planned": 3}
    first, second, third = (planned.id for planned in sweep.planned)
    beat_of(store, first)
    beat_of(store, second, pid=2**22 + 1)
    store.save(unrun(SPECS[2], third, "failed", "oom", "no\nmemory", {}))
    states = states_of(sweep)
    assert [state.state for state in states] == ["running", "lost", "failed"]
    assert states[0].detail.startswith("omse 3/7 on ")
    assert (states[2].kind, states[2].detail) == ("oom", "no memory")
    assert kinds(states) == {"oom": 1}
    assert states[0].as_dict()["heartbeat"]["stage"] == "omse 3/7"


def test_a_launcher_that_is_gone_leaves_planned_and_lost_trials(store, sweep):
    submitted(sweep, local={"host": socket.gethostname(), "pid": 2**22 + 1, "started": 0.0})
    beat_of(store, sweep.planned[0].id, pid=2**22 + 1)
    assert [state.state for state in states_of(sweep)] == ["lost", "planned", "planned"]
    process = psutil.Process()
    alive = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
    submitted(sweep, local=alive)
    assert [state.state for state in states_of(sweep)] == ["queued"] * 3
    submitted(sweep, local={**alive, "ended": True})
    assert [state.state for state in states_of(sweep)] == ["lost", "planned", "planned"]


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({}, True),
        ({"interrupted": True}, False),
        ({"started_process": 1.0}, False),
        ({"host": "elsewhere"}, True),
        ({"host": "elsewhere", "beat": 0.0}, False),
    ],
)
def test_when_a_beat_is_alive(store, changes, alive):
    beat_of(store, "ab12cd34ef56ab78", **changes)
    assert heartbeat.read(store, "ab12cd34ef56ab78").alive() is alive


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}'])
def test_a_broken_heartbeat_is_none(store, content):
    store.folder("ab12cd34ef56ab78").mkdir(parents=True)
    heartbeat.path_of(store, "ab12cd34ef56ab78").write_text(content)
    assert heartbeat.read(store, "ab12cd34ef56ab78") is None


def test_a_heart_beats_while_its_block_runs(store, monkeypatch):
    monkeypatch.setenv(heartbeat.INTERVAL_VARIABLE, "0.02")
    heart = Heart(store)
    with heart.of("ab12cd34ef56ab78"):
        heart.stage("omse")
        with heart.task("omse", 5) as task:
            task.advance(2)
            first = heartbeat.read(store, "ab12cd34ef56ab78").beat
            beat = wait_for(lambda: (now := heartbeat.read(store, "ab12cd34ef56ab78")).beat > first and now.step and now)
            assert beat.progress == "omse 2/5"
            assert beat.alive()
            assert heart.owns(beat)
    assert heartbeat.read(store, "ab12cd34ef56ab78") is None
    saved = []
    with heart.of("ab12cd34ef56ab78"):
        heart.interruptible(lambda: saved.append(1))
        heart.interrupt()
    assert saved == [1]
    assert heartbeat.read(store, "ab12cd34ef56ab78").interrupted, "stays, so that others see why"


def test_a_requeued_job_owns_its_earlier_beat(store):
    beat_of(store, "ab12cd34ef56ab78", job="7_1", host="elsewhere")
    beat = heartbeat.read(store, "ab12cd34ef56ab78")
    assert Heart(store, "7_1").owns(beat)
    assert not Heart(store, "7_2").owns(beat)
    assert not Heart(store).owns(beat)


def test_skipped_trials_get_their_ids_once_they_can_be_prepared(store, sweep, monkeypatch):
    missing = TrialSpec("fqvit", data="/nowhere")
    sweep = create(store, "s", "", make_plan([missing, SPECS[0]], store), {"kind": "local"}, "")
    skipped = sweep.planned[0].id
    assert [state.state for state in states_of(sweep)] == ["skipped", "planned"]
    assert store.get(skipped)["error"]["kind"] == "data"
    adopt(sweep, make_plan([missing, SPECS[0]], store))
    assert sweep.planned[0].skipped, "still not there"
    from harness.run import prepare

    real = prepare.open_judged
    monkeypatch.setattr(prepare, "open_judged", lambda spec, say: real(replace(spec, data="embedded"), say))
    plan = make_plan([missing, TrialSpec("fqvit", seed=9)], store)
    adopt(sweep, plan)
    assert sweep.planned[0].id == plan.cells[0].id
    assert not sweep.planned[0].skipped
    assert store.get(skipped) is None
    assert [state.state for state in states_of(sweep)] == ["planned", "planned"]


def test_an_interruption_in_the_middle_of_a_write_is_written(store, monkeypatch):
    """The signal comes while the thread, or the process itself, writes the heartbeat: the older one must not win."""
    trial, real = "ab12cd34ef56ab78", heartbeat.write_json
    heart = Heart(store)
    with heart.of(trial):
        calls = []

        def interrupted_meanwhile(path, content):
            calls.append(content)
            if len(calls) == 1:
                heart.interrupt()
            real(path, content)

        monkeypatch.setattr(heartbeat, "write_json", interrupted_meanwhile)
        heart.stage("omse")
        assert heartbeat.read(store, trial).interrupted
        assert heart.interrupted
    assert heartbeat.read(store, trial).interrupted


def test_the_end_of_a_preempted_job_is_no_failure(store, monkeypatch):
    """submitit ends the process with sys.exit once the job is queued again; a method that does so itself is a bug."""
    from harness.methods.fqvit import Fqvit

    heart = Heart(store)

    def preempted(self, *given):
        heart.interrupt()
        raise SystemExit(-1)

    monkeypatch.setattr(Fqvit, "apply", preempted)
    spec = TrialSpec("fqvit", calib=8, eval_limit=50, device="cpu")
    with pytest.raises(SystemExit), heart.of("ab12cd34ef56ab78"):
        run_trial(spec, store, heart)
    assert list(store.records()) == []
