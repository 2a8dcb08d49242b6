"""The rule behind every verdict: against closed forms and brute force, and whether it keeps its promise in simulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.verdicts import coverage, false_marks, world
from harness.leaderboard.stats.best_set import best_set
from harness.leaderboard.stats.difference import difference, estimate


def by_hand(table):
    """Variances of a mean by images and by seeds, from sums written out."""
    seeds, images = table.shape
    grand = table.mean()
    of_images = seeds * sum((table[:, i].mean() - grand) ** 2 for i in range(images)) / (images - 1)
    of_seeds = images * sum((table[s].mean() - grand) ** 2 for s in range(seeds)) / (seeds - 1)
    rest = sum(
        (table[s, i] - table[s].mean() - table[:, i].mean() + grand) ** 2 for s in range(seeds) for i in range(images)
    ) / ((seeds - 1) * (images - 1))
    return of_images / table.size, max(0.0, of_seeds - rest) / table.size


@settings(max_examples=40)
@given(st.integers(2, 4), st.integers(2, 30), st.integers(0, 10_000))
def test_the_standard_errors_are_the_analysis_of_variance(seeds, images, seed):
    table = np.random.default_rng(seed).integers(-1, 2, (seeds, images)).astype(float)
    found = estimate(table)
    of_images, of_seeds = by_hand(table)
    assert found.interval.value == pytest.approx(100 * table.mean(), abs=1e-9)
    assert found.from_images == pytest.approx(100 * math.sqrt(of_images), abs=1e-6)
    assert found.from_seeds == pytest.approx(100 * math.sqrt(of_seeds), abs=1e-6)
    half = math.sqrt(stats.norm.ppf(0.975) ** 2 * of_images + stats.t.ppf(0.975, seeds - 1) ** 2 * of_seeds)
    assert found.interval.high - found.interval.value == pytest.approx(100 * half, abs=1e-6)


def test_where_only_seeds_differ_it_is_the_t_test_over_seeds():
    shares = [0.80, 0.84, 0.79]
    table = np.array([[index < 1000 * share for index in range(1000)] for share in shares])
    whole = np.repeat(np.array(shares)[:, None], 4000, axis=1)
    found, test = estimate(whole), stats.ttest_1samp(np.array(shares) * 100, 0.0).confidence_interval(0.95)
    assert [found.interval.low, found.interval.high] == pytest.approx([test.low, test.high])
    assert estimate(table).from_seeds == pytest.approx(found.from_seeds, rel=0.05)


def test_one_seed_is_the_paired_interval_over_images():
    generator = np.random.default_rng(3)
    first, second = generator.random((1, 4000)) < 0.7, generator.random((1, 4000)) < 0.74
    found = difference(first, second)
    draws = generator.integers(4000, size=(4000, 4000))
    brute = np.quantile(100 * (second.astype(float) - first)[0][draws].mean(1), [0.025, 0.975])
    assert [found.interval.low, found.interval.high] == pytest.approx(brute, abs=0.15)
    assert found.from_seeds is None
    assert found.seeds == 1


def test_equal_results_differ_on_no_image():
    same = np.random.default_rng(0).random((3, 50)) < 0.5
    found = difference(same, same)
    assert (found.verdict, found.interval.value, found.interval.low, found.interval.high) == ("equal", 0, 0, 0)


def test_swapped_the_sign_changes():
    first, second = world(np.random.default_rng(1), np.array([0.8, 0.83]), images=3000, seeds=3, spread=0.2, alike=0.95)
    one, other = difference(first, second), difference(second, first)
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert (one.verdict, other.verdict) == ("better", "worse")


def test_a_single_discordant_image_proves_nothing():
    first = np.ones((1, 500), dtype=bool)
    second = first.copy()
    second[0, 7] = False
    assert difference(first, second).verdict == "within noise"


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (3,)])
def test_nothing_is_refused(shape):
    with pytest.raises(ValueError, match="same seeds and images"):
        difference(np.ones(shape, dtype=bool), np.ones(shape, dtype=bool))
    with pytest.raises(ValueError, match="same seeds and images"):
        difference(np.ones((2, 3), dtype=bool), np.ones((2, 4), dtype=bool))


@pytest.mark.parametrize(("spread", "gap"), [(0.0, 0.0), (0.3, 1.0), (1.0, 0.0)])
def test_intervals_cover_the_truth(spread, gap):
    """400 tables: 92 to 98 % are within three standard errors of 95 %; benchmarks/verdicts.py draws more."""
    covered = coverage(np.random.default_rng(7), gap, 400, images=1000, seeds=3, spread=spread, alike=0.95)
    assert 92 <= covered <= 98.5


def test_equal_stacks_are_rarely_told_apart():
    assert false_marks(np.random.default_rng(5), 60, images=800, seeds=3, spread=0.3, alike=0.95) <= 10


def test_the_best_set_leaves_out_what_is_worse_and_keeps_what_may_be_best():
    means = np.array([0.86, 0.86, 0.855, 0.80, 0.60])
    cube = world(np.random.default_rng(2), means, images=4000, seeds=3, spread=0.2, alike=0.98)
    found = best_set(dict(zip("abcde", cube, strict=True)))
    assert {"a", "b"} <= found
    assert not found & {"d", "e"}


def test_a_set_of_one_and_of_equals():
    one = np.random.default_rng(0).random((2, 40)) < 0.5
    assert best_set({"only": one}) == {"only"}
    assert best_set({"a": one, "b": one.copy(), "c": one.copy()}) == {"a", "b", "c"}
    with pytest.raises(ValueError, match="same seeds and images"):
        best_set({"a": one, "b": one[:1]})
