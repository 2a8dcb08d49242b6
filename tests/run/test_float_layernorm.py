"""``--float-layernorm``: the network of another trial with float LayerNorms is a trial of its own, and marked."""

import json
from dataclasses import replace

import pytest
import torch

from harness.cli.actions.extra_lines import altered_line
from harness.cli.main import main
from harness.data.sources import open_source
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.compare import compare
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.grouping import groups
from harness.leaderboard.board.selection import select
from harness.leaderboard.published.matching import measured
from harness.leaderboard.report import markdown
from harness.machine.progress import Progress
from harness.quant.network.inventory import altered
from harness.run.evaluate import evaluate
from harness.run.reload import load_quantized
from harness.run.run_trial import run_trial
from harness.store.check import problems
from harness.store.store import Store
from harness.store.table import table
from harness.trial.record_check import problems_of
from harness.trial.spec import TrialSpec
from tests.leaderboard.test_page import data

IMAGES = 60
SPEC = TrialSpec("fqvit+biascorr", bits="w4a8", calib=8, eval_limit=IMAGES, device="cpu")
ALTERED = replace(SPEC, float_layernorm=True)
WORDS = "13 integer LayerNorms computed in floating point"
MARK = "(altered: float LayerNorms)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, the trial, and the altered one that was made of its state."""
    store = Store(tmp_path_factory.mktemp("altered") / "runs")
    return store, run_trial(SPEC, store).record, run_trial(ALTERED, store).record


def test_it_is_a_trial_of_its_own_that_names_the_other(made):
    store, original, other = made
    assert other["status"] == "done"
    assert other["id"] != original["id"]
    assert other["altered_from"] == original["id"]
    assert other["spec"] == {**original["spec"], "float_layernorm": True}
    assert other["altered"] == [WORDS]
    assert altered_line(other) == [f"altered  {WORDS}: not the network of trial {original['id']}"]
    assert "altered" not in original
    assert "altered_from" not in original
    assert problems_of(other) == []
    assert not list(problems(store))
    assert "--float-layernorm" in other["command"]
    again = run_trial(ALTERED, store)
    assert (again.cached, again.record["id"]) == (True, other["id"])


def test_what_is_measured_is_the_network_of_the_stored_state_with_float_norms(made):
    store, original, other = made
    network = load_quantized(store, original["id"])
    edits = network.model.edits
    assert len(edits.integer_norms) == 13
    edits.integer_norms.clear()
    shown = open_source("embedded").evaluation(IMAGES, network.preprocessing)
    expected = evaluate(network.model, shown, SPEC.batch, Progress()).metrics()
    assert {name: other["metrics"][name] for name in expected} == expected
    assert other["metrics"]["logit_mse"] != original["metrics"]["logit_mse"]
    stored = load_quantized(store, other["id"]).model
    assert stored.edits.integer_norms == set()
    assert altered(stored) == [WORDS]
    images = next(iter(shown.batches(8)))[0]
    with torch.inference_mode():
        assert torch.equal(stored(images), network.model(images))


def test_nothing_is_calibrated_again(made):
    _, original, other = made
    steps = other["stages"][1:-1]
    assert [one["name"] for one in steps] == [one["name"] for one in original["stages"][1:-1]]
    assert all(one["shared_seconds"] == one["seconds"] for one in steps)
    assert all("reused" in one["notes"] for one in steps)


def test_repeated_without_the_other_trial_it_is_the_same(made, tmp_path, capsys):
    store, _, other = made
    assert main(["run", "--trial", other["id"], "--store", str(store.root), "--quiet", "--json", "--device", "cpu"]) == 0
    said, errors = capsys.readouterr()
    assert "repetition gives the same counts" in errors
    assert json.loads(said)["id"] == other["id"]
    alone = run_trial(ALTERED, Store(tmp_path)).record
    assert (alone["id"], alone["metrics"], alone["altered"]) == (other["id"], other["metrics"], other["altered"])
    assert alone["files"] == other["files"]


def test_tables_and_report_mark_it_and_keep_it_apart(made, capsys):
    store, original, other = made
    found = table([original, other])
    evidence = Evidence(store, found)
    assert [group.seeds for group in groups(found)] == [(0,), (0,)]
    plain, marked = sorted(boards(found, evidence), key=lambda board: board.title.endswith(MARK))
    assert plain.title + " " + MARK == marked.title
    assert [recipe.label for recipe in plain.recipes] == [original["stack"]]
    assert [recipe.label for recipe in marked.recipes] == [f"{original['stack']} {MARK}"]
    (alone,) = boards(table([original]), Evidence(store, table([original])))
    assert long_rows([alone]).equals(long_rows([plain])), "the original's table is what it was"
    assert alone.title == plain.title
    rows = long_rows([plain, marked])
    assert dict(zip(rows["records"], rows["stack"], strict=True)) == {
        original["id"]: original["stack"],
        other["id"]: f"{original['stack']} {MARK}",
    }
    text = markdown(found, evidence)
    assert f"### {marked.title}" in text.replace("\\", "")
    assert measured(plain, plain.networks[0]) == list(plain.recipes)
    assert measured(marked, marked.networks[0]) == [], "it stands for no publication"
    assert main(["report", "--store", str(store.root), "--quiet"]) == 0
    assert MARK in " ".join(capsys.readouterr().out.split())


def test_the_page_marks_it(made, tmp_path):
    store, *_ = made
    assert main(["report", "--store", str(store.root), "--quiet", "--out", str(tmp_path), "--format", "html"]) == 0
    (page,) = tmp_path.glob("*.html")
    settings = data(page.read_text(encoding="utf-8"), "boards")["settings"]
    assert [title.endswith(MARK) for title in sorted(settings)] == [False, True]


def test_both_can_be_compared(made):
    store, original, other = made
    found = table([original, other])
    (pair,) = compare(select(found, original["id"]), select(found, other["id"]), Evidence(store, found))
    assert pair.ids == ((original["id"], other["id"]),)
    assert pair.setting.endswith(f"({original['stack']} against {original['stack']} {MARK})")
    assert pair.difference.interval.value == pytest.approx(other["metrics"]["top1"] - original["metrics"]["top1"])


def test_without_integer_norms_there_is_nothing_to_alter(tmp_path):
    record = run_trial(
        TrialSpec("minmax", calib=8, eval_limit=8, device="cpu", float_layernorm=True), Store(tmp_path)
    ).record
    assert record["status"] == "failed"
    assert record["error"]["kind"] == "incompatible"
    assert "no LayerNorm runs on integers" in record["error"]["message"]
