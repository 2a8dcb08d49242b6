"""Records and per-image results that somebody tampered with: named, left out, and the rest of the store still works."""

import io
import itertools
import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.store.bitmap import BitmapError, packed, unpacked
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table import table, unfit
from harness.trial.record_check import NotARecordError, parse_record
from tests.store.tampering import VALUES, places, real, tampered
from tests.store.test_store import record

ID = record()["id"]
OTHER = "0123456789abcdef"
BAD = "ffffffffffffffff"
RIGHT = np.arange(11) < np.array([[9], [10]])
VERBS = (
    ["report", "--quiet"],
    ["report", "--json"],
    ["compare", "fqvit", "fqvit+omse"],
    ["status"],
    ["store", "list"],
    ["store", "check"],
    ["store", "rebuild"],
    ["store", "export", "--out", "OUT.csv"],
    ["store", "export", "--full", "--format", "parquet", "--out", "OUT.parquet"],
    ["store", "import", "STORE"],
    ["store", "migrate"],
)


def two_good(store):
    store.save(record(), RIGHT)
    store.save(record(OTHER, stack="fqvit+omse"), RIGHT)


def say(capsys, store, verb, tmp_path):
    """Exit code and output of a verb, in which OUT and STORE stand for places."""
    words = [word.replace("OUT", str(tmp_path / "out")).replace("STORE", str(store.root)) for word in verb]
    target = tmp_path / "other" if "import" in verb else store.root
    code = main([*words, "--store", str(target)])
    return code, capsys.readouterr()


def expected(verb, bad=("check", "import")):
    """Exit codes: a check and an import say that something is wrong; of records at one seed none can be compared."""
    return {0, 2} if verb[0] == "compare" else {int(verb[0] == "store" and verb[1] in bad)}


def written(store, trial, content):
    path = store.folder(trial) / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def accepted():
    """Every tampered record that fits all the same: its free parts hold anything."""
    for number, (place, value) in enumerate(itertools.product(places(real()), VALUES)):
        content = {**tampered(place, value)}
        try:
            parse_record(json.dumps(content))
        except NotARecordError:
            continue
        yield {**content, "id": f"{number:016x}"}


def test_what_fits_breaks_no_table(tmp_path, capsys):
    store = Store(tmp_path / "runs")
    several = list(accepted())
    assert len(several) > 1000
    rows = table(several)
    assert len(rows) == len(several)
    assert unfit(rows) == ""
    for content in several[::9]:
        written(store, content["id"], content)
    for verb in VERBS:
        code, _ = say(capsys, store, verb, tmp_path)
        assert code in expected(verb, bad=("check",)), verb


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metrics": {**record()["metrics"], "top1": 100.5}}, "metrics.top1 is 100.5, expected at most 100"),
        ({"metrics": {**record()["metrics"], "agreement": -1e308}}, "metrics.agreement is -1e+308, expected at least 0"),
        ({"metrics": {**record()["metrics"], "n_correct": 12}}, "metrics.n_correct is 12, expected at most n_images, 11"),
        ({"stages": [{"name": "a", "seconds": -1.0}]}, "stages[0].seconds is -1.0, expected at least 0"),
    ],
)
def test_numbers_that_no_measurement_gives(changes, reason):
    with pytest.raises(NotARecordError) as caught:
        parse_record(json.dumps(record(**changes)))
    assert str(caught.value) == reason


def folder(path):
    path.mkdir()


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("nowhere")


def outside(path):
    path.symlink_to("/dev/zero")


def large(path):
    with path.open("wb") as handle:
        os.truncate(handle.fileno(), 2**27)


CONTENTS = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "truncated": json.dumps(record(BAD)).encode()[:200],
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "NaN": json.dumps(record(BAD, seconds=float("nan"))).encode(),
    "a huge number": json.dumps(record(BAD, seed=10**400)).encode(),
    "infinity in a free part": json.dumps(record(BAD, planet=1.5)).replace("1.5", "1e999").encode(),
    "wrong types": json.dumps(record(BAD, metrics=[], coverage=[{}], stages={}, spec=3)).encode(),
    "later": json.dumps(record(BAD, schema_version=2)).encode(),
    "another id": json.dumps(record()).encode(),
    "an id that is a path": json.dumps(record("../../escaped")).encode(),
}
SHAPES = (folder, loop, dangling, os.mkfifo, outside, large)


@pytest.mark.parametrize("bad", [*CONTENTS, *SHAPES], ids=lambda bad: bad if isinstance(bad, str) else bad.__name__)
def test_what_does_not_fit_is_named_and_left_out(store, tmp_path, capsys, bad):
    two_good(store)
    path = store.folder(BAD) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENTS[bad]) if isinstance(bad, str) else bad(path)
    assert [found["id"] for found in store.records()] == [OTHER, ID]
    for verb in VERBS:
        code, said = say(capsys, store, verb, tmp_path)
        assert code in expected(verb), (verb, said)
        assert verb == ["status"] or str(path) in said.out + said.err, verb
    assert ID in say(capsys, store, ["store", "list"], tmp_path)[1].out


def saved(array, **more):
    target = io.BytesIO()
    np.save(target, array, **more)
    return target.getvalue()


def zipped():
    target = io.BytesIO()
    np.savez(target, np.packbits(RIGHT, axis=1))
    return target.getvalue()


BITMAPS = {
    "empty": b"",
    "one byte": b"x",
    "truncated in its header": packed(RIGHT)[:50],
    "truncated": packed(RIGHT)[:-1],
    "longer": packed(RIGHT) + b"x",
    "of fewer images": packed(RIGHT[:, :3]),
    "of more images": packed(np.ones((2, 99), dtype=bool)),
    "of one row": packed(RIGHT[:1]),
    "not packed": saved(RIGHT),
    "numbers": saved(np.zeros((2, 2))),
    "one axis": saved(np.zeros(4, dtype=np.uint8)),
    "column first": saved(np.asfortranarray(np.packbits(RIGHT, axis=1))),
    "pickled": saved(np.array([[print], [1]], dtype=object), allow_pickle=True),
    "a pickle": pickle.dumps(RIGHT),
    "a zip": zipped(),
    "huge": packed(RIGHT).replace(b"(2, 2)", b"(2, 2" + b"0" * 15 + b")"),
    "deep": packed(RIGHT).replace(b"(2, 2)", b"(" * 40 + b"2"),
    "other counts": packed(~RIGHT),
}


@pytest.mark.parametrize("bad", BITMAPS)
def test_per_image_results_that_do_not_fit(store, tmp_path, capsys, bad):
    two_good(store)
    store.save(record(BAD, metrics={**record()["metrics"], "n_correct_fp32": 10}), RIGHT)
    path = store.folder(BAD) / "correct.npy"
    path.write_bytes(BITMAPS[bad])
    if bad != "other counts":
        with pytest.raises(BitmapError):
            store.correct(BAD)
    for verb in VERBS:
        code, said = say(capsys, store, verb, tmp_path)
        assert code in expected(verb), (verb, said)
        if verb[1:2] in (["check"], ["import"]):
            assert f"{path}" in said.out + said.err
    assert [found["id"] for found in Store(tmp_path / "other").records()] == [OTHER, ID]


@pytest.mark.parametrize("shape", [folder, loop, dangling, os.mkfifo, outside])
def test_something_else_in_the_place_of_per_image_results(store, tmp_path, capsys, shape):
    store.save(record(), RIGHT)
    path = store.folder(ID) / "correct.npy"
    path.unlink()
    shape(path)
    with pytest.raises(UsageError):
        store.correct(ID)
    for verb in VERBS:
        say(capsys, store, verb, tmp_path)
    assert say(capsys, store, ["store", "check"], tmp_path)[0] == 1


def test_an_export_with_results_that_do_not_fit(tmp_path):
    cells = ["", "!", "AAAA", "é"]
    path = tmp_path / "x.parquet"
    pd.DataFrame({"record": [json.dumps(record(f"{n:016x}")) for n in range(4)], "correct": cells}).to_parquet(path)
    merged = merge(Store(tmp_path / "runs"), path, "lab")
    assert merged.added == 1
    assert [(problem.path.name, problem.reason.split(":")[0]) for problem in merged.refused] == [
        ("x.parquet, row 2", "its per-image results are not base64"),
        ("x.parquet, row 3", "its per-image results do not fit"),
        ("x.parquet, row 4", "its per-image results are not base64"),
    ]


@pytest.mark.parametrize(
    "content", ['"text"', "5", "[1]", "{}", '{"record": 5}', "[" * 9999, '[{"record": "{"}, 1]', "\ud800"]
)
def test_a_json_file_that_is_no_export(store, tmp_path, content):
    (tmp_path / "x.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(UsageError, match=r"x\.json' cannot be read"):
        merge(store, tmp_path / "x.json", "lab")


def test_a_pipe_is_no_export(store, tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(UsageError, match="expected a file"):
        merge(store, tmp_path / "x.csv", "lab")


def test_bits_come_back():
    for images in (1, 7, 8, 9, 1000):
        bits = np.random.default_rng(images).random((2, images)) < 0.5
        assert np.array_equal(unpacked(packed(bits), images), bits)


def test_a_folder_that_may_not_be_listed_is_named(store, capsys, monkeypatch, tmp_path):
    """Whoever is root may list all: the refusal is simulated."""
    store.save(record(), RIGHT)
    store.save(record(BAD))
    closed, real_scan = store.folder(BAD).parent, os.scandir

    def refusing(path):
        if os.fspath(path) == os.fspath(closed):
            raise PermissionError(13, "Permission denied")
        return real_scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for verb in (["report", "--quiet"], ["store", "list"], ["store", "check"], ["store", "export", "--out", "OUT.csv"]):
        _, said = say(capsys, store, verb, tmp_path)
        assert f"{closed}" in said.out + said.err
        assert "Permission denied" in said.out + said.err
    assert [found["id"] for found in store.records()] == [ID]
