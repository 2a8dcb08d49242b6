"""Trials on images that are decoded once: the same results, ids and states, and a plan that says what is kept."""

import json

import numpy as np
import pytest

from harness.cli.main import main
from harness.data import image_files
from harness.data.image_file import read_image
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.sweep.plan import make_plan
from harness.trial.spec import HELD_OUT
from tests.run.folder_trials import image_folder, spec


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return image_folder(tmp_path / "photographs")


@pytest.fixture
def decodes(monkeypatch):
    found = []

    def noted(path, mode):
        found.append(path)
        return read_image(path, mode)

    monkeypatch.setattr(image_files, "read_image", noted)
    return found


def test_the_cache_changes_neither_results_nor_ids(root, tmp_path, decodes):
    kept = tmp_path / "kept"
    ways = [{"no_cache": True}, {"cache_dir": kept}, {"cache_dir": kept}, {"cache_dir": kept, "cache_size": "1K"}]
    found, counts = [], []
    for number, way in enumerate(ways):
        decodes.clear()
        store = Store(tmp_path / f"runs{number}")
        record, _ = run_trial(spec(root, **way), store)
        counts.append(len(decodes))
        bits = np.load(store.folder(record["id"]) / "correct.npy").tobytes()
        found.append((record["id"], record["metrics"], record["files"], bits, record["command"]))
    assert found == found[:1] * len(ways), "byte for byte, with and without the cache"
    assert counts == [14, 14, 0, 0], "ten are evaluated, four calibrate; what is there is used whatever the limit is"
    assert len(list(kept.iterdir())) == 2


def test_another_stack_width_and_limit_use_what_is_there(root, tmp_path, decodes):
    store = Store(tmp_path / "runs")
    run_trial(spec(root), store)
    decodes.clear()
    record, _ = run_trial(spec(root, "percentile", bits="w4a8", preprocess={"mean": "0.5/0.5/0.5"}), store)
    assert record["status"] == "done"
    run_trial(spec(root, "percentile", eval_limit=100), store)
    assert not decodes
    run_trial(spec(root, "percentile", eval_limit=2), store)
    assert len(decodes) == 2


def test_images_that_judge_are_decoded_once_for_all_candidates(root, tmp_path, decodes):
    store, judged = Store(tmp_path / "runs"), {"judge": HELD_OUT, "eval_limit": None}
    plan = make_plan([spec(root), spec(root, **judged)], store)
    assert len(plan.images) == 4, "evaluated, judging, and a draw for each"
    first, _ = run_trial(spec(root, **judged), store)
    assert first["status"] == "done", first.get("error")
    assert decodes
    decodes.clear()
    assert run_trial(spec(root, "percentile", **judged), store).record["status"] == "done"
    assert not decodes


def test_a_plan_says_what_will_be_decoded_and_where(root, tmp_path, capsys):
    store, one = Store(tmp_path / "runs"), spec(root)
    words = [
        "plan",
        "--method",
        "minmax,percentile",
        "--seed",
        "range(2)",
        "--model",
        one.model,
        "--weights",
        str(one.weights),
    ]
    words += ["--data", one.data, "--calib", "4", "--device", "cpu", "--store", str(store.root), "--quiet"]
    assert main([*words, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["decoded_images"]
    assert (before["sets"], before["bytes_there"]) == (3, 0), "one evaluation side, two draws"
    assert before["folders"] == [str(tmp_path / "cache" / "ptq-harness" / "decoded")]
    run_trial(one, store)
    held = sum(path.stat().st_size for path in (tmp_path / "cache" / "ptq-harness" / "decoded").iterdir())
    assert main([*words, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)["decoded_images"]
    assert after == {**before, "bytes_there": held}
    assert main(words) == 0
    assert f"decoded in 3 sets, {held / 1e6:,.1f} MB of it there already" in capsys.readouterr().out
    assert main([*words, "--no-cache"]) == 0
    assert "decoded" not in capsys.readouterr().out
