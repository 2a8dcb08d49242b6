"""Counts, ranks and the spread over seeds; verdicts are in ``difference`` and ``best_set``. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether a value lies in the interval."""
        return self.low <= value <= self.high


def accuracy(correct: int, images: int, level: float = LEVEL) -> Interval:
    """Accuracy in percent with Wilson's interval from raw counts (Wilson 1927).

    Raises:
        ValueError: There are no images, or more correct ones than images.
    """
    if not 0 <= correct <= images or not images:
        raise ValueError(f"{correct} correct of {images} images is not possible")
    interval = stats.binomtest(correct, images).proportion_ci(level, method="wilson")
    return Interval(100 * correct / images, 100 * float(interval.low), 100 * float(interval.high))


@dataclass(frozen=True)
class VarianceSplit:
    """Where the spread over seeds comes from, in variances (squared points).

    Attributes:
        calibration: Shared by all stacks at one seed: the draw of calibration images.
        method: Of a stack's own: its randomness and its interaction with the draw.
        seeds: Number of seeds.
        stacks: Number of stacks.
    """

    calibration: float
    method: float
    seeds: int
    stacks: int


def variance_split(values: np.ndarray) -> VarianceSplit | None:
    """Split the variance over seeds by two-way analysis of variance without replication (random effects of seeds).

    Args:
        values: ``(stacks, seeds)`` accuracies; every stack at every seed.

    Returns:
        None when there are fewer than two stacks or two seeds.
    """
    stacks, seeds = values.shape
    if stacks < 2 or seeds < 2:
        return None
    residual = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    within = float((residual**2).sum() / ((stacks - 1) * (seeds - 1)))
    between = float(stacks * ((values.mean(0) - values.mean()) ** 2).sum() / (seeds - 1))
    return VarianceSplit(max(0.0, (between - within) / stacks), within, seeds, stacks)


def rank_intervals(
    correct: Mapping[str, np.ndarray], level: float = LEVEL, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Rank of each stack (1 is best, ties share the mean rank) with the interval of a bootstrap over images.

    Args:
        correct: Per stack, per-image correctness ``(n,)``, or its mean over seeds; all on the same images.
        level: Of the interval.
        resamples: Number of draws.
        seed: Of the draws.

    Raises:
        ValueError: The numbers of images differ.
    """
    names = list(correct)
    if len({correct[name].shape for name in names}) > 1:
        raise ValueError("expected per-image results of the same images")
    matrix = np.stack([correct[name].astype(float) for name in names])
    patterns, counts = np.unique(matrix, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(matrix.shape[1], counts / matrix.shape[1], size=resamples) @ patterns.T
    ranks = stats.rankdata(-np.round(draws, 6), axis=1)
    own = stats.rankdata(-np.round(matrix.sum(1), 6))
    low, high = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(float(own[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}
