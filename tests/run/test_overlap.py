"""Images on both sides: refused with their number and names, or allowed and marked wherever the result is shown."""

import json
import shutil

import pytest

from harness.cli.main import main
from harness.data.sources import open_source
from harness.errors import DataError
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.store.table import table
from tests.run.folder_trials import image_folder, spec


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A folder whose training side holds two of its evaluation images under other names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = image_folder(tmp_path / "photographs")
    for index in range(2):
        shutil.copy(root / "val" / "n01443537" / f"val_{index}.png", root / "train" / "n01440764" / f"copy_{index}.png")
    return root


def test_an_overlap_is_refused_with_number_and_names(mixed):
    with pytest.raises(DataError) as caught:
        prepare(spec(mixed, calib=14))
    said = str(caught.value)
    assert "2 of 14 calibration images drawn from" in said
    assert "n01440764/copy_0.png" in said
    assert "n01440764/copy_1.png" in said
    assert "--allow-overlap" in said


def test_what_is_not_drawn_does_not_matter(mixed):
    source = open_source(str(mixed))
    clean = next(seed for seed in range(40) if not source.overlap(2, seed))
    assert prepare(spec(mixed, calib=2, seed=clean)).overlap == 0


def test_synthetic_images_overlap_with_nothing(mixed):
    assert "calibration_fingerprint" not in prepare(spec(mixed, calib=14, calib_source="psaq")).identity


def test_the_permission_changes_no_id(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = image_folder(tmp_path / "photographs")
    strict, allowed = prepare(spec(root)), prepare(spec(root, allow_overlap=True))
    assert strict.id == allowed.id
    assert strict.identity["calibration_fingerprint"]
    assert strict.origin != prepare(spec(root, seed=1)).origin


def test_an_allowed_overlap_marks_record_summary_and_tables(mixed, tmp_path, capsys):
    store = Store(tmp_path / "runs")
    record, _ = run_trial(spec(mixed, calib=14, allow_overlap=True), store)
    assert record["status"] == "done", record
    assert record["data"]["overlap"] == 2
    assert "--allow-overlap" in record["command"]
    assert list(table([record])["overlap"]) == [2]
    assert main(["run", "--trial", record["id"], "--store", str(store.root), "--quiet"]) == 0
    assert "2 calibration images are evaluation images too" in capsys.readouterr().out
    assert main(["report", "--store", str(store.root)]) == 0
    shown = capsys.readouterr().out
    assert "calibrated on 2 evaluation images" in shown


def test_at_the_command_line(mixed, tmp_path, capsys):
    trial = spec(mixed, calib=14)
    words = ["--method", "minmax", "--model", trial.model, "--weights", str(trial.weights), "--data", trial.data]
    words += ["--calib", "14", "--device", "cpu", "--quiet", "--store", str(tmp_path / "runs")]
    assert main(["run", *words]) == 2
    assert "2 of 14 calibration images" in capsys.readouterr().err
    for more, state in (([], "incompatible"), (["--allow-overlap"], "to run")):
        main(["plan", *words, *more, "--json"])
        (planned,) = json.loads(capsys.readouterr().out)["trials"]
        assert planned["state"] == state
