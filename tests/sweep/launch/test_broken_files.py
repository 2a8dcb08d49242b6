"""Files of a sweep that are truncated or foreign: named with file and reason, and the sweep beside it works as ever."""

import json

import pytest

from harness.cli.main import main
from harness.store.store import write_json
from harness.sweep import heartbeat
from harness.sweep.launch import cluster
from harness.sweep.launch.job import Job
from harness.sweep.launch.orders import read
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
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
