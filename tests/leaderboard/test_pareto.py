"""The front against brute force, ties, and uncertainty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.leaderboard.stats.pareto import Point, on_front, standings
from tests.leaderboard.synthetic import images

few = st.sampled_from([1.0, 2.0, 3.0])


@given(st.lists(st.tuples(few, few), min_size=1, max_size=7))
def test_the_front_is_what_nothing_dominates(points):
    cost, accuracy = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    found = on_front(cost, accuracy)
    for i, (c, a) in enumerate(points):
        dominated = any(x <= c and y >= a and (x, y) != (c, a) for x, y in points)
        assert found[i] == (not dominated)
    assert found.any()


def test_equal_points_are_both_on_the_front():
    assert on_front(np.array([1.0, 1.0]), np.array([80.0, 80.0])).tolist() == [True, True]


def test_clear_cases():
    points = [
        Point("cheap", (1.0, 1.1), (70.0, 70.2), images(700).astype(float)),
        Point("good", (10.0, 10.5), (90.0, 90.1), images(900).astype(float)),
        Point("bad", (11.0, 12.0), (60.0, 60.0), images(600).astype(float)),
    ]
    found = {one.point.label: one for one in standings(points)}
    assert {name: one.status for name, one in found.items()} == {"cheap": "front", "good": "front", "bad": "dominated"}
    assert [one.on_front for one in found.values()] == [True, True, False]


def test_a_small_difference_is_undecided():
    points = [
        Point("a", (1.0,), (80.0,), images(800).astype(float)),
        Point("b", (2.0,), (80.2,), images(802, 5).astype(float)),
    ]
    b = standings(points)[1]
    assert b.on_front
    assert b.status == "undecided"
    assert 0.3 < b.share < 0.8


def test_without_images_the_seeds_are_resampled():
    points = [Point("a", (1.0,), (80.0, 82.0)), Point("b", (2.0,), (81.0, 81.5))]
    assert standings(points)[1].status == "undecided"
    single = [Point("a", (1.0,), (80.0,)), Point("b", (2.0,), (79.0,))]
    assert [one.status for one in standings(single)] == ["front", "dominated"]
    assert standings([]) == []


def test_images_are_resampled_for_all_points_together():
    """Two stacks that differ on one image only: their order is certain wherever that image is drawn."""
    first = images(800).astype(float)
    second = first.copy()
    second[np.flatnonzero(first == 0)[:12]] = 1.0
    found = standings([Point("a", (1.0,), (80.0,), first), Point("b", (2.0,), (81.2,), second)])
    assert found[1].status == "front"
    assert found[1].share == pytest.approx(1.0, abs=0.01)
