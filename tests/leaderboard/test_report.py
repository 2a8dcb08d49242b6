"""Leaderboards in every format: numbers against hand computations, and text that tries to break them."""

import itertools
import json
import re
import statistics

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.leaderboard import text
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.busy import busy_cells, busy_note
from harness.leaderboard.board.ladder import gains, ladder_markdown
from harness.leaderboard.board.noise import ranks, split
from harness.leaderboard.render import tables
from harness.leaderboard.render.folder import MARKER
from harness.leaderboard.report import markdown, write
from harness.leaderboard.stats.inference import variance_split
from tests.leaderboard.synthetic import add, evidence, rows
from tests.store.test_store import record

HOSTILE = "a|b`c\n<script>alert(1)</script>\\end{table} $x_1$ & 100% # ~^{}[l](javascript:x) *b* ±"


def board(store):
    (found,) = boards(rows(store), evidence(store))
    return found


def shown(store):
    return markdown(rows(store), evidence(store))


def test_mean_deviation_and_difference(store):
    right = [800, 810, 835]
    ids = [add(store, "fqvit", value, seed) for seed, value in enumerate(right)]
    values = [value / 10 for value in right]
    (cell,) = board(store).cells.values()
    assert cell.ids == tuple(ids)
    assert (cell.mean, cell.deviation) == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    table = shown(store)
    assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (n=3)" in table
    assert f"({statistics.mean(values) - 90:+.2f})" in table
    assert "2.0 s" in table, "the evaluation's time does not count"
    assert all(trial in table for trial in ids), "every number can be traced"
    assert "harness run --method fqvit --seed 0" in table


def test_one_seed_has_no_deviation(store):
    add(store, "fqvit", 800)
    assert "80.00 (n=1)" in shown(store)
    assert next(iter(board(store).cells.values())).deviation is None


def test_the_best_and_what_is_tied_with_it(store):
    for seed in range(2):
        add(store, "good", 850, seed, draw=1)
        add(store, "as-good", 848, seed, draw=2)
        add(store, "worse", 700, seed, draw=3)
        add(store, "fp32", 900, seed)
        add(store, "leak", 890, seed, protocol="paper")
    marks = {recipe.stack: cell.mark for (recipe, _), cell in board(store).cells.items()}
    assert marks == {"good": "best", "as-good": "tied", "worse": "", "fp32": "", "leak": ""}
    table = shown(store)
    assert "**85.00 ± 0.00 (n=2)**" in table
    assert "84.80 ± 0.00 (n=2) ≈" in table
    assert "(paper: saw evaluation images)" in table


def test_a_certain_difference_is_no_tie_however_small(store):
    """Paired images: the better one is right on the same images and on ten more."""
    add(store, "good", 850, draw=1)
    add(store, "worse", 840, draw=1)
    marks = {recipe.stack: cell.mark for (recipe, _), cell in board(store).cells.items()}
    assert marks == {"good": "best", "worse": ""}


def test_missing_cells_and_seeds_are_shown_and_not_ranked(store):
    for seed in range(3):
        add(store, "fqvit", 800, seed)
        add(store, "fqvit", 700, seed, model="other")
    add(store, "lucky", 890, 0)
    found = board(store)
    assert [recipe.stack for recipe in found.recipes] == ["fqvit", "lucky"], "a row with holes does not lead"
    table = shown(store)
    assert "89.00 (n=1) (-1.00) 1/3" in table
    assert "missing" in table
    assert {recipe.stack: cell.mark for (recipe, n), cell in found.cells.items() if n.model == "m"}["lucky"] == ""


@pytest.mark.parametrize(
    "difference",
    [
        {"bits": "w4a8"},
        {"calib": 99},
        {"data": {"name": "d", "fingerprint": "other"}},
        {"spec": {"weights_sha256": "b" * 64, "preprocessing": {"crop_pct": 0.9}, "stack": []}},
        {"spec": {"weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 1.0}, "stack": []}},
        {
            "spec": {
                "weights_sha256": "a" * 64,
                "preprocessing": {"crop_pct": 0.9},
                "stack": [{"name": "fqvit", "version": 2, "config": {"text": "fqvit"}}],
            }
        },
        {"protocol": "paper"},
    ],
)
def test_only_seeds_are_averaged(store, difference):
    add(store, "fqvit", 800, 0)
    add(store, "fqvit", 200, 1, **difference)
    assert "±" not in shown(store).replace(tables.LEGEND, "")
    found = boards(rows(store), evidence(store))
    assert sorted(cell.mean for one in found for cell in one.cells.values()) == [20.0, 80.0]
    labels = [recipe.label for one in found for recipe in one.recipes] + [n.label for one in found for n in one.networks]
    for one in found:
        assert len({network.label for network in one.networks}) == len(one.networks), labels
        assert len({recipe.label for recipe in one.recipes}) == len(one.recipes), labels


def test_no_record_is_dropped_silently(store):
    add(store, "fqvit", 800, 0)
    metrics = {"top1": 70.0, "top1_fp32": 90.0, "agreement": 95.0, "logit_sqnr_db": None, "n_images": 10, "n_correct": 7}
    add(store, "fqvit", 700, 1, metrics=metrics)
    store.save(record("f" * 16, "failed", stack="broken"))
    store.save(record("e" * 16, "skipped", error={"kind": "data", "message": "no | images\nhere"}))
    table = shown(store)
    assert "80.00" in table
    assert "70.00" in table
    assert "oom: no memory" in table
    assert r"data: no \| images here" in table
    assert "None" not in table
    assert "<NA>" not in table


def test_the_ladder_pairs_seeds(store):
    for seed, (below, above) in enumerate([(800, 804), (810, 815), (790, 793)]):
        add(store, "fqvit", below, seed)
        add(store, "fqvit+omse", above, seed)
    add(store, "fqvit+omse+evolq(passes=3)", 820, 1)
    found = {gain.step: gain for gain in gains(board(store), evidence(store))}
    assert found["omse"].values == pytest.approx((0.4, 0.5, 0.3))
    assert found["omse"].phrase() == "omse +0.40 ± 0.10, n=3"
    assert found["evolq(passes=3)"].phrase() == "evolq(passes=3) +0.50, n=1"
    table = ladder_markdown(list(found.values()), networks=False)
    assert "helps" in table
    assert "within noise (one seed)" in table
    assert ladder_markdown([], networks=False) == ""


def test_ranks_and_the_spread_over_seeds(store):
    for seed, (one, other) in enumerate([(800, 700), (820, 721), (790, 689)]):
        add(store, "good", one, seed, draw=seed)
        add(store, "bad", other, seed, draw=seed)
        add(store, "fp32", 900, seed)
    values = np.array([[80.0, 82.0, 79.0], [70.0, 72.1, 68.9]])
    parts = variance_split(values)
    found = split(board(store), board(store).networks[0])
    assert (found.calibration, found.method) == pytest.approx((parts.calibration, parts.method))
    intervals = ranks(board(store), board(store).networks[0])
    assert {recipe.stack: (one.low, one.value, one.high) for recipe, one in intervals.items()} == {
        "good": (1, 1, 1),
        "bad": (2, 2, 2),
    }
    table = shown(store)
    assert "`good` 1 [1 to 1], `bad` 2 [2 to 2]" in table
    assert f"{parts.calibration**0.5:.2f} points from the draw" in table
    assert "(2 stacks, 3 seeds)" in table


def test_without_images_there_are_no_ranks(store):
    first = add(store, "good", 800)
    add(store, "bad", 700)
    (store.folder(first) / "correct.npy").unlink()
    assert "Ranks" not in shown(store)
    assert "Standard deviation over seeds" not in shown(store)


@pytest.mark.slow
def test_published_runtimes_are_drawn_beside_ours_with_their_hardware(store, tmp_path):
    for stack, right in (("fqvit", 800), ("fqvit+omse", 810)):
        add(store, stack, right, model="deit_tiny_patch16_224.fb_in1k", bits="w3a8")
        add(store, stack, right, model="deit_small_patch16_224.fb_in1k", bits="w3a3")
    written = write(rows(store), evidence(store), tmp_path / "board", ["svg"])
    drawn = {path.name: path.read_text() for path in written if path.suffix == ".svg"}
    small = next(text for name, text in drawn.items() if "deit-s" in name)
    tiny = next(text for name, text in drawn.items() if "deit-t" in name)
    assert "QDrop (NVIDIA RTX 4090, published)" in small
    assert "published)" not in tiny, "published at other bits"


@pytest.mark.slow
@pytest.mark.parametrize("cost", ["size_bytes", "bit_operations"])
def test_other_costs(store, tmp_path, cost):
    add(store, "fqvit", 800)
    add(store, "fqvit+omse", 810, environment={"device": "NVIDIA H200"})
    written = write(rows(store), evidence(store), tmp_path / "board", ["svg"], [cost])
    assert len(written) == 1, "size does not depend on the hardware: one picture"
    assert {"size_bytes": "size", "bit_operations": "bitops"}[cost] in written[0].name


def cells_of(line):
    return len(re.split(r"(?<!\\)\|", line))


def test_hostile_names_cannot_break_markdown(store):
    add(store, HOSTILE, 800, model=HOSTILE, command=HOSTILE, data={"name": HOSTILE, "fingerprint": "f"})
    store.save(record("f" * 16, "failed", stack=HOSTILE, error={"kind": "bug", "message": HOSTILE}))
    table = shown(store)
    assert "<script>" not in table
    outside_code = re.sub(r"`[^`]*`", "", table.replace("\\`", ""))
    assert "](javascript" not in outside_code.replace("\\]", "").replace("\\[", "")
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert lines
    for head, line in itertools.pairwise(lines):
        if head.count("-") < 20 and line.count("-") > 20:
            assert cells_of(head) == cells_of(line)


@pytest.mark.parametrize("character", list(text.LATEX))
def test_every_special_character_of_latex_is_written_safely(character):
    assert text.latex(f"a{character}b") == f"a{text.LATEX[character]}b"


@pytest.mark.slow
def test_all_formats_are_written_and_repeatable(store, tmp_path):
    for seed in range(2):
        add(store, "fqvit", 800 + seed, seed, seconds=1.0 + seed)
        add(store, "fqvit+omse", 810 + seed, seed, seconds=5.0)
        add(store, "fp32", 900, seed)
    first = write(rows(store), evidence(store), tmp_path / "a")
    second = write(rows(store), evidence(store), tmp_path / "b")
    assert {path.suffix for path in first} == {".md", ".csv", ".parquet", ".tex", ".svg", ".pdf", ".html"}
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    long = pd.read_csv(tmp_path / "a" / "leaderboard.csv")
    assert len(long) == 3
    assert all(len(ids.split()) == 2 for ids in long["records"])
    typed = pd.read_parquet(tmp_path / "a" / "leaderboard.parquet")
    assert list(typed.columns) == list(long.columns)
    assert typed["top1_mean"].tolist() == pytest.approx(long["top1_mean"].tolist(), rel=1e-12)
    picture = next(path for path in first if path.suffix == ".svg").read_text()
    for shown_text in ("fqvit+omse", "full precision", "Test CPU, 2 threads"):
        assert shown_text in picture


@pytest.mark.slow
def test_times_of_different_hardware_are_never_on_one_front(store, tmp_path):
    add(store, "fqvit", 800)
    add(store, "fqvit+omse", 810, environment={"device": "NVIDIA H200"})
    written = write(rows(store), evidence(store), tmp_path / "board", ["svg"])
    pictures = [path.name for path in written if path.suffix == ".svg"]
    assert len(pictures) == 2
    drawn = [path.read_text() for path in written if path.suffix == ".svg"]
    assert ["NVIDIA H200" in text for text in drawn].count(True) == 1


def test_times_of_a_busy_machine_are_named(store):
    for stack, load in (("quiet", 1.0), ("busy_one", 1.5), ("unknown", None)):
        add(store, stack, 800, environment={"device": "cpu", "load": {"start": load, "end": None}})
    add(store, "older", 800, environment={"device": "cpu", "load": None})
    found = boards(rows(store), evidence(store))
    said = busy_note(found[0])
    assert said == "Times measured on a busy machine (load per core above 1.1): busy_one (1.5)."
    assert text.markdown(said) in markdown(rows(store), evidence(store))
    assert [recipe.label for recipe, _, _ in busy_cells(found[0])] == ["busy_one"]


def test_a_quiet_machine_needs_no_note(store):
    add(store, "quiet", 800, environment={"device": "cpu", "load": {"start": 1.1, "end": 0.2}})
    assert busy_note(boards(rows(store), evidence(store))[0]) == ""
    assert "busy" not in markdown(rows(store), evidence(store))


def test_the_command(store, tmp_path, capsys):
    add(store, "fqvit", 800)
    assert main(["report", "--store", str(store.root)]) == 0
    assert "80.00" in capsys.readouterr().out
    full = tmp_path / "full.parquet"
    assert main(["store", "export", "--store", str(store.root), "--format", "parquet", "--full", "--out", str(full)]) == 0
    assert main(["report", "--records", str(full), "--out", str(tmp_path / "out"), "--format", "md,csv"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "README.md", "leaderboard.csv"]
    capsys.readouterr()
    assert main(["report", "--format", "mdd", "--store", str(store.root)]) == 2
    assert "Did you mean md" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", "--store", str(tmp_path / "empty")]) == 0
    assert "no records" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--json"], ["--submissions", "."]])
def test_a_store_that_is_not_there(tmp_path, capsys, more, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "none yet"))
    assert main(["report", "--store", str(tmp_path / "typo"), *more]) == 2
    assert f"there is no folder '{tmp_path / 'typo'}'" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
    assert main(["report"]) == 0, "the usual one is made by the first trial"


def compared(store, capsys, *words, code=0):
    assert main(["compare", *words, "--store", str(store.root)]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def test_compare_says_what_is_noise_and_what_is_not(store, capsys):
    for seed in range(3):
        add(store, "fqvit", 800 + seed, seed, draw=1)
        add(store, "fqvit+omse", 801 + seed, seed, draw=1)
        add(store, "fqvit+evolq", 802 + seed, seed, draw=2)
        add(store, "fqvit+biascorr", 860 + seed, seed, draw=1)
    assert "verdict: within noise" in compared(store, capsys, "stack=fqvit", "stack=fqvit+evolq")
    better = compared(store, capsys, "fqvit", "fqvit+biascorr")
    assert "verdict: the second is better" in better
    assert "from images, 0.00 from 3 seeds" in better
    assert "180 images, over all seeds, that only one of the two gets right" in better
    (pair,) = json.loads(compared(store, capsys, "fqvit+biascorr", "fqvit", "--json"))
    assert pair["verdict"] == "the first is better"
    assert pair["seeds"] == [0, 1, 2]
    assert pair["difference"]["interval"]["value"] == pytest.approx(-6.0)
    assert "no difference on any image" in compared(store, capsys, "fqvit", "fqvit")


def test_compare_two_trials(store, capsys):
    first, second = add(store, "fqvit", 800, draw=1), add(store, "fqvit+omse", 860, draw=1)
    out = compared(store, capsys, first[:8], second)
    assert "the second is better (one seed: says nothing about other calibration draws)" in out
    assert "60 images, over all seeds, that only one of the two gets right" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fqvit", "fqvit+omze"], "Did you mean fqvit+omse"),
        (["stakc=fqvit", "fqvit"], "Did you mean stack"),
        (["bits=w8a8", "fqvit"], "the first has several stacks in one setting: fqvit, fqvit+omse"),
        (["bits=w8a8,stack=fqvit", "bits=w4a8"], "no setting in common"),
    ],
)
def test_compare_explains_mistakes(store, capsys, words, said):
    for seed in range(2):
        add(store, "fqvit", 800, seed)
        add(store, "fqvit+omse", 810, seed)
    add(store, "fqvit", 800, bits="w4a8")
    assert said in compared(store, capsys, *words, code=2)
