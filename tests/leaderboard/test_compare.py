"""``harness compare``: what it says of a setting and of accuracies, and to those who ask for what is not there."""

import json

import pytest

from harness.cli.commands.compare import EXAMPLES
from harness.cli.main import main
from harness.leaderboard.board.selection import FILTERS
from harness.leaderboard.stats.inference import accuracy
from harness.store.table import COLUMNS
from tests.leaderboard.synthetic import IMAGES, add, steps
from tests.store.test_store import record

HELD_OUT = "1,000 held-out calibration images judged by full precision"


@pytest.fixture
def compared(store, capsys):
    """The command on the records of the store; gives what it prints, or the error."""

    def call(*words, code=0, place=None):
        assert main(["compare", *words, "--store", str(place or store.root)]) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return call


def judged(stack):
    """What an identity looks like where held-out calibration images judge."""
    return {"stack": steps(stack), "weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 0.9}, "judge": "held_out"}


def test_it_says_that_full_precision_judged(store, compared, capsys):
    for stack, right in (("fqvit", 800), ("fqvit+omse", 860)):
        add(store, stack, right, draw=1, spec=judged(stack))
    assert HELD_OUT in compared("fqvit", "fqvit+omse").splitlines()[0]
    (pair,) = json.loads(compared("fqvit", "fqvit+omse", "--json"))
    assert HELD_OUT in pair["setting"]
    assert main(["report", "--store", str(store.root), "--quiet"]) == 0
    assert HELD_OUT in capsys.readouterr().out, "the words of the report"


def test_nothing_is_said_of_usual_images(store, compared):
    for stack in ("fqvit", "fqvit+omse"):
        add(store, stack, 800)
    assert "images judged" not in compared("fqvit", "fqvit+omse")


@pytest.mark.parametrize("right", [0, 994, 1000])
def test_one_seed_has_the_interval_of_counts(store, compared, right):
    add(store, "fqvit", right)
    add(store, "fqvit+omse", 900)
    (pair,) = json.loads(compared("fqvit", "fqvit+omse", "--json"))
    expected = accuracy(right, IMAGES)
    found = pair["first"]["interval"]
    assert [found["low"], found["value"], found["high"]] == pytest.approx([expected.low, right / 10, expected.high])
    assert 0 <= found["low"] < found["high"] <= 100
    assert pair["difference"]["interval"]["value"] == pytest.approx((900 - right) / 10)


def test_several_seeds_stay_within_what_is_possible(store, compared):
    for seed, (one, other) in enumerate([(1000, 2), (990, 0), (999, 3)]):
        add(store, "fqvit", one, seed)
        add(store, "fqvit+omse", other, seed)
    (pair,) = json.loads(compared("fqvit", "fqvit+omse", "--json"))
    assert pair["first"]["interval"]["high"] == 100
    assert pair["second"]["interval"]["low"] == 0
    assert "[98.33, 100.00]" in compared("fqvit", "fqvit+omse")


def test_without_records_it_says_so(compared, tmp_path):
    (tmp_path / "empty").mkdir()
    said = compared("minmax", "fqvit", code=2, place=tmp_path / "empty")
    assert said == f"error: no records in {tmp_path / 'empty'} (start with: harness run --method fqvit)\n"
    assert f"there is no folder '{tmp_path / 'none'}'" in compared("minmax", "fqvit", code=2, place=tmp_path / "none")


def test_without_done_records_no_list_is_empty(store, compared):
    store.save(record("f" * 16, "failed"))
    assert "'minmax': no trial is done" in compared("minmax", "fqvit", code=2)


def test_a_failed_trial_says_why(store, compared):
    add(store, "fqvit", 800)
    store.save(record("f" * 16, "failed", stack="fqvit+omse", command="harness run --method fqvit+omse"))
    for what in ("ffff", "fqvit+omse", "stack=fqvit+omse,seed=0"):
        said = compared("fqvit", what, code=2)
        assert f"no done record matches '{what}': trial {'f' * 16} has failed (oom: no memory)" in said
        assert "run it again: harness run --method fqvit+omse" in said


def test_a_done_record_is_found_beside_a_failed_one(store, compared):
    for stack in ("fqvit", "fqvit+omse"):
        add(store, stack, 800)
    store.save(record("f" * 16, "failed", stack="fqvit"))
    assert "verdict" in compared("fqvit", "fqvit+omse")


def test_it_says_what_each_side_has_and_what_differs(store, compared):
    add(store, "fqvit", 800, bits="w4a8")
    add(store, "fqvit", 800, bits="w3a8", calib=16)
    add(store, "fqvit+omse", 810)
    said = compared("fqvit", "fqvit+omse", code=2)
    assert "no setting in common: the first has [m, w" in said
    assert "[m, w4a8, d, 8 calibration images]" in said
    assert "the second has [m, w8a8, d, 8 calibration images]" in said
    assert "what differs: bits (w4a8 against w8a8)" in said
    assert "calibration (" not in said, "only the nearest two are told apart"


def test_what_differs_may_be_hidden(store, compared):
    add(store, "fqvit", 800)
    add(store, "fqvit+omse", 810, data={"name": "d", "fingerprint": "other!"})
    assert "what differs: data (data f against data other!)" in compared("fqvit", "fqvit+omse", code=2)


def test_seeds_that_differ_are_named(store, compared):
    for seed in range(2):
        add(store, "fqvit", 800, seed)
        add(store, "fqvit+omse", 810, seed + 2)
    said = compared("fqvit", "fqvit+omse", code=2)
    assert "no seed in common: in m, w8a8, d, 8 calibration images the first has seeds 0, 1, the second 2, 3" in said


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("fqvit,foo=1", "filter 'fqvit' of 'fqvit,foo=1' is not column=value (for example stack=fqvit; columns are stack,"),
        ("stack=fqvit,foo=1", "unknown column 'foo' (columns are stack, model, bits"),
        ("seed,stack=fqvit", "(for example seed=VALUE;"),
        ("stakc=fqvit", "unknown column 'stakc'. Did you mean stack"),
    ],
)
def test_filters_that_are_none(store, compared, filters, expected):
    add(store, "fqvit", 800)
    assert expected in compared(filters, "stack=fqvit", code=2)


def test_columns_of_filters_are_named_in_the_help():
    assert set(FILTERS) <= set(COLUMNS)
    assert f"columns of filters: {', '.join(FILTERS)}\n" in EXAMPLES
