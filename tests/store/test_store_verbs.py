"""``harness store``: check, export, import, rebuild; and the cache behind reports."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.main import main
from harness.errors import UsageError
from harness.store import table_cache as cache
from harness.store.check import problems
from harness.store.exchange import export, merge
from harness.store.store import Store
from harness.store.table import COLUMNS, row, table
from harness.trial.record_check import problems_of
from tests.store.test_store import record

ID = record()["id"]


@pytest.fixture
def harness(store, capsys):
    def call(*words, check=0):
        try:
            code = main([*map(str, words), "--store", str(store.root)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert code == check, out + err
        return out if check == 0 else out + err

    return call


def several(store, count=5):
    for index in range(count):
        right = np.zeros((2, 11), dtype=bool)
        right[0, :9] = True
        right[1, :10] = True
        metrics = {"top1": 80 + index / 3, "top1_fp32": 90.0, "agreement": 95.0, "n_images": 11}
        metrics |= {"n_correct": 9, "n_correct_fp32": 10}
        store.save(record(f"{index:016x}", seed=index, metrics=metrics), right)
    store.save(record("f" * 16, "failed", metrics={}))


def test_columns_are_fixed():
    """Other programs read these names: add at the end, never rename."""
    assert list(COLUMNS)[:9] == ["id", "status", "model", "bits", "stack", "calib", "seed", "top1", "top1_fp32"]
    assert list(table([]).columns) == list(COLUMNS)
    assert list(row(record())) == list(COLUMNS)


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_an_export_has_one_row_per_record(harness, store, tmp_path, form):
    several(store)
    out = tmp_path / "out" / f"all.{form}"
    assert harness("store", "export", "--format", form, "--out", out) == f"6 rows in {out}\n"
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[form](out)
    assert list(read.columns) == list(COLUMNS)
    assert len(read) == 6
    assert read["top1"].head(5).tolist() == pytest.approx([80 + i / 3 for i in range(5)], rel=1e-14)
    assert list(read["seed"].head(5)) == [0, 1, 2, 3, 4]
    assert read["error_kind"].iloc[5] == "oom"
    assert pd.isna(read["top1"].iloc[5])


def test_an_export_that_cannot_be_written_is_explained(harness, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in harness("store", "export", "--out", tmp_path / "file" / "x.csv", check=2)


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_a_full_export_can_be_imported(store, tmp_path, form):
    several(store)
    path = tmp_path / f"full.{form}"
    export(store, path, form, full=True)
    other = Store(tmp_path / "other")
    merged = merge(other, path, "lab")
    assert (merged.added, merged.replicas, merged.known, merged.refused) == (6, 0, 0, [])
    for mine in store.records():
        theirs = other.stored(mine["id"])
        mark = theirs.pop("imported")
        assert (mark["from"], mark["file"]) == ("lab", f"full.{form}")
        assert mark["at"] > "2026"
        assert theirs == mine
    assert np.array_equal(other.correct(f"{2:016x}"), store.correct(f"{2:016x}")), "per-image results come along"
    assert list(problems(other)) == []


def test_importing_a_store_never_overwrites(harness, store, tmp_path):
    several(store)
    theirs = Store(tmp_path / "theirs")
    several(theirs, 7)
    changed = record(f"{1:016x}", seed=1, metrics={**store.get(f"{1:016x}")["metrics"], "top1": 12.0})
    theirs.save(changed)
    before = {r["id"]: r for r in store.records()}
    facts = json.loads(harness("store", "import", theirs.root, "--origin", "lab", "--json"))
    assert facts == {"added": 2, "replicas": 1, "known": 5, "migrated": 0, "latencies": 0, "refused": 0}
    assert all(store.get(trial) == mine for trial, mine in before.items())
    (replica,) = store.root.rglob("replicas/*.json")
    assert json.loads(replica.read_text())["metrics"]["top1"] == 12.0
    assert np.array_equal(store.correct(f"{6:016x}"), theirs.correct(f"{6:016x}")), "per-image results come along"
    again = json.loads(harness("store", "import", theirs.root, "--json"))
    assert again == {"added": 0, "replicas": 0, "known": 8, "migrated": 0, "latencies": 0, "refused": 0}
    assert "0 problems" in harness("store", "check")


def test_an_own_result_takes_the_place_of_an_imported_one(store, tmp_path):
    theirs = Store(tmp_path / "theirs")
    theirs.save(record())
    merge(store, theirs.root, "lab")
    store.save(record(seed=1))
    assert "imported" not in store.get(ID)
    (replica,) = store.root.rglob("replicas/*.json")
    assert json.loads(replica.read_text())["imported"]["from"] == "lab"


def test_a_table_of_thousands_of_columns_is_refused_before_it_is_read(harness, tmp_path):
    (tmp_path / "x.csv").write_text("record" + "," * 100_000 + "\n" + "," * 100_000 + "\n")
    assert "columns or more, expected at most 1,000" in harness("store", "import", tmp_path / "x.csv", check=2)


def test_what_is_no_record_is_refused_by_name(harness, store, tmp_path):
    pd.DataFrame({"record": [json.dumps(record()), "{", json.dumps({"id": 1})]}).to_csv(tmp_path / "x.csv")
    said = harness("store", "import", tmp_path / "x.csv", check=1)
    assert "x.csv, row 2 is no record" in said
    assert "x.csv, row 3 is no record" in said
    assert store.stored(ID)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", "", "expected a store's folder or a .csv"),
        ("x.csv", "a,b\n1,2\n", "no column 'record'"),
        ("x.parquet", "nonsense", "cannot be read"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_sources_that_cannot_be_imported_are_explained(store, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said):
        merge(store, tmp_path / name, "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="has no folder trials"):
        merge(store, tmp_path / "folder", "x")


def test_check_names_every_file_that_is_wrong(harness, store):
    several(store, 4)
    assert harness("store", "check").endswith("0 problems\n")
    folders = [store.folder(f"{index:016x}") for index in range(4)]
    (folders[0] / "record.json").write_text("{")
    (folders[1] / "correct.npy").unlink()
    np.save(folders[2] / "correct.npy", np.zeros((2, 2), dtype=np.uint8))
    (folders[3] / "correct.npy").write_bytes(b"x")
    (folders[3] / ".record.json.abc").touch()
    os.utime(folders[3] / ".record.json.abc", (0, 0))
    (folders[3] / "attempts").mkdir()
    (folders[3] / "attempts" / "1.json").write_text("null")
    (store.root / "sweeps" / "s").mkdir(parents=True)
    (store.root / "sweeps" / "s" / "sweep.json").write_text("[")
    facts = json.loads(harness("store", "check", "--json", check=1))
    found = {problem["path"]: problem["reason"] for problem in facts["problems"]}
    assert len(found) == 7
    assert "not readable" in found[str(folders[0] / "record.json")]
    assert found[str(folders[1] / "correct.npy")] == "is missing"
    assert "counts [0, 0]" in found[str(folders[2] / "correct.npy")]
    assert "interrupted" in found[str(folders[3] / ".record.json.abc")]


def test_the_cache_reads_only_what_changed(store, monkeypatch):
    several(store)
    read = []
    monkeypatch.setattr(cache, "read_record", lambda path, real=cache.read_record: read.append(path) or real(path))
    first = cache.rows(store)
    assert len(read) == len(first.table) == 6
    again = cache.rows(store)
    assert len(read) == 6
    pd.testing.assert_frame_equal(first.table, again.table)
    store.save(record(f"{9:016x}"))
    store.save(record(f"{1:016x}", seed=77))
    third = cache.rows(store)
    assert len(read) == 8
    pd.testing.assert_frame_equal(third.table, table(store.records()))
    store.folder(f"{0:016x}").joinpath("record.json").unlink()
    pd.testing.assert_frame_equal(cache.rows(store).table, table(store.records()))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense" * 100])
def test_a_broken_cache_is_made_anew(store, content):
    several(store)
    cache.path_of(store).write_bytes(content)
    assert len(cache.rows(store).table) == 6
    assert len(pd.read_parquet(cache.path_of(store))) == 6


def test_broken_files_are_named_by_every_report_not_only_the_first(store):
    several(store)
    (store.folder(f"{0:016x}") / "record.json").write_text("{")
    for _ in range(2):
        rows = cache.rows(store)
        assert [problem.path.parent.name for problem in rows.broken] == [f"{0:016x}"]
        assert len(rows.table) == 5


def test_rebuild(harness, store):
    several(store)
    assert harness("store", "rebuild").startswith("6 rows in")
    assert len(pd.read_parquet(cache.path_of(store))) == 6


@given(st.text(max_size=40), st.none() | st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_survives_csv(tmp_path_factory, text, limit, value):
    one = record(stack=text, metrics={**record()["metrics"], "logit_mse": value})
    one["data"] = {**one["data"], "eval_limit": limit if limit is None or abs(limit) < 2**63 else None}
    assert problems_of(one) == []
    store = Store(tmp_path_factory.mktemp("x"))
    store.save(one)
    path = store.root / "x.csv"
    export(store, path, "csv")
    read = pd.read_csv(path, keep_default_na=False, lineterminator="\n", dtype={"stack": str})
    assert len(read) == 1
    assert float(read["logit_mse"].iloc[0]) == pytest.approx(value)


@pytest.mark.parametrize("command", [["status"], ["logs", "abc"], ["cancel"]])
def test_commands_that_only_look_start_fast(command, tmp_path):
    """Importing torch takes seconds; looking at a store must not."""
    words = [*command, "--store", str(tmp_path)]
    script = f"import sys; from harness.cli.main import main; main({words!r}); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr
