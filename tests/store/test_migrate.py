"""``harness store migrate``: stores and exports of an earlier identity, and what the committed records are worth today."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.models.cards import block_pattern
from harness.run.prepare import prepare
from harness.store import migrate
from harness.store.check import problems
from harness.store.exchange import export, merge
from harness.store.migrate import migrate_file, migrate_store
from harness.store.store import Store, write_json
from harness.trial.identity import content_id
from harness.trial.migration import to_identity
from harness.trial.spec import TrialSpec
from tests.store.tampering import COMMITTED
from tests.sweep.test_plan import stored
from tests.trial.test_migration import earlier

SPEC = TrialSpec("minmax", calib=8)
RIGHT = np.arange(11) < np.array([[9], [10]])


def old_record(spec=SPEC, **changes):
    one = stored(spec)
    return earlier(one["spec"], stages=one["stages"], stack=spec.method, calib=spec.calib, **changes)


@pytest.fixture
def old(store):
    """A store of which every record is of the earlier identity."""
    store.save(old_record(), RIGHT)
    folder = store.folder(old_record()["id"])
    (folder / "log.txt").write_text("said")
    (folder / "attempts").mkdir()
    write_json(folder / "attempts" / "1.json", old_record())
    return store


def test_a_trial_moves_to_the_folder_of_its_id_of_today(old):
    trial = prepare(SPEC).id
    assert old.get(trial) is None
    assert [problem.reason for problem in problems(old)] == ["its identity is of an earlier version (harness store migrate)"]
    done = migrate_store(old, block_pattern)
    assert (done.moved, done.refused, [record["id"] for record in done.records]) == (1, [], [trial])
    assert old.get(trial)["migrated"]["id"] == old_record()["id"]
    assert np.array_equal(old.correct(trial), RIGHT)
    assert (old.folder(trial) / "log.txt").read_text() == "said"
    assert list(problems(old)) == []
    assert [folder.name for folder in old.trial_folders()] == [trial]
    assert migrate_store(old, block_pattern).moved == 0, "again changes nothing"


def test_a_migration_that_was_killed_goes_on(old, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            migrate_store(old, block_pattern)
    assert list(old.records()) == [], "the folder has its new name, the record its old id"
    assert migrate_store(old, block_pattern).moved == 1
    assert old.get(prepare(SPEC).id)
    assert list(problems(old)) == []


def test_where_the_trial_was_measured_again_the_earlier_record_goes_aside(old):
    mine = stored(SPEC)
    old.save(mine, RIGHT)
    done = migrate_store(old, block_pattern)
    assert done.moved == 0
    assert "has a record already" in done.refused[0].reason
    assert old.get(mine["id"]) == mine
    assert [folder.name for folder in old.trial_folders()] == [mine["id"]]
    (kept,) = old.root.glob("aside/trials/*/*/record.json")
    assert json.loads(kept.read_text()) == old_record()


def test_what_a_process_left_at_the_new_place_goes_aside(old):
    folder = old.folder(prepare(SPEC).id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("another")
    assert migrate_store(old, block_pattern).moved == 1
    (kept,) = old.root.glob("aside/trials/*/*/log.txt")
    assert kept.read_text() == "another"


def test_what_is_no_record_is_named_and_stays(old, capsys):
    path = old.folder("f" * 16) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert main(["store", "migrate", "--store", str(old.root)]) == 0
    said = capsys.readouterr()
    assert said.out == "1 records, 1 got the id that their trial has today\n"
    assert f"{path} is no record" in said.err
    assert path.read_text() == "{"


def test_an_export_is_written_again(old, tmp_path):
    path = tmp_path / "x.parquet"
    export(old, path, "parquet", full=True)
    assert migrate_file(path, block_pattern).moved == 1
    store = Store(tmp_path / "other")
    merge(store, path, None)
    assert store.get(prepare(SPEC).id)["migrated"]["id"] == old_record()["id"]
    assert np.array_equal(store.correct(prepare(SPEC).id), RIGHT)
    before = path.read_bytes()
    migrate_file(path, block_pattern)
    assert path.read_bytes() == before


def test_an_export_with_something_else_in_it_is_left_as_it_is(tmp_path):
    path = tmp_path / "x.csv"
    pd.DataFrame({"record": [json.dumps(old_record()), "{"]}).to_csv(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="1 of its rows are no records"):
        migrate_file(path, block_pattern)
    assert path.read_bytes() == before
    pd.DataFrame({"record": [json.dumps(old_record()), json.dumps(stored(SPEC))]}).to_csv(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="two of the same trial"):
        migrate_file(path, block_pattern)
    assert path.read_bytes() == before


def test_an_import_migrates(old, store, tmp_path, capsys):
    other = ["--store", str(tmp_path / "other")]
    assert main(["store", "import", str(old.root), "--json", *other]) == 0
    assert json.loads(capsys.readouterr().out)["migrated"] == 1
    assert Store(tmp_path / "other").stored(prepare(SPEC).id)


def test_the_committed_records_are_of_today_and_say_what_they_are(tmp_path, capsys):
    """Each has the id of its trial; those of an earlier method are named, and are no results of today's."""
    path = tmp_path / "records.parquet"
    shutil.copyfile(COMMITTED, path)
    assert main(["store", "migrate", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["moved"], facts["refused"], facts["earlier_methods"]) == (0, 0, 0)
    store = tmp_path / "runs"
    assert main(["store", "import", str(COMMITTED), "--own", "--store", str(store)]) == 0
    capsys.readouterr()
    assert main(["plan", "--experiment", "embedded", "--store", str(store), "--quiet", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["done"] == plan["trials_total"] == facts["records"] > 100
    assert plan["to_run"] == 0


def test_an_export_of_what_is_current(tmp_path, capsys):
    store = Store(tmp_path / "runs")
    today = stored(TrialSpec("fqvit+omse"))
    store.save(today)
    earlier_steps = [{**step, "version": 1} for step in today["spec"]["stack"]]
    identity = {**today["spec"], "stack": earlier_steps}
    store.save({**today, "id": content_id(identity), "spec": identity})
    words = ["store", "export", "--store", str(store.root), "--out", str(tmp_path / "x.csv")]
    assert main(words) == main([*words[:-1], str(tmp_path / "y.csv"), "--current"]) == 0
    assert len(pd.read_csv(tmp_path / "x.csv")) == 2
    assert list(pd.read_csv(tmp_path / "y.csv")["id"]) == [today["id"]]


def test_a_hostile_copy_of_an_old_record_moves_nothing(old):
    """An id that is no hash of the identity: nothing is known of it, so it keeps its place."""
    forged = {**old_record(), "id": "0123456789abcdef"}
    old.save(forged)
    assert to_identity(forged, block_pattern) is forged
    migrate_store(old, block_pattern)
    assert os.path.exists(old.folder(forged["id"]) / "record.json")
    assert [problem.reason for problem in problems(old) if "hash" in problem.reason] == [
        "its id is not the hash of its identity"
    ]


@pytest.mark.parametrize("name", ["attempts", ".", ".."])
def test_nothing_is_migrated_through_a_link(old, tmp_path, name):
    path = Path(os.path.normpath(old.folder(old_record()["id"]) / name))
    path.rename(tmp_path / "theirs")
    path.symlink_to(tmp_path / "theirs")
    before = {one: one.read_bytes() for one in (tmp_path / "theirs").rglob("*.json")}
    done = migrate_store(old, block_pattern)
    assert {one: one.read_bytes() for one in (tmp_path / "theirs").rglob("*.json")} == before
    assert [problem.reason.startswith(f"{path} is a link to {tmp_path / 'theirs'}") for problem in done.refused] == [True]
