"""From the command to a recipe: ordinary records, a command that works, a picture, and no label seen before the choice."""

import csv
import json
import shlex

import pytest

from harness.cli.main import main
from harness.data.sources import EmbeddedSource
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.recommend.advise import Adviser, Question
from harness.recommend.limits import Limits
from harness.recommend.portfolio import Candidate
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import TrialSpec

PORTFOLIO = """recipes:
  - {method: minmax, bits: [w8a8, w4a8, w2a2]}
  - {method: "minmax(sites=deploy)", bits: [w8a8]}
  - {method: fqvit, bits: [w8a8]}
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Runs ``harness recommend`` on few images with a store of its own; gives the arguments before any limit."""
    folder = tmp_path_factory.mktemp("recommend")
    (folder / "mine.yaml").write_text(PORTFOLIO)
    return [
        *("recommend", "--portfolio", str(folder / "mine.yaml"), "--store", str(folder / "store"), "--quiet"),
        *("--calib", "20", "--judges", "80", "--eval-limit", "80", "--device", "cpu"),
    ]


def answer(capsys, *words):
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_smallest_recipe_within_a_drop(asked, capsys, tmp_path):
    code, facts = answer(capsys, *asked, "--max-drop", "100", "--out", str(tmp_path / "advice"))
    assert code == 0
    assert facts["prefer"] == "size"
    assert facts["recommended"]["bits"] == "w2a2"
    assert facts["judges"] == 80
    assert facts["image_forwards"] > 0
    assert {one["status"] for one in facts["evaluated"]} == {"done"}
    assert facts["recommended"]["id"] in {one["id"] for one in facts["front"]}
    with (tmp_path / "advice" / "recommend.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(facts["tried"]) == 5
    assert (tmp_path / "advice" / "recommend.svg").stat().st_size > 1000


def test_what_is_printed_repeats_the_evaluated_trial(asked, capsys):
    """The command of the recipe is the trial that was evaluated; nothing is run again."""
    _, facts = answer(capsys, *asked, "--max-bytes", "1MB")
    words = shlex.split(facts["recommended"]["command"])
    store = asked[asked.index("--store") + 1]
    assert main([*words[1:], "--store", store, "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["id"] in {one["id"] for one in facts["evaluated"]}
    assert record["spec"].get("judge") is None
    tried = Store.default(store).get(facts["recommended"]["id"])
    assert tried["spec"]["judge"] == "held_out"


def test_no_recipe_keeps_to_the_limits(asked, capsys):
    code, facts = answer(capsys, *asked, "--max-drop", "0", "--bits", "w2a2", "--no-evaluation")
    assert code == 1
    assert facts["recommended"] is None
    assert "at most 0 allowed" in facts["nearest"]["broken"][0]
    assert main([*asked, "--max-bytes", "10"]) == 1
    said = capsys.readouterr().out
    assert "none keeps to the limits; the nearest, minmax" in said
    assert "at most 10 allowed" in said
    code, facts = answer(capsys, *asked, "--max-bytes", "10")
    sizes = {one["size_bytes"] for one in facts["tried"]}
    assert facts["nearest"]["size_bytes"] == min(sizes)


def test_a_target_refuses_what_has_no_integer_form(asked, capsys):
    _, facts = answer(capsys, *asked, "--target", "onnx", "--no-evaluation", "--bits", "w8a8")
    reasons = {one["stack"]: one["reason"] for one in facts["tried"]}
    assert reasons["fqvit"].startswith("not for onnx: ")
    assert "integer_layernorm=off" in reasons["fqvit"]
    assert "minmax" in facts["recommended"]["stack"]


def test_a_limit_on_bytes_is_one_of_the_exported_file_too(asked, capsys):
    """Four-bit codes are bytes in the file of a runtime."""
    words = ["--bits", "w4a8", "--no-evaluation", "--max-bytes", "500KB"]
    _, facts = answer(capsys, *asked, *words)
    assert facts["recommended"] is not None
    code, facts = answer(capsys, *asked, *words, "--target", "onnx")
    assert code == 1
    reasons = [one["reason"] for one in facts["tried"] if one["stack"].startswith("minmax")]
    assert all("bytes there with codes of 8 bits, at most 500,000 allowed" in one for one in reasons)


def test_what_cannot_be_evaluated_takes_no_answer_away(asked, capsys, monkeypatch):
    """The whole competition was paid for when the evaluation side turns out not to fit."""

    def refuse(spec, *rest, **more):
        if spec.judge == "evaluation":
            raise UsageError("7 classes, expected 10")
        return run_trial(spec, *rest, **more)

    monkeypatch.setattr("harness.run.run_trial.run_trial", refuse)
    code, facts = answer(capsys, *asked, "--max-drop", "100", "--bits", "w8a8")
    assert code == 0
    assert facts["recommended"]["bits"] == "w8a8"
    assert {(one["status"], one["reason"]) for one in facts["evaluated"]} == {("not run", "7 classes, expected 10")}
    assert main([*asked, "--max-drop", "100", "--bits", "w8a8"]) == 0
    assert "not run, 7 classes, expected 10" in capsys.readouterr().out


def test_records_without_an_expected_drop_are_named(asked, capsys):
    words = ["--bits", "w8a8", "--seed", "5", "--no-evaluation"]
    _, facts = answer(capsys, *asked, *words)
    store = Store.default(asked[asked.index("--store") + 1])
    for one in facts["tried"]:
        record = dict(store.get(one["id"]))
        del record["expected_drop"]
        store.save(record)
    assert main([*asked, *words]) == 1
    assert "has no expected drop: it was made by an earlier version" in capsys.readouterr().out


def test_the_choice_never_opens_the_evaluation_images(tmp_path, monkeypatch):
    """Whatever the labels are: the choice is made before anyone can read them."""

    def opened(*_):
        raise AssertionError("the evaluation images were opened")

    monkeypatch.setattr(EmbeddedSource, "evaluation", opened)
    spec = TrialSpec("minmax", calib=20, device="cpu")
    question = Question(spec, Limits(drop=50), "size", judges=40, evaluate=False)
    candidates = [Candidate("minmax", "w8a8"), Candidate("minmax", "w4a8")]
    advice = Adviser(question, Store(tmp_path), Progress()).advise(candidates)
    assert advice.best is not None
    assert advice.evaluated == {}
    question = Question(spec, Limits(drop=50), "size", judges=40)
    evaluated = Adviser(question, Store(tmp_path), Progress()).advise(candidates).evaluated
    assert {record["status"] for record in evaluated.values()} == {"failed"}, "only then the evaluation side is opened"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-bytes", "3 apples"], "--max-bytes '3 apples' not understood"),
        (["--target", "onx"], "unknown target 'onx'. Did you mean onnx?"),
        (["--max-drop", "-1"], "--max-drop -1.0 is not possible"),
        (["--max-bytes", "0"], "--max-bytes 0 is not possible: expected more than 0"),
        (["--max-seconds", "0"], "--max-seconds 0.0 is not possible: expected more than 0"),
        (["--judges", "0"], "--judges 0 is not possible"),
        (["--bits", "w4"], "w4"),
        (["--calib", "5000"], "expected 1 to 1334"),
        (["--model", "deit_tinny_patch16_224"], "deit_tiny"),
    ],
)
def test_mistakes_are_one_line(asked, capsys, words, message):
    assert main([*asked, *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
