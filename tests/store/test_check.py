"""``harness store check``: every kind of file a store holds, damaged in every way, is named; --repair deletes nothing."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from harness.cli.main import main
from harness.errors import UsageError
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.store.check import problems
from harness.store.latencies import save_latency
from harness.store.store import Store, write_json
from harness.store.table_cache import rows
from harness.sweep.launch import snapshot
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
from harness.trial.spec import TrialSpec
from tests.store.in_place import dangling, folder, loop, pipe
from tests.store.test_latencies import latency
from tests.store.test_store import record

SPEC = TrialSpec("fqvit", calib=8, eval_limit=16)
BEAT = {"host": "a", "pid": 12, "started_process": 1.0, "job": "", "stage": "fqvit", "step": 0, "steps": 0, "beat": 2.0}
OTHER = "0123456789abcdef"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A store with every kind of file: a trial that was run, saved work, a sweep, a cache, copies of code."""
    store = Store(tmp_path_factory.mktemp("full") / "runs")
    trial = run_trial(SPEC, store).record["id"]
    folder = store.folder(trial)
    (folder / "log.txt").write_bytes(b"\xff said")
    write_json(folder / "heartbeat.json", BEAT)
    for name in ("attempts/1.json", "replicas/0123456789abcdef.json"):
        (folder / name).parent.mkdir()
        write_json(folder / name, record(trial, "failed"))
    save_latency(store, latency(trial))
    prefix = next(store.root.glob("states/*/*/prefix.safetensors"))
    about = {"model": {}, "own": {}, "commit": None, "seconds": 1.0, "image_forwards": 2.0}
    save_file({"own/x": np.zeros(3)}, prefix.with_name("partial.safetensors"), metadata={"about": json.dumps(about)})
    stage = {"stage": {"name": "psaq", "seconds": 1.0}, "environment": {}}
    images = {"images": np.zeros((8, 1, 2, 2), dtype=np.float32)}
    save_file(images, prefix.with_name("images.safetensors"), metadata={"about": json.dumps(stage)})
    sweep = create(store, "s", "", make_plan([SPEC], store), {"kind": "local"}, "harness sweep")
    about_it = {"launcher": {}, "share": True, "fail_fast": False, "changes": {}, "code": "", "packs": [[trial]]}
    sweep.submission(about_it).started({"local": {"host": "a", "pid": 12, "started": 1.0}})
    sweep.submission(about_it).started({"slurm": ["12_0"]})
    sweep.stop("by the test")
    snapshot.take(sweep.folder / "code")
    rows(store)
    return store


@pytest.fixture
def store(full, tmp_path, request):
    """A copy of it that a test may damage; with the hundreds of files of the code where they matter."""
    callspec = getattr(request.node, "callspec", None)
    with_code = callspec is not None and callspec.params.get("kind") == "code"
    left_out = None if with_code else shutil.ignore_patterns("code")
    shutil.copytree(full.root, tmp_path / "runs", symlinks=True, ignore=left_out)
    return Store(tmp_path / "runs")


FILES = {
    "record": "trials/*/*/record.json",
    "bitmap": "trials/*/*/correct.npy",
    "quantizers": "trials/*/*/quantizers.safetensors",
    "attempt": "trials/*/*/attempts/1.json",
    "replica": "trials/*/*/replicas/*.json",
    "heartbeat": "trials/*/*/heartbeat.json",
    "latency": "trials/*/*/latency/*.json",
    "prefix": "states/*/*/prefix.safetensors",
    "checkpoint": "states/*/*/partial.safetensors",
    "images": "states/*/*/images.safetensors",
    "logits": "logits/*/*.safetensors",
    "sweep": "sweeps/*/sweep.json",
    "packs": "sweeps/*/submissions/1/packs.json",
    "jobs": "sweeps/*/submissions/1/jobs.json",
    "code": "sweeps/*/code/*/harness/store/check.py",
    "table": "results.parquet",
}


def one(store, kind):
    (path,) = store.root.glob(FILES[kind])
    return path


def named(store):
    return {problem.path: problem.reason for problem in problems(store)}


def test_a_store_with_every_kind_of_file_is_right(full):
    assert all(list(full.root.glob(pattern)) for pattern in FILES.values())
    assert named(full) == {}
    assert main(["store", "check", "--store", str(full.root)]) == 0


DAMAGE = {
    "cut": lambda old: old[: min(100, len(old) // 2)],
    "one byte less": lambda old: old[:-1] if not old.endswith(b"\n") else old[:-3],
    "empty": lambda old: b"",
    "text": lambda old: b"nonsense",
    "not UTF-8": lambda old: b"\xff\xfe" * 50,
    "another JSON": lambda old: b'{"a": 1}',
    "deep": lambda old: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_named(store, kind, damage):
    path = one(store, kind)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    found = named(store)
    expected = path if kind != "code" else path.parents[2]
    assert expected in found, found
    assert len(found) == 1
    assert "\n" not in found[expected]


@pytest.mark.parametrize("shape", [folder, loop, dangling, pipe])
@pytest.mark.parametrize("kind", FILES)
def test_something_else_in_the_place_of_a_file(store, kind, shape):
    path = one(store, kind)
    shape(path)
    found = named(store)
    assert set(found) == {path if kind != "code" else path.parents[2]}


def test_tensors_of_another_kind_are_foreign(store):
    prefix, logits, quantizers = one(store, "prefix"), one(store, "logits"), one(store, "quantizers")
    shutil.copyfile(logits, prefix)
    shutil.copyfile(quantizers, logits)
    assert named(store) == {
        prefix: "is of another kind: it has no fact 'facts'",
        logits: "is of another kind: it has no fact 'about'",
    }
    save_file({"logits": np.zeros(4, dtype=np.float32)}, logits, metadata={"about": '{"seconds": 1}'})
    save_file({}, one(store, "images"), metadata={"about": '{"stage": {}, "environment": {}}'})
    save_file({}, one(store, "checkpoint"), metadata={"about": '{"model": 1, "own": {}, "seconds": 1, "image_forwards": 1}'})
    found = named(store)
    assert found[logits] == "expected 'logits' with 2 axes, found F32 [4]"
    assert found[one(store, "images")] == "expected 'images' with 4 axes, found none"
    assert found[one(store, "checkpoint")] == "its fact 'model' is of type int"


def test_the_network_of_another_trial_is_noticed(store):
    path = one(store, "quantizers")
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, "np") as handle:
        facts = handle.metadata()
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, path, metadata=facts)
    assert named(store) == {path: "is not the file that the record was written with: its hash is another"}


def test_misplaced_records_are_named(store):
    path = one(store, "record")
    other = store.folder(OTHER)
    shutil.copytree(path.parent, other)
    trial = path.parent.name
    shard = store.root / "trials" / "zz" / trial
    shutil.copytree(path.parent, shard)
    found = named(store)
    assert found[other / "record.json"] == f"its id {trial} is not the folder's name"
    assert found[other / "attempts" / "1.json"] == f"its id {trial} is not that of the trial"
    assert found[shard / "record.json"] == f"its folder is below 'zz', expected {trial[:2]!r}"
    assert [record["id"] for record in store.records()] == [trial], "it is counted once"


def test_a_record_that_says_something_else_than_its_id(store):
    path = one(store, "record")
    content = json.loads(path.read_text())
    content["spec"]["seed"] = 5
    path.write_text(json.dumps(content))
    assert named(store) == {path: "its id is not the hash of its identity"}


def test_what_no_store_has_and_what_was_left_over(store):
    trial = one(store, "record").parent
    strange = [store.root / "trials" / "notes", trial / "weights.bin", trial / "correct.npy.bak", trial / "deep" / "x.json"]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (trial / ".record.json.abcdefgh").touch()
    assert set(named(store)) == set(strange), "a process may be writing the young temporary file"
    os.utime(trial / ".record.json.abcdefgh", (0, 0))
    assert named(store)[trial / ".record.json.abcdefgh"] == "left over from a write that was interrupted"
    (store.root / "README").touch()
    assert len(named(store)) == len(strange) + 1


def test_a_link_in_a_circle_ends(store):
    (store.root / "trials" / "aa").mkdir(exist_ok=True)
    (store.root / "trials" / "aa" / "round").symlink_to(store.root / "trials")
    assert named(store)[store.root / "trials" / "aa" / "round"] == "a link to a folder, which is not looked at"
    assert len(list(store.records())) == 1
    (store.root / "round").symlink_to(store.root)
    assert named(store)[store.root / "round"] == "a link to a folder that was looked at already"


def test_links_of_a_store_lead_nobody_out_of_it(store, tmp_path, capsys):
    """What lies behind links in a store that came from others is neither moved nor written to."""
    home = tmp_path / "home"
    (home / "ab").mkdir(parents=True)
    (home / "ab" / "letter.txt").write_text("dear")
    (store.root / "trials" / "ab").symlink_to(home / "ab")
    shutil.rmtree(store.root / "states")
    (store.root / "states").symlink_to(home)
    assert main(["store", "check", "--repair", "--store", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert "letter.txt: is no file that a store has in this place; " in said
    assert "leads out of the store: nothing is moved there or from there" in said
    with pytest.raises(UsageError, match=r"ab is a link to .*home"):
        store.save(record("ab" + "0" * 14))
    (store.root / "aside").symlink_to(home)
    one(store, "record").write_text("{")
    assert main(["store", "check", "--repair", "--store", str(store.root)]) == 1
    assert sorted(path.name for path in home.rglob("*")) == ["ab", "letter.txt"]
    assert one(store, "record").read_text() == "{"


def test_a_name_that_is_no_text(store, capsys):
    bad = os.fsencode(one(store, "record").parent) + b"/\xff\xfe.json"
    open(bad, "w").close()
    assert main(["store", "check", "--store", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert said.encode("utf-8")
    assert "is no file that a store has" in said


def snapshot_of(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_repair_moves_aside_and_deletes_nothing(store, capsys):
    for kind in ("record", "prefix", "jobs", "heartbeat", "table"):
        one(store, kind).write_bytes(f"broken {kind}".encode())
    before = snapshot_of(store.root)
    assert main(["store", "check", "--repair", "--json", "--store", str(store.root)]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["problems"]) == 5
    assert all(problem["moved"].startswith("moved to ") for problem in facts["problems"])
    after = snapshot_of(store.root)
    moved = {path.relative_to("aside"): content for path, content in after.items() if path.parts[0] == "aside"}
    notes = [path for path in moved if path.name.endswith(".note.json")]
    assert len(notes) == 5
    kept = {path: content for path, content in after.items() if path.parts[0] != "aside"}
    assert {**kept, **{path: moved[path] for path in moved if path not in notes}} == before
    assert main(["store", "check", "--store", str(store.root)]) == 0
    assert "0 problems" in capsys.readouterr().out


def test_repair_leaves_what_a_migration_can_carry_over(store, capsys):
    from tests.trial.test_migration import earlier

    old = earlier({"model": "m"}, status="failed", error={"kind": "oom", "message": ""})
    store.save(old)
    assert main(["store", "check", "--repair", "--store", str(store.root)]) == 1
    assert "earlier version (harness store migrate); stays" in capsys.readouterr().out
    assert store.get(old["id"])


def test_a_cache_with_rows_that_no_record_has_is_named_and_made_anew(store):
    path = one(store, "table")
    good = pd.read_parquet(path)
    for column, value in (
        ("id", "../x"),
        ("status", "x"),
        ("top1", float("inf")),
        ("n_images", 0),
        ("methods", "{"),
        ("seed", pd.NA),
        ("top1", pd.NA),
    ):
        bad = good.copy()
        bad[column] = pd.array([value], dtype=good[column].dtype)
        bad.to_parquet(path, index=False)
        assert "the next report makes it anew" in named(store)[path]
        pd.testing.assert_frame_equal(rows(store).table, good[list(rows(store).table.columns)])
        assert named(store) == {}
    good.assign(seed="x").to_parquet(path, index=False)
    assert "its column seed is of type" in named(store)[path]
    assert rows(store).table["seed"].iloc[0] == 0


def test_a_report_writes_no_cache_into_a_folder_that_is_no_store(tmp_path):
    rows(Store(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_done_without(store, caplog):
    path = one(store, "table")
    path.unlink()
    path.mkdir()
    assert len(rows(store).table) == 1
    assert path.is_dir()


def test_the_record_has_the_hash_of_its_network(full):
    (kept,) = full.records()
    assert list(kept["files"]) == ["quantizers.safetensors"]
    assert kept["id"] == prepare(SPEC).id
