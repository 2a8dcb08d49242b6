"""The order of methods here beside the published one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from harness.leaderboard.board.boards import boards
from harness.leaderboard.published.numbers import accuracies, compare
from harness.leaderboard.published.ordering import Ordering, Placed, ordering_markdown, orderings
from harness.leaderboard.report import markdown
from harness.leaderboard.stats.order import drawn_accuracies, kendall
from harness.models.cards import cards
from tests.leaderboard.synthetic import add, evidence, rows, steps

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


def test_a_known_copy_of_the_weights_is_ordered_beside_them_and_says_how_it_departs(store):
    """Results on weights from a file, which bear no tag's name, once stood beside no published number at all."""
    ((sha256, departs),) = cards()[DEIT].copies.items()
    assert departs
    for digest in (sha256, "b" * 64):
        spec = {"stack": [], "weights_sha256": digest, "preprocessing": {}}
        for stack, right in (("repqvit", 570), ("adalog", 640), ("repqvit+qdrop", 600)):
            model = f"{DEIT.partition('.')[0]}.file-{digest[:8]}"
            add(store, stack, right, bits="w4a4", model=model, spec={**spec, "stack": steps(stack)})
    (one,) = found(store)
    assert one.departs == departs
    assert f"weights: {departs}" in ordering_markdown([one])
    beside = [line for line in compare(boards(rows(store), evidence(store))) if line.cell is not None]
    assert beside
    assert {line.verdict for line in beside} == {"not comparable"}
    assert any(departs in line.why for line in beside)


def test_several_settings_of_a_method_are_one_method(store):
    """Four losses used to be four methods; the row that stands for the method is chosen without looking at accuracy."""
    add(store, "fqvit", 570, bits="w4a8", model=DEIT)
    add(store, "fqvit+evolq(passes=3)", 640, bits="w4a8", model=DEIT)
    add(store, "fqvit+evolq(preset=paper)", 630, bits="w4a8", model=DEIT)
    for loss in ("mse", "cosine", "kl"):
        add(store, f"fqvit+evolq(loss={loss})", 650, bits="w4a8", model=DEIT)
    assert found(store) == [], "two methods make no order"
    add(store, "fqvit+omse", 600, bits="w4a8", model=DEIT)
    (one,) = found(store)
    assert [(p.method, p.stack) for p in one.placed] == [
        ("Evol-Q / CPT-V", "fqvit+evolq(preset=paper)"),
        ("FQ-ViT", "fqvit"),
        ("FQ-ViT + OMSE", "fqvit+omse"),
    ]


def test_rows_that_saw_evaluation_images_stand_for_nothing(store):
    for stack, right in (("repqvit", 570), ("adalog", 640), ("repqvit+erq", 600)):
        add(store, stack, right, bits="w4a4", model=DEIT, protocol="paper" if stack == "adalog" else "strict")
    assert found(store) == []


def test_tau_is_a_number_with_an_interval(store):
    def order(*values, images=400):
        spread = np.random.default_rng(0)
        results = [spread.random((3, images)) < here / 100 for _, here in values]
        return Ordering(
            "x",
            tuple(
                Placed(str(i), p, 1, str(i), 100 * c.mean(), 2.0, c, (0, 1, 2))
                for i, ((p, _), c) in enumerate(zip(values, results, strict=True))
            ),
        )

    clear = order((70, 80), (60, 60), (50, 40), (40, 20))
    assert (clear.tau, clear.interval.low, clear.interval.high) == (1, 1, 1)
    unclear = order((70, 50), (60, 50), (50, 50), (40, 50))
    assert unclear.interval.low < 0 < unclear.interval.high
    equal = Ordering("x", tuple(Placed(name, 70, 1, name, 60, 0.0) for name in "abcd"))
    assert (equal.tau, equal.interval.low, equal.interval.high) == (0, 0, 0), "no order, and not nan"
    assert "nan" not in ordering_markdown([equal])


def test_methods_that_were_published_equal_make_no_order(store, monkeypatch):
    same = [replace(one, top1=60.0) for one in accuracies()]
    monkeypatch.setattr("harness.leaderboard.published.ordering.accuracies", lambda: same)
    for stack, right in (("repqvit", 570), ("adalog", 640), ("repqvit+erq", 600)):
        add(store, stack, right, bits="w4a4", model=DEIT)
    assert found(store) == []


def test_kendall_against_scipy():
    generator = np.random.default_rng(1)
    for size in (3, 5, 9):
        first, second = generator.integers(0, 4, size).astype(float), generator.integers(0, 4, (20, size)).astype(float)
        expected = [kendalltau(first, one).statistic for one in second]
        assert kendall(first, second) == pytest.approx(np.nan_to_num(expected))


def test_draws_follow_images_and_seeds():
    """Their spread is that of a bootstrap written out; seeds are drawn together where they are the same."""
    generator = np.random.default_rng(2)
    base = generator.random(500) < 0.7
    table = np.stack([base ^ (generator.random(500) < share) for share in (0.02, 0.10, 0.20)])
    one = Placed("a", 1, 1, "a", 100 * table.mean(), 1.0, table, (0, 1, 2))
    drawn = drawn_accuracies([one, replace(one, method="b")], draws=3000)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    brute = [100 * table[generator.integers(3, size=3)][:, generator.integers(500, size=500)].mean() for _ in range(3000)]
    assert drawn[:, 0].std() == pytest.approx(np.std(brute), rel=0.08)
    assert drawn[:, 0].mean() == pytest.approx(one.here, abs=0.2)
    other = replace(one, seeds=(3, 4, 5))
    assert (drawn_accuracies([one, other], draws=50) != drawn_accuracies([one, one], draws=50)).any()


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
