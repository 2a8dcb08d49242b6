"""A full or read-only disk: kind ``disk``, saved work stays, nothing is left behind, one line in every verb."""

import errno
import json
import re

import pytest

from harness.cli.main import main
from harness.errors import DiskError
from harness.machine.disk import explained, is_disk_error
from harness.machine.logs import warnings_to_stderr
from harness.machine.memory import Budget
from harness.method.checkpoint import Checkpoint
from harness.run.failures import error_info, kind_of
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.store.table_cache import path_of, rows
from harness.sweep.launch import snapshot
from harness.sweep.manifest import create
from harness.sweep.plan import make_plan
from harness.trial.spec import TrialSpec
from tests.hostile.disks import fill, full_for, left_over, make_read_only, small_disk  # noqa: F401 (a fixture)
from tests.store.test_store import record

SMALL = {"calib": 8, "eval_limit": 20, "device": "cpu"}
GRID = ["--method", "minmax", "--calib", "8", "--eval-limit", "20", "--device", "cpu"]
SEARCH = "fqvit+evolq(passes=1,cycles=1)"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_is_no_bug(number):
    assert kind_of(OSError(number, "x", "/somewhere")) == "disk"
    info = error_info(OSError(number, "x", "/somewhere"))
    assert info["kind"] == "disk"
    assert info["message"].startswith("'/somewhere': ")


def test_a_refused_permission_is_the_disk_in_the_store_only(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "runs" / "trials"))
    assert is_disk_error(error, tmp_path / "runs")
    assert not is_disk_error(error, tmp_path / "other")
    assert kind_of(error) == "bug"


def test_errors_of_safetensors_are_understood(tmp_path, small_disk):  # noqa: F811
    fill(small_disk)
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from torch import zeros

    with pytest.raises((SafetensorError, OSError)) as caught:
        save_file({"x": zeros(2000)}, small_disk / "x.safetensors")
    assert kind_of(caught.value) == "disk"
    assert "No space left on device" in explained(caught.value)


@pytest.mark.parametrize("name", ["prefix.safetensors", "partial.safetensors", "logits/*/*.safetensors"])
def test_optional_writes_are_optional(store, monkeypatch, capsys, name):
    monkeypatch.setattr("harness.method.checkpoint.WRITE_SECONDS", 0)
    warnings_to_stderr()
    full_for(monkeypatch, name)
    done, _ = run_trial(TrialSpec(SEARCH, **SMALL), store)
    assert done["status"] == "done"
    assert "is not written: OSError: [Errno 28]" in capsys.readouterr().err
    assert [path for path in left_over(store.root) if path.is_file()] == []


@pytest.mark.parametrize("name", ["quantizers.safetensors", "correct.npy"])
def test_a_result_that_cannot_be_written_fails_as_disk(store, monkeypatch, name):
    full_for(monkeypatch, name)
    spec = TrialSpec(SEARCH, **SMALL)
    if name == "correct.npy":
        with pytest.raises(DiskError, match=r"record of trial [0-9a-f]{16} cannot be written: .*correct.npy': No space"):
            run_trial(spec, store)
    else:
        failed, _ = run_trial(spec, store)
        assert failed["error"]["kind"] == "disk"
        assert "quantizers.safetensors': No space left on device" in failed["error"]["message"]
    monkeypatch.undo()
    assert left_over(store.root) == []
    done, _ = run_trial(spec, store)
    assert done["status"] == "done"
    assert any(stage["notes"].get("reused") for stage in done["stages"]), "the work of the first attempt was kept"


def test_a_finished_search_is_kept_when_its_state_cannot_be_shared(store, monkeypatch):
    """The prefix cannot be written, then the result cannot: the search must not be done again from its start."""
    monkeypatch.setattr("harness.method.checkpoint.WRITE_SECONDS", 0)
    with pytest.MonkeyPatch.context() as full:
        full_for(full, "prefix.safetensors")
        full_for(full, "quantizers.safetensors")
        failed, _ = run_trial(TrialSpec(SEARCH, **SMALL), store)
    assert failed["error"]["kind"] == "disk"
    assert list(store.root.rglob("partial.safetensors"))
    done, _ = run_trial(TrialSpec(SEARCH, **SMALL), store)
    (stage,) = [stage for stage in done["stages"] if stage["name"] == "evolq"]
    assert stage["notes"]["seconds_before_interruption"] > 0
    assert not list(store.root.rglob("partial.safetensors"))


def test_a_checkpoint_that_cannot_be_written_is_tried_less_often(tmp_path, model, monkeypatch):
    monkeypatch.setattr("harness.method.checkpoint.WRITE_SECONDS", 1.0)
    now = [0.0]
    monkeypatch.setattr("harness.method.checkpoint.time.monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "states" / "partial.safetensors")
    checkpoint._wait = 1.0
    full_for(monkeypatch, "partial.safetensors")
    tried, save = [], checkpoint._artifact.save
    monkeypatch.setattr("harness.store.artifacts.Artifact.save", lambda own, *given: tried.append(now[0]) or save(*given))
    for second in range(1, 33):
        now[0] = float(second)
        checkpoint.block_done(model, {}, {})
    assert tried == [1.0, 3.0, 7.0, 15.0, 31.0]


def test_the_last_good_checkpoint_stays(tmp_path, model, monkeypatch):
    path = tmp_path / "partial.safetensors"
    checkpoint = Checkpoint(path)
    checkpoint.block_done(model, {"block": 1}, {})
    checkpoint.flush()
    before = path.read_bytes()
    full_for(monkeypatch, "partial.safetensors")
    checkpoint.block_done(model, {"block": 2}, {})
    checkpoint.flush()
    assert path.read_bytes() == before
    assert Checkpoint(path).resume(model)[0] == {"block": 1}


def test_what_does_not_fit_into_memory_names_the_folder(small_disk, monkeypatch):  # noqa: F811
    from torch import zeros

    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    fill(small_disk)
    with pytest.raises(DiskError, match=r"memory budget cannot be written to .*No space left.*TMPDIR"):
        Budget(limit=10).keep([zeros(1000), zeros(1000)])
    assert not list(small_disk.rglob("*.safetensors"))


def test_the_table_cache_is_optional_and_its_rebuilding_is_not(store, monkeypatch, capsys):
    store.save(record("0" * 16))
    full_for(monkeypatch, "results.parquet")
    assert len(rows(store).table) == 1
    assert main(["report", "--store", str(store.root), "--quiet"]) == 0
    assert re.search(r"results\.parquet is not written: .*No space left on device", capsys.readouterr().err)
    assert main(["store", "rebuild", "--store", str(store.root)]) == 2
    assert f"error: {str(path_of(store))!r}: No space left on device (free some space" in capsys.readouterr().err
    assert left_over(store.root) == []


def test_a_failed_attempt_leaves_no_empty_file(store, monkeypatch):
    store.save(record("0" * 16, "failed"))
    full_for(monkeypatch, "attempts/*.json")
    with pytest.raises(OSError, match="No space left"):
        store.save(record("0" * 16, "failed"))
    assert not list(store.root.rglob("attempts/*"))
    full_for(monkeypatch, "record.json")
    with pytest.raises(OSError, match=r"record\.json"):
        store.save(record("1" * 16))
    assert not store.folder("1" * 16).exists()


@pytest.mark.parametrize("name", ["sweep.json", "packs.json"])
def test_a_sweep_that_cannot_be_noted_leaves_nothing(store, monkeypatch, name, capsys):
    full_for(monkeypatch, name)
    assert main(["sweep", *GRID, "--store", str(store.root), "--quiet"]) == 2
    assert f"{name}': No space left on device" in capsys.readouterr().err
    assert [path for path in left_over(store.root) if path.name not in ("sweeps", "submissions")] == []


def test_a_snapshot_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch):
    copied, real = [], snapshot.shutil.copyfile

    def copyfile(source, target):
        copied.append(source)
        if len(copied) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    monkeypatch.setattr(snapshot.shutil, "copyfile", copyfile)
    with pytest.raises(OSError, match="No space left"):
        snapshot.take(tmp_path / "code")
    assert not (tmp_path / "code").exists()


VERBS = [
    ["plan", *GRID],
    ["run", *GRID],
    ["sweep", *GRID],
    ["resume"],
    ["cancel"],
    ["status"],
    ["report"],
    ["compare", "a" * 16, "b" * 16],
    ["reproduce", "evolq_table3", "--calib", "8", "--eval-limit", "20"],
    ["store", "check"],
    ["store", "rebuild"],
    ["store", "export", "--format", "csv"],
    ["store", "import"],
    ["doctor"],
    ["logs", "a" * 16],
]
READING = {"plan", "status", "report", "compare", "logs", "check"}


@pytest.fixture
def used(small_disk):  # noqa: F811
    """A store with two trials and a sweep that is not finished, on a small disk."""
    store = Store(small_disk / "runs")
    for name in ("a" * 16, "b" * 16):
        store.save(record(name))
        (store.folder(name) / "log.txt").write_text("hello\n")
    create(store, "one", "", make_plan([TrialSpec("minmax", **SMALL)], store), {"kind": "local"}, "harness sweep")
    return store


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_every_verb_says_one_line(used, small_disk, tmp_path, capsys, state):  # noqa: F811
    other = Store(tmp_path / "other")
    other.save(record("c" * 16))
    if state == "full":
        fill(small_disk)
    else:
        make_read_only(small_disk)
    before = sorted(small_disk.rglob("*"))
    for verb in VERBS:
        words = [*verb, "--store", str(used.root)]
        words += ["--out", str(small_disk / "out.csv")] if "export" in verb else []
        words += [str(other.root)] if "import" in verb else []
        capsys.readouterr()
        code = main([*words])
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith(("error:", "warning:"))]
        assert "Traceback" not in out + err, verb
        if READING & set(verb[:2]):
            assert code in (0, 1) or "no setting in common" in err, (verb, err)
        elif verb != ["doctor"]:
            assert code == 2, (verb, out, err)
            assert len([line for line in told if line.startswith("error:")]) == 1, (verb, err)
            assert any(word in told[-1] for word in ("No space left", "Read-only", "writable")), (verb, told)
        assert sorted(small_disk.rglob("*")) == before or verb == ["cancel"], verb
        before = sorted(small_disk.rglob("*"))
    assert json.loads(json.dumps([r["id"] for r in used.records()])) == ["a" * 16, "b" * 16]
