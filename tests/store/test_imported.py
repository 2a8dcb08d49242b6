"""Imported records: marked, shown as such, and no results of one's own unless they are trusted."""

import json

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.store.exchange import export, merge
from harness.store.store import Store
from harness.store.table import table
from harness.sweep.manifest import find
from harness.trial.spec import TrialSpec
from tests.sweep.test_plan import stored

SPEC = TrialSpec("minmax", calib=8, eval_limit=16)


@pytest.fixture
def imported(tmp_path):
    """A store with one imported record of a trial that this code would run."""
    theirs = Store(tmp_path / "theirs")
    theirs.save(stored(SPEC))
    store = Store(tmp_path / "runs")
    merge(store, theirs.root, "their-lab")
    return store


def say(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr()


def test_the_mark_says_who_where_and_when(imported):
    (record,) = imported.records()
    mark = record["imported"]
    assert (mark["from"], mark["file"]) == ("their-lab", "theirs")
    assert table([record])["origin"].iloc[0] == f"their-lab (theirs, {mark['at']})"
    assert table([stored(SPEC)])["origin"].isna().all()


def test_a_second_import_keeps_the_first_origin(imported, tmp_path):
    export(imported, tmp_path / "x.parquet", "parquet", full=True)
    other = Store(tmp_path / "other")
    merge(other, tmp_path / "x.parquet", "third")
    (record,) = other.records()
    assert record["imported"]["from"] == "third"
    assert record["imported"]["before"].startswith("their-lab (theirs, ")


def test_an_imported_record_is_no_cached_result(imported, monkeypatch):
    trial = prepare(SPEC).id
    assert imported.stored(trial) is not None
    assert imported.get(trial) is None
    assert imported.trusting().get(trial) == imported.stored(trial)
    first = run_trial(SPEC, imported.trusting())
    assert first.cached
    result = run_trial(SPEC, imported)
    assert not result.cached
    assert "imported" not in imported.get(trial)
    (replica,) = imported.folder(trial).glob("replicas/*.json")
    assert json.loads(replica.read_text())["imported"]["from"] == "their-lab", "the other group's record is kept"


def test_an_imported_record_that_lies_about_its_id_is_trusted_by_nobody(tmp_path):
    theirs = Store(tmp_path / "theirs")
    record = stored(SPEC)
    record["spec"]["seed"] = 7
    theirs.save(record)
    store = Store(tmp_path / "runs")
    merge(store, theirs.root, "their-lab")
    assert store.trusting().get(record["id"]) is None


def test_a_failed_own_run_takes_the_place_of_an_imported_record(imported):
    imported.save(stored(SPEC, "failed"))
    (record,) = imported.records()
    assert record["status"] == "failed"
    assert len(list(imported.root.rglob("replicas/*.json"))) == 1


GRID = ["--method", "minmax,fp32", "--calib", "8", "--eval-limit", "16", "--quiet"]


def test_plan_counts_imported_records_only_when_told(imported, capsys):
    words = ["plan", *GRID, "--store", imported.root]
    _, said = say(capsys, *words)
    assert "records       0 of 2 done\nimported      1 more by other groups" in said.out
    _, said = say(capsys, *words, "--trust-imported")
    assert "records       1 of 2 done\nfailed " in said.out
    _, said = say(capsys, *words, "--json")
    assert (json.loads(said.out)["done"], json.loads(said.out)["imported"]) == (0, 1)


def test_a_sweep_remembers_that_it_trusts(imported, capsys):
    code, said = say(capsys, "sweep", *GRID, "--store", imported.root, "--trust-imported", "--workers", "1")
    assert code == 0, said.err
    assert "2 done" in say(capsys, "status", "--store", imported.root)[1].out
    assert "imported" in imported.stored(prepare(SPEC).id), "the trusted trial was not run"
    assert find(imported, None).store.trust_imported
    assert "nothing to do" in say(capsys, "resume", "--store", imported.root)[1].out


def test_store_list(imported, capsys):
    imported.save(stored(TrialSpec("fp32", calib=8)))
    _, said = say(capsys, "store", "list", "--store", imported.root)
    head, *rows = said.out.splitlines()
    assert head.split() == ["id", "status", "model", "bits", "stack", "seed", "top1", "origin"]
    assert sum("their-lab (theirs, " in row for row in rows) == 1
    assert sum(row.endswith("own") for row in rows) == 1
    _, said = say(capsys, "store", "list", "--imported", "--json", "--store", imported.root)
    assert [row["origin"][:9] for row in json.loads(said.out)] == ["their-lab"]
    _, said = say(capsys, "store", "list", "--imported", "--store", imported.root / "none")
    assert said.out == f"no imported records in {imported.root / 'none'}\n"


def test_a_report_names_what_was_measured_elsewhere(imported, capsys):
    _, said = say(capsys, "report", "--store", imported.root, "--quiet")
    assert "### Imported records" in said.out
    assert f"- 1 from their-lab (theirs, {imported.stored(prepare(SPEC).id)['imported']['at']}): `" in said.out
    own = Store(imported.root.parent / "own")
    own.save(stored(SPEC))
    assert "Imported" not in say(capsys, "report", "--store", own.root, "--quiet")[1].out


def test_own_records_come_back_from_an_export_as_they_were(tmp_path, capsys):
    store = Store(tmp_path / "runs")
    right = np.arange(11) < np.array([[9], [10]])
    store.save(stored(SPEC, metrics={**stored(SPEC)["metrics"], "n_correct_fp32": 10}), right)
    export(store, tmp_path / "backup.parquet", "parquet", full=True)
    back = Store(tmp_path / "back")
    assert say(capsys, "store", "import", tmp_path / "backup.parquet", "--own", "--store", back.root)[0] == 0
    (record,) = back.records()
    assert record == store.get(record["id"]) == back.get(record["id"])
    assert np.array_equal(back.correct(record["id"]), right)
    assert pd.read_parquet(tmp_path / "backup.parquet")["origin"].isna().all()
    with pytest.raises(SystemExit):
        main(["store", "import", "x.parquet", "--own", "--origin", "lab"])
    assert "not allowed with" in capsys.readouterr().err
