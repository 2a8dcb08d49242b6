"""Which stacks may be the best: the model confidence set (Hansen, Lunde and Nason 2011) for images and seeds.

While no two of the stacks left are shown to differ, they are the set; else the worse one of the pair that differs most
leaves, and the rest are tested again. The set contains a truly best stack with the stated confidence. If all stacks are
equal, the chance that any of them is left out is at most one minus that confidence; the number of stacks needs no
correction.

The test statistic is the largest ``t`` of a difference between two stacks, the range statistic of the paper: stacks that
share most of their errors are told apart by small differences. Its distribution when all are equal is simulated: the
images' part is normal with the covariance found in the images; the seeds' part is independent with one variance for all
stacks, which is drawn from its chi-squared distribution, because few seeds say little about it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from harness.leaderboard.stats.inference import LEVEL

DRAWS = 4000
SMALL = 1e-12  # stacks that agree on every image
Key = TypeVar("Key", bound=Hashable)


class Draws(NamedTuple):
    """What differences look like, and what they would look like if all stacks were equal.

    Attributes:
        means: Accuracy of each stack less the mean of all ``(stacks,)``.
        covariance: Of the means by images ``(stacks, stacks)``.
        of_seeds: Variance of a mean by seeds.
        values: Drawn means of equal stacks ``(draws, stacks)``.
        drawn: Drawn variance by seeds ``(draws,)``.
    """

    means: np.ndarray
    covariance: np.ndarray
    of_seeds: float
    values: np.ndarray
    drawn: np.ndarray

    def of(self, left: list[int]) -> Draws:
        """Only some of the stacks."""
        return self._replace(
            means=self.means[left], covariance=self.covariance[np.ix_(left, left)], values=self.values[:, left]
        )


def best_set(correct: Mapping[Key, np.ndarray], level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> frozenset[Key]:
    """The stacks that are not shown to be worse than the best.

    Args:
        correct: Per stack correctness ``(seeds, images)``: the same seeds and images for all.
        level: Confidence that a truly best stack is in the set.
        draws: Of the simulation.
        seed: Of the simulation.

    Raises:
        ValueError: The shapes differ, or there are no stacks.
    """
    if len({one.shape for one in correct.values()}) != 1:
        raise ValueError("expected results of the same seeds and images for every stack")
    names = list(correct)
    everything = _drawn(np.stack([correct[name] for name in names]).astype(np.float32), draws, np.random.default_rng(seed))
    left = list(range(len(names)))
    while len(left) > 1:
        worst = _worst(everything.of(left), 1 - level)
        if worst is None:
            break
        del left[worst]
    return frozenset(names[index] for index in left)


def _worst(given: Draws, alpha: float) -> int | None:
    """The worse stack of the pair that differs most; None where the largest ``t`` is no larger than that of equal stacks.

    Args:
        given: The stacks.
        alpha: Chance of an error when all are equal.
    """
    largest = np.zeros(len(given.values))
    found, worst = 0.0, 0
    variance = np.diag(given.covariance)
    for index in range(1, len(given.means)):
        by_images = variance[index] + variance[:index] - 2 * given.covariance[index, :index]
        apart = given.means[index] - given.means[:index]
        observed = np.abs(apart) / np.sqrt(np.maximum(by_images, 0) + 2 * given.of_seeds + SMALL)
        place = int(np.argmax(observed))
        if observed[place] > found:
            found, worst = float(observed[place]), index if apart[place] < 0 else place
        drawn = np.abs(given.values[:, index, None] - given.values[:, :index])
        drawn /= np.sqrt(np.maximum(by_images, 0) + 2 * given.drawn[:, None] + SMALL)
        largest = np.maximum(largest, drawn.max(1))
    chance = (1 + int((largest >= found).sum())) / (1 + len(largest))
    return worst if chance <= alpha else None


def _drawn(cube: np.ndarray, draws: int, generator: np.random.Generator) -> Draws:
    """Simulate equal stacks.

    Args:
        cube: Correctness ``(stacks, seeds, images)``.
        draws: Their number.
        generator: Of the simulation.
    """
    centred = _with_doubt(cube - cube.mean(0))
    per_image = centred.mean(1)
    covariance = np.atleast_2d(np.cov(per_image)) / per_image.shape[1]
    of_seeds, freedom = _seeds_variance(centred)
    values = _normal(covariance, draws, generator) + generator.normal(size=(draws, len(cube))) * np.sqrt(of_seeds)
    drawn = of_seeds * generator.chisquare(max(1, freedom), draws) / max(1, freedom)
    return Draws(per_image.mean(1), covariance, of_seeds, values, drawn)


def _with_doubt(centred: np.ndarray) -> np.ndarray:
    """For each stack one image more that it alone gets right and one that it alone gets wrong, as for two stacks."""
    stacks, seeds, _ = centred.shape
    alone = np.eye(stacks) - 1 / stacks
    extra = np.repeat(np.concatenate([alone, -alone], axis=1)[:, None], seeds, axis=1) / np.sqrt(2)
    return np.concatenate([centred, extra], axis=2)


def _seeds_variance(centred: np.ndarray) -> tuple[float, int]:
    """Variance that the seeds add to a stack's mean beyond the images', common to all stacks, and its degrees of freedom."""
    stacks, seeds, images = centred.shape
    freedom = (stacks - 1) * (seeds - 1)
    if not freedom:
        return 0.0, 0
    by_seed = centred.mean(2)
    by_seed = by_seed - by_seed.mean(1, keepdims=True)
    between = float((by_seed**2).sum()) / freedom
    rest = centred - centred.mean(1, keepdims=True) - centred.mean(2, keepdims=True) + centred.mean((1, 2), keepdims=True)
    within = float((rest**2).sum()) / (freedom * (images - 1) * images)
    return max(0.0, between - within) / seeds, freedom


def _normal(covariance: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Normal values ``(draws, stacks)``; the covariance of centred stacks is singular, so its roots are taken."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(generator.normal(size=(draws, len(values))) * np.sqrt(np.clip(values, 0, None)) @ vectors.T)
