"""Measurements of latency in a store: beside the record, checked, carried to others and back."""

import json
import os

import pandas as pd
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.check import problems
from harness.store.contribution import check, pack
from harness.store.exchange import export, merge
from harness.store.latencies import all_latencies, latencies_of, save_latency
from harness.store.migrate import migrate_store
from harness.store.reading import BrokenFile
from harness.store.store import Store, write_json
from harness.trial.latency import digest_of, of_trial, place_of
from harness.trial.latency_check import NotALatencyError, parse_latency, problems_of
from tests.store.tampering import VALUES
from tests.store.test_store import record

ID = record()["id"]
OTHER = "0123456789abcdef"
FILE = {"name": "model.onnx", "bytes": 6_430_000, "sha256": "b" * 64}
BATCH = {
    "batch": 1, "rounds": 40, "repeats": 2, "quantized_ms": 13.0, "float32_ms": 23.0,
    "ratio": 0.56, "low": 0.55, "high": 0.58,
}  # fmt: skip


def latency(trial=ID, **changes):
    """A measurement as ``harness latency`` makes it."""
    computer = {"device": "cpu", "cpu": "Test CPU", "flags": ["avx2", "avx512_vnni"], "cores": 4, "platform": "Linux"}
    base = {
        "schema_version": 1, "trial": trial, "created": "2026-01-01T00:00:00+00:00", "runtime": "onnxruntime 1.32.0",
        "threads": 1, "pinned": True, "computer": computer, "load": {"start": 0.1, "end": 0.3}, "others": 0.01,
        "quiet": True, "quantized": FILE, "float32": {**FILE, "bytes": 23_500_000}, "batches": [BATCH], "commit": None,
    }  # fmt: skip
    return {**base, **changes}


@pytest.fixture
def filled(store):
    store.save(record())
    save_latency(store, latency())
    return store


def named(store):
    return {problem.path: problem.reason for problem in problems(store) if "correct.npy" not in str(problem.path)}


def place(store, content, name=None):
    """Write anything into the place of a measurement."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path = store.folder(ID) / "latency" / f"{name or digest_of(json.loads(text))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_one_trial_may_have_many_measurements(filled):
    other = latency(threads=2)
    first, second = save_latency(filled, other), save_latency(filled, other)
    assert first == second, "the same measurement is there once"
    found, broken = all_latencies(filled, [ID, OTHER])
    assert sorted(one["threads"] for one in found[ID]) == [1, 2]
    assert (list(found), broken) == ([ID], [])
    assert named(filled) == {}


def test_only_ids_become_paths(store):
    with pytest.raises(UsageError, match="no id"):
        save_latency(store, latency("../../escaped"))
    assert not list(store.root.rglob("*escaped*"))


WRONG = [
    ({"batches": []}, "batches has 0 entries, expected at least one"),
    ({"batches": [BATCH, BATCH]}, "batches has 2 entries, expected at least one and each batch size once"),
    ({"batches": [{**BATCH, "ratio": 0.5}]}, "batches[0].ratio is 0.5, expected between low and high"),
    ({"batches": [{**BATCH, "ratio": float("inf")}]}, "batches[0].ratio is inf, expected a finite number"),
    ({"batches": [{**BATCH, "quantized_ms": -1.0}]}, "batches[0].quantized_ms is -1.0, expected"),
    ({"batches": [{**BATCH, "quantized_ms": 0.0}]}, "batches[0].quantized_ms is 0.0, expected"),
    ({"batches": [{**BATCH, "batch": 0}]}, "batches[0].batch is 0, expected at least 1"),
    ({"batches": [{**BATCH, "batch": True}]}, "batches[0].batch is True, expected a whole number"),
    ({"quantized": {**FILE, "bytes": 0}}, "quantized.bytes is 0, expected at least 1"),
    ({"quantized": {**FILE, "name": "x" * 301}}, "quantized.name is 'xxx"),
    ({"others": -0.5}, "others is -0.5, expected at least 0"),
    ({"load": {"start": -1.0, "end": 1.0}}, "load.start is -1.0, expected at least 0"),
    ({"trial": "../../../etc"}, "trial is '../../../etc', expected 16 hexadecimal digits"),
    ({"schema_version": "1"}, "schema_version is '1', expected a whole number"),
    ({"more": 1}, "more is 1, expected"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=[str(list(one)) for one, _ in WRONG])
def test_what_no_measurement_says_is_named_with_its_path(changes, reason):
    assert problems_of(latency()) == []
    assert any(found.startswith(reason) for found in problems_of(latency(**changes))), problems_of(latency(**changes))


def test_any_value_in_any_place_is_refused_or_can_be_used():
    for name in latency():
        for value in VALUES:
            content = latency(**{name: value})
            if not problems_of(content):
                assert place_of(content)
                assert digest_of(content)


HOSTILE = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "cut": json.dumps(latency()).encode()[:100],
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "NaN": json.dumps(latency(others=float("nan"))).encode(),
    "infinite": json.dumps(latency(others=1.5)).replace("1.5", "1e999").encode(),
    "later": json.dumps(latency(schema_version=2)).encode(),
    "of another trial": json.dumps(latency(OTHER)).encode(),
    "changed": json.dumps(latency(threads=3)).encode(),
    "large": b" " * (2**20 + 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_does_not_fit_is_named_left_out_and_moved_aside(filled, kind, capsys):
    path = place(filled, HOSTILE[kind], "f" * 16)
    found, broken = all_latencies(filled, [ID])
    assert (found[ID], [one.path for one in broken]) == ([latency()], [path])
    assert list(named(filled)) == [path]
    assert main(["store", "check", "--repair", "--store", str(filled.root)]) == 1
    assert str(path) in capsys.readouterr().out
    assert not path.exists()
    assert len(list(filled.root.glob(f"aside/**/{'f' * 16}.json"))) == 1
    assert named(filled) == {}


@pytest.mark.parametrize("target", ["nowhere", "/dev/zero", "record.json"])
def test_links_are_not_followed(filled, target):
    path = filled.folder(ID) / "latency" / f"{'f' * 16}.json"
    path.symlink_to(target)
    found, broken = all_latencies(filled, [ID])
    assert (found[ID], broken[0].path) == ([latency()], path)
    assert broken[0].reason == f"it is a link to {target}, expected a file"
    assert path in named(filled)


def test_a_folder_that_is_a_link_is_neither_read_nor_written(store, tmp_path):
    store.save(record())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_json(elsewhere / f"{digest_of(latency())}.json", latency())
    (store.folder(ID) / "latency").symlink_to(elsewhere)
    (found,) = latencies_of(store, ID)
    assert isinstance(found, BrokenFile)
    assert found.reason == f"it is a link to {elsewhere}, expected a folder"
    with pytest.raises(UsageError, match="out of the store"):
        save_latency(store, latency(threads=2))
    assert len(list(elsewhere.iterdir())) == 1


def test_pipes_are_not_opened(filled):
    path = filled.folder(ID) / "latency" / f"{'f' * 16}.json"
    os.mkfifo(path)
    _, broken = all_latencies(filled, [ID])
    assert "expected a file" in broken[0].reason


@pytest.mark.parametrize("form", ["parquet", "json", "csv", "store"])
def test_they_go_to_others_with_their_records(filled, tmp_path, form):
    filled.save(record(OTHER, stack="fqvit+omse"))
    source = filled.root if form == "store" else tmp_path / f"all.{form}"
    if form != "store":
        export(filled, source, form, full=True)
    theirs = Store(tmp_path / "theirs")
    merged = merge(theirs, source, "lab")
    assert (merged.added, merged.latencies, merged.refused) == (2, 1, [])
    assert list(latencies_of(theirs, ID)) == [latency()]
    again = merge(theirs, source, "lab")
    assert (again.added, again.latencies, again.refused) == (0, 0, [])


def test_a_record_that_is_here_already_gets_new_measurements(filled, tmp_path):
    theirs = Store(tmp_path / "theirs")
    theirs.save(record())
    assert merge(theirs, filled.root, None).latencies == 1
    assert list(latencies_of(theirs, ID)) == [latency()]


def test_an_export_without_measurements_has_no_column_for_them(store, tmp_path):
    store.save(record())
    export(store, tmp_path / "all.parquet", "parquet", full=True)
    assert "latency" not in pd.read_parquet(tmp_path / "all.parquet").columns


BAD_COLUMNS = {
    "no JSON": "{",
    "no object": "[1]",
    "not by its hash": json.dumps({"f" * 16: latency()}),
    "of another trial": json.dumps({digest_of(latency(OTHER)): latency(OTHER)}),
    "none": json.dumps({"f" * 16: {"a": 1}}),
}


@pytest.mark.parametrize("kind", BAD_COLUMNS)
def test_a_foreign_column_is_named_and_the_record_comes_in(filled, tmp_path, kind):
    export(filled, tmp_path / "all.parquet", "parquet", full=True)
    rows = pd.read_parquet(tmp_path / "all.parquet")
    rows["latency"] = BAD_COLUMNS[kind]
    rows.to_parquet(tmp_path / "all.parquet")
    theirs = Store(tmp_path / "theirs")
    merged = merge(theirs, tmp_path / "all.parquet", "lab")
    assert (merged.added, merged.latencies, len(merged.refused)) == (1, 0, 1)
    assert "latenc" in merged.refused[0].reason
    assert list(latencies_of(theirs, ID)) == []


def test_a_submission_with_a_changed_measurement_is_wrong(filled, tmp_path):
    path = tmp_path / "ours.parquet"
    pack(filled, path, {"by": "us"}, bool)
    before = [one.text for one in check(path).findings if "latency" in one.text]
    rows = pd.read_parquet(path)
    rows["latency"] = [text.replace("0.56", "0.555") for text in rows["latency"]]
    rows.to_parquet(path)
    found = [one for one in check(path).findings if "latency" in one.text]
    assert (before, [one.wrong for one in found]) == ([], [True])


def test_they_move_with_a_record_that_gets_another_id(filled, monkeypatch):
    monkeypatch.setattr(
        "harness.store.migrate.to_identity", lambda one, _: one if one["id"] == OTHER else {**one, "id": OTHER}
    )
    done = migrate_store(filled, lambda _: "")
    assert (done.moved, done.refused) == (1, [])
    assert list(latencies_of(filled, OTHER)) == [of_trial(latency(), OTHER)]
    assert named(filled) == {}


def test_where_latencies_may_be_compared():
    assert place_of(latency()) == "Test CPU (avx512_vnni, avx2), 1 thread, onnxruntime 1.32.0"
    gpu = {**latency()["computer"], "device": "NVIDIA H200"}
    assert place_of(latency(computer=gpu)) == "NVIDIA H200, onnxruntime 1.32.0"


def test_a_later_schema_says_so():
    with pytest.raises(NotALatencyError, match="schema_version is 2, expected 1") as caught:
        parse_latency(json.dumps(latency(schema_version=2)))
    assert caught.value.schema == 2
