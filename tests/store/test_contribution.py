"""Results for others in one file: what is written, and that whatever contradicts itself is found."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.bitmap import packed
from harness.store.contribution import HEADER, check, pack
from harness.store.exchange import export
from harness.store.store import Store
from harness.trial.identity import content_id
from tests.store.test_store import record

STEP = {"name": "fqvit", "version": 1, "config": {}}
METRICS = {
    **{"top1": 100 * 9 / 11, "n_correct": 9, "top1_fp32": 100 * 10 / 11, "n_correct_fp32": 10},
    **{"agreement": 100 * 10 / 11, "n_agree": 10, "n_images": 11},
}
CORRECT = np.ones((2, 11), bool)
CORRECT[0, :2] = CORRECT[1, :1] = False


def whole(seed=0, **changes):
    """A record whose id, counts and texts fit each other, unless they are changed."""
    spec = {"model": "m", "bits": "w8a8", "calib": 8, "seed": seed, "stack": [STEP], "blocks": "x"}
    base = {"seed": seed, "spec": spec, "metrics": METRICS, "environment": {"commit": "c"}}
    return record(content_id(spec), **{**base, **changes})


@pytest.fixture
def written(store, tmp_path):
    """A function that submits records and looks at the file; ``change`` gets its rows before they are written."""

    def write(*records, correct=CORRECT, change=None):
        for one in records:
            store.save(one, correct)
        path = tmp_path / "file.parquet"
        pack(store, path, {"by": "A. Lab", "note": ""}, bool)
        if change is not None:
            table = pq.read_table(path)
            columns = change(table.to_pydict())
            pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), path)
        return check(path)

    return write


def wrong(found):
    return [one.text for one in found.findings if one.wrong]


def test_what_was_measured_is_right(written):
    found = written(whole(), whole(1))
    assert found.findings == []
    assert len(found.records) == 2
    assert (found.header["by"], found.header["records"]) == ("A. Lab", 2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bits": "w4a8"}, "shows bits 'w4a8', its identity has 'w8a8'"),
        ({"stack": "fqvit+evolq(passes=3)"}, "shows the stack fqvit+evolq, its identity has fqvit"),
        ({"metrics": {**METRICS, "top1": 99.0}}, "top1 is 99.0, but n_correct is 9 of 11"),
        ({"metrics": {**METRICS, "agreement": 100.0, "n_agree": 11}}, "but only 0 predictions changed"),
        ({"spec": {**whole()["spec"], "seed": 5}}, "its id is not the hash of what it says it measured"),
    ],
)
def test_a_record_that_contradicts_itself_is_named(written, changes, text):
    assert any(text in one for one in wrong(written({**whole(), **changes})))


def test_more_images_changed_than_predictions(written):
    crossed = CORRECT.copy()
    crossed[0], crossed[1] = True, True
    crossed[0, :2], crossed[1, 5] = False, False
    assert wrong(written(whole(), correct=crossed)) == [
        "3 images changed from right to wrong or back, but 10 predictions stayed"
    ]


def _more_right(columns):
    import base64

    forged = CORRECT.copy()
    forged[0] = True
    return {**columns, "correct": [base64.b64encode(packed(forged)).decode()]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_more_right, "counts [11, 10] right images, the record [9, 10]"),
        (lambda columns: {name: 2 * rows for name, rows in columns.items()}, "holds 2 records, its header says 1"),
        (lambda columns: {name: 2 * rows for name, rows in columns.items()}, "is in the file twice"),
        (lambda columns: {**columns, "record": ["{}"]}, "schema_version"),
        (lambda columns: {**columns, "record": [columns["record"][0] + " "]}, "was changed after it was made"),
    ],
)
def test_a_changed_file_is_seen(written, change, text):
    assert any(text in one for one in wrong(written(whole(), change=change)))


def test_an_export_is_read_and_said_to_be_one(store, tmp_path):
    store.save(whole(), CORRECT)
    export(store, tmp_path / "e.parquet", "parquet", full=True)
    found = check(tmp_path / "e.parquet")
    assert not wrong(found)
    assert "no header" in found.findings[0].text


def test_without_per_image_results_counts_are_not_checked(written):
    (finding,) = written(whole(), correct=None).findings
    assert "cannot be checked" in finding.text
    assert not finding.wrong


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.parquet' cannot be read"):
        check(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="is no file that harness submit wrote"):
        check(tmp_path / "absent.parquet")


@pytest.mark.parametrize("header", [b"[]", b"{", b"\xff", b'{"format": 7}', b'{"a":' + b"1" * 2**17 + b"}", b"[" * 60000])
def test_a_foreign_header_is_none(written, tmp_path, header):
    written(whole())
    path = tmp_path / "file.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({HEADER: header}), path)
    found = check(path)
    assert found.header == {}
    assert "no header" in found.findings[0].text


def test_imported_and_failed_records_stay_out(store, tmp_path):
    store.save({**whole(), "imported": {"from": "them"}}, CORRECT)
    store.save(whole(1, status="failed"))
    with pytest.raises(UsageError, match="no finished record"):
        pack(store, tmp_path / "x.parquet", {}, bool)


def test_submit_and_verify_on_the_command_line(store, tmp_path, capsys, monkeypatch):
    small = ["--method", "minmax", "--calib", "4", "--eval-limit", "8", "--device", "cpu", "--quiet"]
    assert main(["run", *small, "--store", str(store.root)]) == 0
    path = str(tmp_path / "ours.parquet")
    assert (
        main(["submit", "--by", "A. \x1b[31mLab", "--store", str(store.root), "--out", path, "--where", "stack=min*"]) == 0
    )
    capsys.readouterr()
    assert main(["verify", path, "--repeat", "--device", "cpu", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["wrong"], told["unchecked"]) == (1, [], [])
    assert told["repetition"]["same"]
    assert told["repetition"]["text"].endswith("0 per-image results differ")
    monkeypatch.setattr("harness.cli.actions.verify.carried_out", lambda spec, *given: (_other(store), False))
    monkeypatch.setattr(Store, "correct", lambda self, trial: CORRECT)
    assert main(["verify", path, "--repeat", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "repetition differs" in out
    assert "\x1b" not in out
    assert main(["verify", path, "--repeat", "--data", str(tmp_path)]) == 2
    assert "no trial to repeat (leave out --data)" in capsys.readouterr().err


def _other(store):
    (stored,) = store.records()
    return {**stored, "metrics": {**stored["metrics"], "n_correct": 0}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x.csv"], "ends in .parquet"),
        (["--out", "x.parquet", "--where", "stak=x"], "Did you mean stack"),
        (["--out", "x.parquet", "--where", "stack"], "expected key=value"),
        (["--out", "x.parquet"], "no finished record"),
    ],
)
def test_mistakes_are_one_line(store, capsys, words, said):
    assert main(["submit", "--by", "me", "--store", str(store.root), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
