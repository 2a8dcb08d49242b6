"""The store: atomic records, failures kept, broken files reported and never in the way."""

import json

import numpy as np
import pytest

from harness.errors import UsageError
from harness.store.store import Store
from harness.trial.record_check import problems_of


def record(trial="ab12cd34ef56ab78", status="done", **changes):
    base = {
        "schema_version": 1,
        "id": trial,
        "status": status,
        "model": "m",
        "data": {"name": "d", "fingerprint": "f"},
        "bits": "w8a8",
        "stack": "fqvit",
        "calib": 8,
        "seed": 0,
        "protocol": "strict",
        "stages": [],
        "spec": {},
        "command": "",
        "environment": {},
        "created": "now",
        "metrics": {"top1": 80.0, "top1_fp32": 90.0, "agreement": 95.0, "n_images": 11, "n_correct": 9},
        "on_grid": True,
        "coverage": [],
        "size_bytes": 1,
        "bit_operations": 1,
    }
    if status == "failed":
        base["error"] = {"kind": "oom", "message": "no memory", "traceback": ""}
    return {**base, **changes}


def test_save_and_find(store):
    correct = np.random.default_rng(0).random((2, 11)) < 0.5
    store.save(record(), correct)
    assert store.find("ab12")["id"] == record()["id"]
    assert np.array_equal(store.correct(record()["id"]), correct)
    assert not list(store.root.rglob(".*")), "no temporary file is left"


def test_find_needs_one_match(store):
    store.save(record())
    store.save(record("ab99cd34ef56ab78"))
    with pytest.raises(UsageError, match="2 trials match 'ab'"):
        store.find("ab")
    with pytest.raises(UsageError, match="0 trials match"):
        store.find("ff")


def test_a_done_record_replaces_a_failed_one_which_is_kept(store):
    store.save(record(status="failed"))
    store.save(record())
    folder = store.folder(record()["id"])
    assert store.get(record()["id"])["status"] == "done"
    assert json.loads((folder / "attempts" / "1.json").read_text())["status"] == "failed"


def test_a_failed_record_never_replaces_a_done_one(store):
    store.save(record())
    store.save(record(status="failed"))
    assert store.get(record()["id"])["status"] == "done"
    assert len(list(store.folder(record()["id"]).glob("attempts/*.json"))) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema_version": 99}', "\x00\x01", "[" * 100_000])
def test_broken_files_are_reported_by_name_and_do_not_break_listings(store, content):
    store.save(record())
    bad = store.folder("ffffffffffffffff") / "record.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(content)
    assert [r["id"] for r in store.records()] == [record()["id"]]
    (broken,) = store.broken()
    assert broken.path == bad
    assert broken.reason


def test_a_record_in_the_wrong_folder_is_foreign(store):
    store.save(record())
    path = store.folder("1111111111111111") / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record()))
    assert "not the folder's name" in store.broken()[0].reason


def test_a_failing_write_leaves_the_old_record(store):
    store.save(record())
    with pytest.raises(ValueError, match="JSON"):
        store.save(record(seed=float("nan")))
    assert store.get(record()["id"])["seed"] == 0
    assert not list(store.root.rglob(".*"))


def test_default_location(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    assert Store.default().root == tmp_path
    assert Store.default("x").root.name == "x"
    monkeypatch.delenv("HARNESS_HOME")
    assert Store.default().root.name == "runs"


def test_problems_are_named():
    assert problems_of(record()) == []
    assert problems_of({**record(), "calib": "8"}) == ["calib is '8', expected a whole number"]
    assert "error is missing" in problems_of({**record(), "status": "failed"})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metrics": {}}, "metrics.top1 is missing"),
        ({"metrics": {**record()["metrics"], "n_images": None}}, "metrics.n_images is None, expected a whole number"),
        ({"stages": [1]}, "stages[0] is 1, expected an object"),
        ({"stages": [{"name": "fqvit"}]}, "stages[0].seconds is missing"),
        ({"data": {}}, "data.name is missing"),
        ({"calib": True}, "calib is True, expected a whole number"),
    ],
)
def test_what_tables_read_is_checked(store, changes, problem):
    assert any(problem in text for text in problems_of(record(**changes)))
    path = store.folder(record()["id"]) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record(**changes)))
    assert [list(store.records()), len(store.broken())] == [[], 1]


def test_a_failed_record_needs_its_reason():
    assert problems_of({**record(status="failed"), "error": {}}) == ["error.kind is missing", "error.message is missing"]


def test_a_folder_may_be_given_as_text(tmp_path):
    store = Store(str(tmp_path / "runs"))
    store.check_writable()
    assert store.root == tmp_path / "runs"
    assert list(store.records()) == []


def test_a_store_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        Store.default(str(tmp_path / "file"))


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not writable"):
        Store(tmp_path / "file" / "runs").check_writable()
    Store(tmp_path / "runs").check_writable()
    assert list((tmp_path / "runs").iterdir()) == []
