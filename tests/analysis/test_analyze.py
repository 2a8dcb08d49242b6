"""``harness analyze`` from end to end, its refusals, and the page that links what it made."""

import json
import re

import pandas as pd
import pytest
import torch

from harness.analysis.attention import attention
from harness.analysis.before import before_search
from harness.analysis.landscape import scales_of
from harness.analysis.subject import open_subject
from harness.cli.main import main
from harness.data.sources import EmbeddedSource
from harness.machine.progress import Progress
from harness.run.run_trial import run_trial
from harness.store.analyses import analysed, analysis_folder
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.analysis.trials import subject_of, trial_of  # noqa: F401
from tests.leaderboard.test_page import data

QUICK = ["--images", "4", "--points", "3", "--plane", "3", "--directions", "1", "--quiet"]


@pytest.fixture(scope="module")
def made(trial_of):  # noqa: F811
    """The folder of an analysis; evaluation images and labels cannot be read meanwhile."""

    def refused(*_, **__):
        raise AssertionError("an analysis must not read the evaluation side")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedSource, "evaluation", refused)
        patch.setattr(EmbeddedSource, "labelled", refused)
        code = main(["analyze", trial_of.record["id"][:6], "--store", str(trial_of.store.root), *QUICK])
    assert code == 0
    return analysis_folder(trial_of.store, trial_of.record["id"])


def test_every_picture_has_its_numbers(made):
    facts = json.loads((made / "analysis.json").read_text())
    assert [part["title"] for part in facts["parts"]] == [
        "Loss landscape",
        "Values per channel",
        "Attention",
        "Accuracy over settings",
    ]
    page = (made / "index.html").read_text()
    for part in facts["parts"]:
        assert part["pictures"]
        assert part["tables"]
        for name in part["pictures"]:
            assert (made / name).read_text().startswith("<?xml")
            assert (made / name.replace(".svg", ".png")).read_bytes().startswith(b"\x89PNG")
            assert name in page
        for name in part["tables"]:
            assert len(pd.read_csv(made / name))
            assert name in page
    assert "from the scales before evolq" in facts["search_direction"]
    assert set(pd.read_csv(made / "landscape-lines.csv")["direction"]) == {"random", "best child", "search"}
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_it_can_be_made_again_and_gives_the_same_numbers(trial_of, made):  # noqa: F811
    before = (made / "landscape-lines.csv").read_bytes()
    words = ["analyze", trial_of.record["id"], "--store", str(trial_of.store.root), "--what", "landscape", *QUICK]
    assert main(words) == 0
    assert (made / "landscape-lines.csv").read_bytes() == before


def test_the_scales_before_the_search_are_those_of_its_prefix(trial_of):  # noqa: F811
    subject = subject_of(trial_of)
    now = scales_of(subject, "attention_weights")
    before, about = before_search(trial_of.store, subject, "attention_weights")
    assert before.keys() == now.keys()
    assert "evolq" in about
    changed = [name for name in now if not now[name].equal(before[name])]
    assert len(changed) == next(s for s in trial_of.record["stages"] if s["name"] == "evolq")["notes"]["units_improved"] > 0
    assert all(now[name].equal(scale) for name, scale in scales_of(subject, "attention_weights").items())


def test_the_report_copies_it_and_the_page_links_it(trial_of, made, tmp_path):  # noqa: F811
    out, trial = tmp_path / "board", trial_of.record["id"]
    assert main(["report", "--store", str(trial_of.store.root), "--out", str(out), "--format", "html", "--quiet"]) == 0
    copied = out / "analyses" / trial
    assert sorted(path.name for path in copied.iterdir()) == sorted(path.name for path in made.iterdir())
    rows = data((out / "index.html").read_text(), "boards")["lists"][0]["rows"]
    assert rows[0]["analyses"] == [trial]
    assert list(analysed(trial_of.store, [trial, "0" * 16])) == [trial]


def test_links_in_a_store_are_not_followed(trial_of, made, tmp_path):  # noqa: F811
    root, linked = Store(tmp_path / "whole"), Store(tmp_path / "one")
    root.root.mkdir()
    (root.root / "analyses").symlink_to(made.parent)
    (linked.root / "analyses").mkdir(parents=True)
    (linked.root / "analyses" / made.name).symlink_to(made)
    assert analysed(root, [made.name]) == analysed(linked, [made.name]) == {}


def test_what_no_analysis_wrote_is_not_written_over(trial_of, tmp_path, capsys):  # noqa: F811
    (tmp_path / "mine.txt").write_text("mine")
    words = ["analyze", trial_of.record["id"], "--store", str(trial_of.store.root), "--out", str(tmp_path), *QUICK]
    assert main(words) == 2
    assert "has files that no analysis wrote: 'mine.txt'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--what", "landscap"], "unknown part 'landscap'. Did you mean landscape?"),
        (["--points", "1"], "--points 1 is not possible: expected 3 to 1,001"),
        (["--reach", "2"], "--reach 2 is not possible"),
        (["--reach", "nan"], "--reach nan is not possible"),
        (["--images", "1"], "--images 1 is not possible: expected 2"),
        (["--image", "a"], "--image 'a' not understood"),
        (["--image", "99"], "image 99 is not there: expected 0 to 3"),
        (["--blocks", "17"], "block 17 is not there: expected 0 to 5"),
        (["--data", "photos"], "the images in 'photos' are not those of trial"),
        (["--seed", "-1"], "--seed -1 is not possible"),
    ],
)
def test_what_is_not_possible_is_said_in_one_line(trial_of, words, said, tmp_path, capsys):  # noqa: F811
    base = ["analyze", trial_of.record["id"], "--store", str(trial_of.store.root), "--out", str(tmp_path / "o"), *QUICK]
    assert main([*base, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_trial_without_blocks_with_scales_says_so(tmp_path, trial_of):  # noqa: F811
    spec = TrialSpec("fp32", calib=8, eval_limit=20, device="cpu")
    record = run_trial(spec, trial_of.store).record
    out = tmp_path / "full"
    assert main(["analyze", record["id"], "--store", str(trial_of.store.root), "--out", str(out), *QUICK]) == 0
    assert "No block of this network has scales to move." in (out / "index.html").read_text()


def test_a_trial_that_was_judged_on_held_out_images(tmp_path, trial_of):  # noqa: F811
    """Such trials are what a recommendation leaves behind; their data are a part of the calibration side."""
    spec = TrialSpec("minmax", bits="w4a8", calib=8, eval_limit=20, device="cpu", judge="held_out")
    record = run_trial(spec, trial_of.store).record
    subject = open_subject(trial_of.store, record, spec, 4)
    assert len(subject.calibration) == len(subject.held_out) == 4


def test_images_that_were_made_are_not_there(trial_of, capsys):  # noqa: F811
    spec = TrialSpec("minmax", bits="w4a8", calib=4, eval_limit=20, device="cpu", calib_source="psaq(iterations=2)")
    record = run_trial(spec, trial_of.store).record
    assert main(["analyze", record["id"], "--store", str(trial_of.store.root), *QUICK]) == 2
    assert "was calibrated on images that psaq(iterations=2) made" in capsys.readouterr().err


def test_attention_in_full_precision_is_the_checkpoint_s(tmp_path, trial_of):  # noqa: F811
    """Also where a step has learned other weights."""
    spec = TrialSpec("isvit(iterations=3,lr=0.01,scale_images=8)", bits="w4a8", calib=8, eval_limit=20, device="cpu")
    record = run_trial(spec, trial_of.store).record
    subject = open_subject(trial_of.store, record, spec, 4)
    before = subject.model(subject.held_out)
    found = attention(subject, 4, Progress()).full
    assert torch.equal(subject.model(subject.held_out), before)
    subject.model.clear()
    seen = {}
    subject.model.observe(subject.held_out, lambda name, x: seen.update({name: x.clone()}))
    assert found
    for name, maps in found.items():
        assert torch.equal(torch.from_numpy(maps), seen[name][:4])
