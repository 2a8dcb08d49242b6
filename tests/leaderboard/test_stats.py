"""Every statistic against an independent computation: closed forms, brute force, other functions of scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.leaderboard.stats.inference import accuracy, rank_intervals, variance_split


@given(st.integers(1, 3000), st.data())
def test_wilson_is_the_closed_form(images, data):
    right = data.draw(st.integers(0, images))
    share, z = right / images, scipy_stats.norm.ppf(0.975)
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2)) / (1 + z**2 / images)
    found = accuracy(right, images)
    assert found.value == pytest.approx(100 * share)
    assert found.low == pytest.approx(100 * max(0, centre - half), abs=1e-9)
    assert found.high == pytest.approx(100 * min(1, centre + half), abs=1e-9)


@pytest.mark.parametrize(("right", "images"), [(1, 0), (0, 0), (5, 4), (-1, 3)])
def test_impossible_counts_are_refused(right, images):
    with pytest.raises(ValueError, match="is not possible"):
        accuracy(right, images)


def test_the_variance_split_finds_what_was_put_in():
    generator = np.random.default_rng(0)
    values = 80 + generator.normal(0, 0.5, (1, 400)) + generator.normal(0, 0.2, (30, 400)) + generator.normal(0, 1, (30, 1))
    found = variance_split(values)
    assert found.calibration == pytest.approx(0.25, rel=0.2)
    assert found.method == pytest.approx(0.04, rel=0.1)
    assert (found.seeds, found.stacks) == (400, 30)


def test_the_variance_split_is_the_analysis_of_variance():
    values = np.array([[1.0, 2.0, 4.0], [2.0, 2.5, 5.5]])
    grand, rows, columns = values.mean(), values.mean(1), values.mean(0)
    residual = sum((values[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(2) for j in range(3)) / 2
    between = 2 * sum((column - grand) ** 2 for column in columns) / 2
    found = variance_split(values)
    assert found.method == pytest.approx(residual)
    assert found.calibration == pytest.approx((between - residual) / 2)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_too_few_values_cannot_be_split(shape):
    assert variance_split(np.ones(shape)) is None


def test_ranks_and_their_intervals():
    generator = np.random.default_rng(1)
    base = generator.random(3000)
    correct = {"good": base < 0.9, "bad": base < 0.5, "as good": base < 0.9}
    ranks = rank_intervals(correct)
    assert [ranks[name].value for name in correct] == [1.5, 3.0, 1.5], "ties share the mean rank"
    assert (ranks["bad"].low, ranks["bad"].high) == (3.0, 3.0)
    close = rank_intervals({"a": generator.random(300) < 0.8, "b": generator.random(300) < 0.8})
    assert (close["a"].low, close["a"].high) == (1.0, 2.0)
    with pytest.raises(ValueError, match="same images"):
        rank_intervals({"a": np.ones(3), "b": np.ones(4)})


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_ranks_are_those_of_the_accuracies(stacks, images, seed):
    matrix = np.random.default_rng(seed).random((stacks, images)) < 0.5
    found = rank_intervals({str(i): matrix[i] for i in range(stacks)}, resamples=50)
    totals = matrix.sum(1)
    for i, j in itertools.permutations(range(stacks), 2):
        if totals[i] > totals[j]:
            assert found[str(i)].value < found[str(j)].value
        if totals[i] == totals[j]:
            assert found[str(i)].value == found[str(j)].value
