"""``harness compare``: what it says of a setting and of accuracies, and to those who ask for what is not there."""

import json

import pytest

from harness.cli.main import main
from harness.leaderboard.stats.inference import accuracy
from tests.leaderboard.synthetic import IMAGES, add, steps

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
