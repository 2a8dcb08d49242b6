"""Calibration images from a source: part of a trial's identity, made once, and never mixed with data's in tables."""

import json

import pytest

from harness.cli.main import main
from harness.errors import StackError, UsageError
from harness.method.calibration_source import check_source
from harness.method.stack import check
from harness.run.prepare import prepare
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.table import table
from harness.sweep.compose import compose_sweep
from harness.trial.spec import TrialSpec

SOURCE = "psaq(iterations=2,batch=4)"
SPEC = TrialSpec("minmax", calib=4, eval_limit=50, calib_source=SOURCE)


def test_the_source_is_part_of_the_identity():
    plain, made = prepare(TrialSpec("minmax", calib=4)), prepare(TrialSpec("minmax", calib=4, calib_source=SOURCE))
    assert "calib_source" not in plain.identity, "records of before keep their ids"
    assert len({plain.id, made.id, prepare(TrialSpec("minmax", calib=4, calib_source="psaq")).id}) == 3
    assert plain.origin != made.origin
    assert not set(plain.prefixes) & set(made.prefixes)


def test_images_are_made_once(store):
    first, _ = run_trial(SPEC, store)
    assert first["status"] == "done"
    assert first["calib_source"] == SOURCE
    names = [stage["name"] for stage in first["stages"]]
    assert names == ["capture", "psaq", "minmax", "evaluate"]
    spent = first["stages"][1]
    assert spent["seconds"] > 0
    assert spent["forward_passes"] == pytest.approx(4, rel=0.3), "two phases of two steps, and a look at the classes"
    other, _ = run_trial(TrialSpec("percentile", calib=4, eval_limit=50, calib_source=SOURCE), store)
    reused = other["stages"][1]
    assert reused["shared_seconds"] == reused["seconds"] == spent["seconds"]
    assert "reused" in reused["notes"]


def test_the_same_images_with_and_without_a_store(store, tmp_path):
    alone, _ = run_trial(SPEC, store, share=False)
    shared, _ = run_trial(SPEC, type(store)(tmp_path / "other"), session=Session())
    assert alone["metrics"] == shared["metrics"]


def test_a_broken_file_of_images_is_made_anew(store):
    run_trial(SPEC, store)
    (file,) = store.root.glob("states/*/*/images.safetensors")
    file.write_bytes(b"nothing")
    record, _ = run_trial(TrialSpec("percentile", calib=4, eval_limit=50, calib_source=SOURCE), store)
    assert record["status"] == "done"
    assert record["stages"][1]["shared_seconds"] == 0


def test_tables_tell_sources_apart(store):
    data, _ = run_trial(TrialSpec("minmax", calib=4, eval_limit=50), store)
    made, _ = run_trial(SPEC, store)
    old = {name: value for name, value in data.items() if name != "calib_source"}
    assert list(table([data, made, old])["calib_source"]) == ["data", SOURCE, "data"]


def test_leaderboards_are_separate(store, capsys):
    run_trial(TrialSpec("minmax", calib=4, eval_limit=50), store)
    run_trial(SPEC, store)
    assert main(["report", "--store", str(store.root)]) == 0
    shown = capsys.readouterr().out
    assert "4 calibration images, 50 evaluation images" in shown
    assert f"4 calibration images synthesised by {SOURCE}, 50 evaluation images" in shown


def test_a_record_repeats_itself(store, capsys):
    record, _ = run_trial(SPEC, store)
    assert "--calib-source 'psaq(iterations=2,batch=4)'" in record["command"]
    assert main(["run", "--trial", record["id"], "--store", str(store.root), "--quiet"]) == 0
    assert "same counts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psap", "calibration source 'psap' is not known. Did you mean psaq?"),
        ("omse", "Available: data, psaq"),
        ("psaq+psaq", "is not known"),
    ],
)
def test_unknown_sources_name_what_there_is(text, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        check_source(text)


def test_wrong_settings_and_places_are_refused():
    with pytest.raises(StackError, match="psaq has no setting 'iteration'"):
        check_source("psaq(iteration=3)")
    with pytest.raises(StackError, match="--calib-source psaq"):
        check("psaq+fqvit")
    with pytest.raises(UsageError, match="0 calibration images"):
        prepare(TrialSpec("minmax", calib=0, calib_source="psaq"))


def test_more_images_than_the_data_has():
    assert prepare(TrialSpec("minmax", calib=100_000, calib_source="psaq")).spec.calib == 100_000


def test_sweeps_take_several_sources(store, capsys):
    source = f"calib_source=data,{SOURCE}"
    assert [spec.calib_source for spec in compose_sweep(["method=minmax", source]).specs] == ["data", SOURCE]
    words = ["--method", "minmax", "--calib", "4", "--calib-source", f"data,{SOURCE}"]
    assert main(["plan", *words, "--json", "--store", str(store.root)]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    assert len({trial["id"] for trial in trials}) == 2


def test_describe_shows_how_to_use_it(capsys):
    assert main(["describe", "method", "psaq"]) == 0
    assert "--calib-source psaq" in capsys.readouterr().out
