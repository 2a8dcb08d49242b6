"""Which stacks may be the best: the model confidence set (Hansen, Lunde and Nason 2011) for images and seeds.

While the stacks left are not shown to differ, they are the set; else the worst one leaves and the rest are tested again. The
set contains a truly best stack with the stated confidence, and when all stacks are equal, the chance that any of them is
left out is at most one minus that confidence. Nothing has to be corrected for the number of stacks.

The test statistic is the largest ``t`` of a stack's mean against the mean of all that are left. Its distribution when all
are equal is simulated: the images' part is normal with the covariance found in the images, the seeds' part is independent
with one variance for all stacks, which is drawn from its chi-squared distribution, because few seeds say little about it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

from harness.leaderboard.stats.inference import LEVEL

DRAWS = 4000
Key = TypeVar("Key", bound=Hashable)


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
    cube = np.stack([correct[name] for name in names]).astype(np.float32)
    generator = np.random.default_rng(seed)
    left = list(range(len(names)))
    while len(left) > 1:
        worst = _worst(cube[left], 1 - level, draws, generator)
        if worst is None:
            break
        del left[worst]
    return frozenset(names[index] for index in left)


def _worst(cube: np.ndarray, alpha: float, draws: int, generator: np.random.Generator) -> int | None:
    """The stack that is shown to be worse than the others' mean; None where none is.

    Args:
        cube: Correctness ``(stacks, seeds, images)``.
        alpha: Chance of an error when all are equal.
        draws: Of the simulation.
        generator: Of the simulation.
    """
    stacks = len(cube)
    centred = _with_doubt(cube - cube.mean(0))
    means = centred.mean((1, 2))
    per_image = centred.mean(1)
    covariance = np.atleast_2d(np.cov(per_image)) / per_image.shape[1]
    of_seeds, freedom = _seeds_variance(centred)
    share = 1 - 1 / stacks
    floor = 1e-12  # stacks that agree with the mean on every image
    observed = means / np.sqrt(np.diag(covariance) + share * of_seeds + floor)
    values = _multivariate(covariance, draws, generator)
    drawn = np.zeros(draws)
    if of_seeds > 0:
        effect = generator.normal(size=(draws, stacks)) * np.sqrt(of_seeds)
        values = values + effect - effect.mean(1, keepdims=True)
        drawn = of_seeds * generator.chisquare(freedom, draws) / freedom
    null = values / np.sqrt(np.diag(covariance) + share * drawn[:, None] + floor)
    worst = int(np.argmin(observed))
    chance = (1 + int((null.min(1) <= observed[worst]).sum())) / (1 + draws)
    return worst if chance <= alpha else None


def _with_doubt(centred: np.ndarray) -> np.ndarray:
    """For each stack one image more that it alone gets right and one that it alone gets wrong, as for two stacks."""
    stacks, seeds, _ = centred.shape
    alone = np.eye(stacks) - 1 / stacks
    extra = np.repeat(np.concatenate([alone, -alone], axis=1)[:, None], seeds, axis=1) / np.sqrt(2)
    return np.concatenate([centred, extra], axis=2)


def _seeds_variance(centred: np.ndarray) -> tuple[float, int]:
    """Variance that the seeds add to a stack's mean beyond the images', common to all stacks, and its degrees of freedom."""
    stacks, seeds, images = centred.shape
    if seeds < 2:
        return 0.0, 1
    by_seed = centred.mean(2)
    by_seed = by_seed - by_seed.mean(1, keepdims=True)
    freedom = (stacks - 1) * (seeds - 1)
    between = float((by_seed**2).sum()) / freedom
    rest = centred - centred.mean(1, keepdims=True) - centred.mean(2, keepdims=True) + centred.mean((1, 2), keepdims=True)
    within = float((rest**2).sum()) / (freedom * (images - 1) * images)
    return max(0.0, between - within) / seeds, freedom


def _multivariate(covariance: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Normal values ``(draws, stacks)``; the covariance of centred stacks is singular, so its roots are taken."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(generator.normal(size=(draws, len(values))) * np.sqrt(np.clip(values, 0, None)) @ vectors.T)
