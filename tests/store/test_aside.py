"""What cannot be read is never written over: it is moved aside with its reason, and named."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.store.aside import set_aside
from harness.store.exchange import merge
from harness.store.reading import BrokenFile
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.store.test_store import record

ID = record()["id"]
RIGHT = np.ones((2, 11), dtype=bool)


def place(store, content):
    """A file in the place of a record, with the results that belong to it."""
    folder = store.folder(ID)
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(content)
    (folder / "correct.npy").write_bytes(b"its images")
    (folder / "quantizers.safetensors").write_bytes(b"its network")
    return folder


def later(version=99):
    return json.dumps(record(schema_version=version, new="things")).encode()


@pytest.mark.parametrize("status", ["done", "failed"])
@pytest.mark.parametrize(
    ("content", "below"),
    [(later(), "schema-99"), (later(0), "schema-0"), (later()[:100], ""), (b"", ""), (b"\xff", ""), (later("2"), "")],
)
def test_a_record_that_cannot_be_read_is_kept(store, caplog, status, content, below):
    place(store, content)
    store.save(record(status=status), RIGHT)
    assert store.get(ID)["status"] == status
    kept = store.root / "aside" / below / "trials" / ID[:2] / ID
    assert (kept / "record.json").read_bytes() == content
    assert (kept / "correct.npy").read_bytes() == b"its images"
    assert (kept / "quantizers.safetensors").read_bytes() == b"its network"
    note = json.loads((kept / "record.json.note.json").read_text())
    assert note["from"] == f"trials/{ID[:2]}/{ID}/record.json"
    assert note["reason"]
    assert note["at"] > "2026"


def test_it_is_named(store, capsys):
    from harness.machine.logs import warnings_to_stderr

    warnings_to_stderr()
    folder = place(store, later())
    store.save(record())
    said = capsys.readouterr().err
    assert f"{folder / 'record.json'} is no record: schema_version is 99, expected 1; kept as" in said


def test_nothing_that_was_set_aside_is_written_over(store):
    for content in (b"1", b"2", b"3"):
        path = store.folder(ID) / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        store.save(record())
    kept = sorted(store.root.glob("aside/trials/*/*/record.json*"))
    assert sorted(one.read_bytes() for one in kept if "note" not in one.name) == [b"1", b"2", b"3"]
    assert len(kept) == 6


def test_what_stands_in_the_place_of_a_record_is_moved_whatever_it_is(store):
    folder = store.folder(ID)
    folder.mkdir(parents=True)
    (folder / "record.json").mkdir()
    (folder / "record.json" / "inside").touch()
    store.save(record())
    assert (store.root / "aside" / "trials" / ID[:2] / ID / "record.json" / "inside").is_file()
    (folder / "record.json").unlink()
    (folder / "record.json").symlink_to("record.json")
    store.save(record())
    assert (store.root / "aside" / "trials" / ID[:2] / ID / "record.json.2").is_symlink()
    assert store.get(ID)


def test_an_import_keeps_it_too(store, tmp_path):
    place(store, later())
    theirs = Store(tmp_path / "theirs")
    theirs.save(record())
    assert merge(store, theirs.root, "lab").added == 1
    assert (store.root / "aside" / "schema-99" / "trials" / ID[:2] / ID / "record.json").read_bytes() == later()


def test_a_run_moves_it_before_it_writes_anything(store):
    """The network's state is written before the record: that of the other version must have gone by then."""
    spec = TrialSpec("minmax", calib=8, eval_limit=16)
    trial = prepare(spec).id
    folder = store.folder(trial)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record(trial, schema_version=7)))
    (folder / "quantizers.safetensors").write_bytes(b"of version 7")
    assert run_trial(spec, store).record["status"] == "done"
    kept = store.root / "aside" / "schema-7" / "trials" / trial[:2] / trial
    assert (kept / "quantizers.safetensors").read_bytes() == b"of version 7"
    assert json.loads((kept / "record.json").read_text())["schema_version"] == 7


def test_only_what_is_in_the_store_is_moved(store, tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="is not in the store"):
        set_aside(store.root, BrokenFile(tmp_path / "mine", "x"))
    with pytest.raises(UsageError, match="cannot be moved aside: No such file"):
        set_aside(store.root, BrokenFile(store.root / "gone", "x"))
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("name", ["correct.npy", "quantizers.safetensors", "log.txt", "heartbeat.json"])
@pytest.mark.parametrize("shape", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_makes_way_also_beside_a_good_record(store, name, shape):
    store.save(record(), RIGHT)
    path = store.folder(ID) / name
    path.unlink(missing_ok=True)
    shape(path)
    store.save(record(), RIGHT)
    assert path.is_file() == (name == "correct.npy")
    note = json.loads((store.root / "aside" / "trials" / ID[:2] / ID / f"{name}.note.json").read_text())
    assert note["reason"] in ("it is a folder, expected a file", "it is a pipe or device, expected a file")


def test_a_run_is_not_lost_where_folders_stand_in_the_place_of_its_files(store):
    spec = TrialSpec("minmax", calib=8, eval_limit=16)
    paths = [store.folder(prepare(spec).id) / name for name in ("correct.npy", "quantizers.safetensors")]
    for path in paths:
        path.mkdir(parents=True)
    assert run_trial(spec, store).record["status"] == "done"
    assert all(path.is_file() for path in paths)
