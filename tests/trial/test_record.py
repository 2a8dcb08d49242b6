"""What a record must be wherever one comes in, and that text from foreign records never becomes a path."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table import table
from harness.trial.record_check import NotARecordError, parse_record, problems_of
from tests.store.test_store import record

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results" / "records.parquet"
METRICS = record()["metrics"]
RIGHT = np.arange(11) < np.array([[9], [10]])
STAGE = {"name": "fqvit", "seconds": 1.0}
ROW = {"tensors": "weights", "quantized": 1, "total": 2, "bits": [4], "granularity": ["channel"]}


def test_committed_records_are_valid():
    texts = list(pd.read_parquet(COMMITTED)["record"])
    assert len(texts) > 100
    assert [problems_of(json.loads(text)) for text in texts] == [[]] * len(texts)
    assert [parse_record(text) for text in texts] == [json.loads(text) for text in texts]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"seed": 99999999999999999999}, "seed is 99999999999999999999, expected at most 9223372036854775807"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"calib": 8.0}, "calib is 8.0, expected a whole number"),
        ({"on_grid": 1}, "on_grid is 1, expected true or false"),
        ({"status": "finished"}, "status is 'finished', expected one of done, failed, skipped"),
        ({"id": "AB12CD34EF56AB78"}, "id is 'AB12CD34EF56AB78', expected 16 hexadecimal digits"),
        ({"metrics": {**METRICS, "top1": float("inf")}}, "metrics.top1 is inf, expected a finite number"),
        ({"metrics": {**METRICS, "top1": True}}, "metrics.top1 is True, expected a number"),
        ({"metrics": {**METRICS, "n_images": 0}}, "metrics.n_images is 0, expected at least 1"),
        ({"metrics": 3}, "metrics is 3, expected an object"),
        ({"stages": [STAGE, {**STAGE, "peak_memory_bytes": "x"}]}, "stages[1].peak_memory_bytes is 'x', expected a whole"),
        ({"coverage": [{}]}, "coverage[0].tensors is missing"),
        ({"coverage": [{**ROW, "bits": ["4"]}]}, "coverage[0].bits[0] is '4', expected a whole number"),
        (
            {"environment": {"load": {"start": -1.0, "end": None}}},
            "environment.load.start is -1.0, expected at least 0",
        ),
        ({"environment": {"versions": []}}, "environment.versions is of type list, expected an object"),
        ({"spec": {"stack": ["fqvit"]}}, "spec.stack[0] is 'fqvit', expected an object"),
        ({"size_bytes": 2**63}, "size_bytes is 9223372036854775808, expected at most"),
        ({"error": {"kind": "fire", "message": ""}}, "error.kind is 'fire', expected one of oom, timeout"),
        ({"imported": {"from": 1}}, "imported.from is 1, expected text"),
    ],
)
def test_every_wrong_field_is_named_with_its_path(changes, problem):
    assert problems_of(record()) == []
    (found,) = [text for text in problems_of(record(**changes)) if text.startswith(problem)]
    assert found


def test_all_problems_are_named_at_once():
    found = problems_of(record(seed="a", bits=4, coverage=[{**ROW, "total": None}]))
    expected = {
        "seed is 'a', expected a whole number",
        "bits is 4, expected text",
        "coverage[0].total is None, expected a whole number",
    }
    assert set(found) == expected


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": "\\ud800"}', "\udcff", b"\xff", "[" * 10_000, ""])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(NotARecordError, match="not readable as JSON"):
        parse_record(text)


def test_what_a_later_version_adds_survives(store):
    newer = record(planet="Mars", stages=[{**STAGE, "joules": [1, {"x": None}]}], metrics={**METRICS, "ece": 0.5})
    store.save(newer)
    assert store.get(newer["id"]) == newer
    assert len(table(store.records())) == 1


@pytest.mark.parametrize("trial", ["../../../escaped", "/tmp/escaped", "..", "a" * 15, "a" * 16 + "\n", "AB12CD34EF56AB78"])
def test_what_is_no_id_never_becomes_a_path(store, trial):
    with pytest.raises(UsageError, match="is no id: expected 16 hexadecimal digits"):
        store.folder(trial)
    with pytest.raises(UsageError, match="is no id"):
        store.save(record(trial))
    assert not store.root.exists()


@pytest.fixture
def hostile(tmp_path):
    """A full export of three rows: one is a record, two would write outside the store."""
    rows = [record(), record("../../../../escaped"), record(str(tmp_path / "absolute"))]
    frame = pd.DataFrame({"record": [json.dumps(row) for row in rows], "correct": [""] * 3})
    frame.to_parquet(tmp_path / "theirs.parquet")
    return tmp_path / "theirs.parquet"


def test_an_import_writes_nothing_outside_the_store(hostile, tmp_path, capsys):
    root = tmp_path / "deep" / "runs"
    before = set(tmp_path.iterdir())
    assert main(["store", "import", str(hostile), "--store", str(root)]) == 1
    said = capsys.readouterr().err
    assert "row 2 is no record: id is '../../../../escaped', expected 16 hexadecimal digits" in said
    assert "row 3 is no record: id is '/" in said
    assert set(tmp_path.iterdir()) == before | {tmp_path / "deep"}
    assert [found["id"] for found in Store(root).records()] == [record()["id"]]
    assert list((tmp_path / "deep").iterdir()) == [root]


def test_a_report_on_a_file_writes_nothing(hostile, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert main(["report", "--records", str(hostile), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "row 2 is no record: id is '../../../../escaped'" in said.err
    assert "row 3 is no record: id is " in said.err
    assert "`fqvit`" in said.out
    assert set(tmp_path.iterdir()) == before


def test_a_store_with_a_hostile_record_is_named_and_the_rest_taken(store, tmp_path):
    theirs = Store(tmp_path / "theirs")
    theirs.save(record(), RIGHT)
    for place, content in (("ff/" + "f" * 16, record("../x")), ("zz/backup", record("backup"))):
        folder = theirs.root / "trials" / place
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(content))
    merged = merge(store, theirs.root, "lab")
    assert merged.added == 1
    assert {problem.path.parent.name for problem in merged.refused} == {"f" * 16, "backup"}
    assert main(["report", "--store", str(theirs.root), "--quiet"]) == 0, "a foreign folder is in nobody's way"


def test_an_infinite_number_in_the_free_parts_is_refused_before_anything_is_written(store, tmp_path):
    text = json.dumps(record(stages=[{**STAGE, "notes": {"loss": 7.25}}])).replace("7.25", "1e999")
    pd.DataFrame({"record": [text]}).to_csv(tmp_path / "x.csv")
    (refused,) = merge(store, tmp_path / "x.csv", "lab").refused
    assert refused.reason == "holds a number that is not finite"
    assert not (store.root / "trials").exists()
