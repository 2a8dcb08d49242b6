"""Files of a sweep that are truncated or foreign: named with file and reason, and the sweep beside it works as ever."""

import json
import os
import signal
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.check import problems
from harness.store.store import write_json
from harness.sweep import heartbeat
from harness.sweep.launch import cluster, worker
from harness.sweep.launch.crew import Crew
from harness.sweep.launch.job import Job
from harness.sweep.launch.orders import read
from harness.sweep.launch.show import Show
from harness.sweep.manifest import create, remember_trust
from harness.sweep.plan import make_plan
from tests.store.test_store import record
from tests.sweep.launch.swept import elsewhere, mocked, spec, swept

FOREIGN = ["", "{", "[]", "null", "17", '{"a": 1}', "\x00\x01", '{"packs": [["../../x"]], "created": ""}']
FILES = ["sweep.json", "submissions/1/packs.json", "submissions/1/jobs.json"]


@pytest.fixture
def two(store, monkeypatch):
    """A sweep with a broken file to come, and one beside it."""
    monkeypatch.setenv("HARNESS_HOME", str(store.root))
    broken, submission = swept(store, [spec(seed=seed) for seed in range(2)])
    submission.started({"slurm": ["7_0", "7_1"]})
    sound = create(store, "sound", "", make_plan([spec(seed=9)], store), {"kind": "slurm"}, "")
    mocked(monkeypatch, "7_0|RUNNING|n|None\n7_1|PENDING|n|Resources\n")
    return broken, sound


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", FOREIGN)
def test_no_broken_file_concerns_another_sweep(two, capsys, file, content):
    broken, sound = two
    (broken.folder / file).write_text(content)
    assert main(["status"]) == 0
    told = capsys.readouterr()
    assert f"{sound.name}  1 trials: 1 planned" in told.out
    assert str(broken.folder / file) in told.err, "the file is named"
    for words in (["status", sound.name], ["cancel", sound.name]):
        assert main(words) == 0
    capsys.readouterr()
    code = main(["status", broken.name])
    told = capsys.readouterr()
    assert code == (2 if file == "sweep.json" else 0)
    assert str(broken.folder / file) in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("file", FILES[1:])
def test_a_sweep_with_a_broken_submission_can_be_cancelled(two, monkeypatch, capsys, file):
    broken, _ = two
    (broken.folder / file).write_text("{")
    name = f"{json.loads((broken.folder / FILES[1]).read_text())['job_name']}.0" if file == FILES[2] else "n"
    asked = []
    mocked(monkeypatch, f"7_0|RUNNING|{name}|None\n7_1|PENDING|{name}|Resources\n", asked=asked)
    assert main(["cancel", broken.name]) == 0
    assert ["scancel", "7_0", "7_1"] in asked, "by what is noted, or by name"
    assert "2 jobs cancelled" in capsys.readouterr().out


@pytest.mark.parametrize("job", ["-u root", "7_0; rm", "--all", "7_0_1", ""])
def test_no_text_of_a_file_becomes_an_argument_of_a_command(two, monkeypatch, job):
    broken, _ = two
    write_json(broken.folder / FILES[2], {"slurm": [job]})
    asked = []
    mocked(monkeypatch, "", asked=asked)
    main(["cancel", broken.name])
    assert not any(job and job in word for command in asked for word in command)
    elsewhere(broken.store, broken.planned[0].id, job)
    assert heartbeat.read(broken.store, broken.planned[0].id) is None or not job


def test_a_job_reads_its_own_line_only(two, monkeypatch):
    """The sweep's own file may be gone or huge: what a job needs is one line."""
    broken, _ = two
    folder = broken.folder / "submissions" / "1"
    ids = [planned.id for planned in broken.planned]
    (broken.folder / "sweep.json").write_text("{")
    (folder / "packs.json").write_text("{")
    monkeypatch.setattr(cluster, "_call", lambda command: "")
    order = read(folder, 1)
    assert [row["id"] for row in order["trials"]] == [ids[1]]
    fresh = type(broken)(broken.store, broken.name)
    assert Job(fresh, order, folder).run() == {ids[1]: "done"}
    assert broken.store.get(ids[0]) is None


@pytest.mark.parametrize("file", ["orders.jsonl", "orders.index"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 24])
def test_broken_orders_are_named(two, file, content):
    folder = two[0].folder / "submissions" / "1"
    (folder / file).write_bytes(content)
    with pytest.raises(Exception, match=r"orders\.jsonl, line 1 is not readable"):
        read(folder, 0)


@pytest.fixture(autouse=True)
def _ended():
    """Only ends what would wait for a pipe."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("not finished after 20 s"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


SHAPES = {"folder": Path.mkdir, "pipe": os.mkfifo}


def in_place_of(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    SHAPES[shape](path)
    return path


@pytest.fixture
def told(capsys):
    """Run the command line; what it says on standard error."""
    return lambda *words: (main(list(words)), capsys.readouterr().err)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("file", [*FILES, "submissions/1/orders.jsonl", "submissions/1/orders.index"])
def test_what_is_no_file_is_not_waited_for(two, told, file, shape):
    broken, sound = two
    path = in_place_of(broken.folder / file, shape)
    assert told("status")[0] == 0
    assert told("status", sound.name)[0] == 0
    assert [one.path for one in problems(broken.store) if one.path == path] == [path]
    if "orders" in file:
        with pytest.raises(UsageError, match=r"orders\.jsonl, line 1 is not readable: it is a (folder|pipe or device)"):
            read(path.parent, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stop_sign_that_is_no_file_stops_its_sweep_only(two, told, shape):
    broken, _ = two
    path = in_place_of(broken.folder / "stop", shape)
    code, said = told("status")
    assert code == 0
    assert said.count(f"{path} is not readable: it is a ") == 1, "said once"
    assert type(broken)(broken.store, broken.name).stopped == "stopped"
    assert [one.path for one in problems(broken.store) if one.path == path] == [path]
    assert told("cancel", broken.name)[0] == 0
    assert path.read_text() == "cancelled\n"
    in_place_of(path, shape)
    broken.go()
    assert not broken.stopped


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mark_of_trust_that_is_no_file_trusts_nobody(two, shape):
    broken, _ = two
    path = in_place_of(broken.folder / "trusts-imported", shape)
    assert [one.path for one in problems(broken.store) if one.path == path] == [path]
    again = type(broken)(broken.store, broken.name)
    assert not again.store.trust_imported
    remember_trust(type(broken)(broken.store.trusting(), broken.name))
    assert path.is_file()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["heartbeat.json", "log.txt"])
def test_a_trial_runs_where_its_heartbeat_or_log_is_no_file(two, told, monkeypatch, name, shape):
    broken, _ = two
    trial = broken.planned[0].id
    path = in_place_of(broken.store.folder(trial) / name, shape)
    assert told("status", broken.name)[0] == 0
    done = record(trial)
    monkeypatch.setattr(worker, "run_trial", lambda spec, store, *given, **how: (store.save(done) and done, False))
    folder = broken.folder / "submissions" / "1"
    assert Job(broken, read(folder, 0), folder).run() == {trial: "done"}
    assert path.is_file() == (name == "log.txt")
    assert (broken.store.root / "aside" / path.relative_to(broken.store.root)).with_name(f"{name}.note.json").is_file()


def test_a_heartbeat_that_became_a_folder_takes_no_result_away(store, capsys):
    trial = "ab" * 8
    with heartbeat.Heart(store).of(trial):
        in_place_of(heartbeat.path_of(store, trial), "folder")
    assert "is not deleted" in capsys.readouterr().err


def test_a_trial_that_cannot_be_written_down_does_not_end_the_others(two, tmp_path):
    broken, _ = two
    (tmp_path / "theirs").mkdir()
    path = broken.store.folder(broken.planned[0].id)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "theirs")
    folder = broken.folder / "submissions" / "1"
    assert Job(broken, read(folder, 0), folder).run() == {path.name: "failed"}
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_process_that_dies_after_its_trial_is_done_makes_it_no_failure(two, capsys):
    """The record says what became of the trial."""
    broken, _ = two
    trial, store = broken.planned[0], broken.store
    store.save(record(trial.id, seconds=1.0))
    crew = Crew(broken, read(broken.folder / "submissions" / "1", 0), [])
    assert crew._after_death({"id": trial.id, "skipped": False, "spec": trial.spec.as_dict()}, 1) == "done"
    Show().ended(trial.spec, trial.id, "failed", store.get(trial.id), store.folder(trial.id) / "log.txt")
    assert f"done    {trial.id}" in capsys.readouterr().err
