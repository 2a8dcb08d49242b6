"""The order of methods here beside the published one."""

from dataclasses import replace

import numpy as np
import pytest

from harness.leaderboard.board.boards import boards
from harness.leaderboard.published.ordering import Ordering, Placed, ordering_markdown, orderings
from harness.leaderboard.report import markdown
from tests.leaderboard.synthetic import add, evidence, rows

DEIT = "deit_tiny_patch16_224.fb_in1k"


def found(store):
    return orderings(boards(rows(store), evidence(store)), evidence(store))


def test_methods_are_matched_without_their_settings(store):
    add(store, "repqvit", 570, bits="w4a4", model=DEIT)
    add(store, "adalog(candidates=32,steps=2)", 640, bits="w4a4", model=DEIT)
    add(store, "repqvit+qdrop(iterations=20)", 630, bits="w4a4", model=DEIT)
    add(store, "repqvit+gptq", 630, bits="w4a4", model=DEIT)
    (one,) = found(store)
    assert [(p.method, p.stack) for p in one.placed] == [
        ("QDrop", "repqvit+qdrop(iterations=20)"),
        ("AdaLog", "adalog(candidates=32,steps=2)"),
        ("RepQ-ViT", "repqvit"),
    ]
    assert one.placed[1].published == 63.52
    assert 57.43 <= one.placed[2].published <= 58.2
    assert one.placed[2].sources >= 2, "RepQ-ViT was published with several accuracies"
    assert one.placed[1].error == pytest.approx(100 * (0.64 * 0.36 / 1000) ** 0.5)


def test_methods_that_made_their_images_are_ordered_among_each_other(store):
    for stack, right in (("repqvit", 570), ("adalog", 640), ("repqvit+erq", 600), ("minmax", 500)):
        add(store, stack, right, bits="w4a4", model=DEIT, calib_source="psaq")
    assert found(store) == [], "published with images of the data"


def test_fewer_than_three_methods_make_no_order(store):
    add(store, "repqvit", 570, bits="w4a4", model=DEIT)
    add(store, "adalog", 640, bits="w4a4", model=DEIT)
    assert found(store) == []


def test_tau_and_reversed_pairs():
    same = Ordering(
        "x", tuple(Placed(name, p, 1, name, h, 0.5) for name, p, h in [("a", 70, 60), ("b", 60, 50), ("c", 50, 40)])
    )
    assert same.tau == pytest.approx(1)
    assert list(same.reversed) == []
    swapped = Ordering("x", tuple(Placed(n, p, 1, n, h, 0.5) for n, p, h in [("a", 70, 50), ("b", 60, 51), ("c", 50, 60)]))
    assert swapped.tau == pytest.approx(-1)
    assert [(pair.better.method, pair.worse.method, pair.shown) for pair in swapped.reversed] == [
        ("a", "b", False),
        ("a", "c", True),
        ("b", "c", True),
    ]
    shown = ordering_markdown([swapped])
    assert "Kendall's tau -1.00 over 3 methods" in shown
    assert "b before a by 1.00 (-0.4 to 2.4: noise); c before a by 10.00 (8.6 to 11.4); c before b by 9.00" in shown


def test_the_same_images_tell_more_than_their_number(store):
    """Four points of 200 images are within the noise of independent draws; image by image the order is clear."""
    right = np.random.default_rng(0).random(200) < 0.6
    better = right.copy()
    better[np.flatnonzero(~right)[:8]] = True
    pair = [Placed(name, p, 1, name, 100 * c.mean(), 3.5, c[None]) for name, p, c in [("a", 70, right), ("b", 60, better)]]
    (one,) = Ordering("x", tuple(pair)).reversed
    assert one.ahead.value == pytest.approx(4.0)
    assert one.shown
    (alone,) = Ordering("x", tuple(replace(p, correct=None) for p in pair)).reversed
    assert not alone.shown


def test_the_report_shows_orders(store):
    for stack, right in (("repqvit", 570), ("adalog", 640), ("repqvit+erq", 600)):
        add(store, stack, right, bits="w4a4", model=DEIT)
    shown = markdown(rows(store), evidence(store))
    assert "### Order of methods beside the published one" in shown
    assert "Kendall's tau 1.00 over 3 methods" in shown
