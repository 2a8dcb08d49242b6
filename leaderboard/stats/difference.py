"""Means and differences of accuracy with images and seeds both as sources of variance: the one rule behind every verdict.

Every seed is evaluated on the same images, so a table ``x[seed, image]`` has an effect of the image, one of the seed and a
rest. With the mean squares of that two-way table, the variance of its mean over ``S`` seeds and ``N`` images is estimated
by ``MS_images / (S N)``, which includes the rest, plus ``max(0, MS_seeds - MS_rest) / (S N)``. The interval gives each
source its own quantile, a modified large-sample interval (Burdick and Graybill 1992): the squared half-width is ``z**2``
times the images' part plus ``t**2`` with ``S - 1`` degrees of freedom times the seeds' part. ``benchmarks/verdicts.py``
measures the coverage. Satterthwaite's degrees of freedom were tried and cover less where seeds matter.

Few images on which two stacks differ make the variance look smaller than it is. One image for and one image against are
therefore added to a table of differences before its interval is computed (Bonett and Price 2012); the estimate itself is the
plain mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.leaderboard.stats.inference import LEVEL, Interval


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, in points of accuracy.

    Attributes:
        interval: The mean and its interval. With one seed it says nothing about other draws of calibration images.
        from_images: Standard error that comes from the images.
        from_seeds: Standard error that comes from the seeds; None for one seed.
        seeds: Number of seeds.
    """

    interval: Interval
    from_images: float
    from_seeds: float | None
    seeds: int


@dataclass(frozen=True)
class Difference(Estimate):
    """Second minus first.

    Attributes:
        discordant: On how many images, counted over all seeds, only one of the two is right.
    """

    discordant: int

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` (the second than the first), ``within noise``, or ``equal`` on every image."""
        if not self.discordant:
            return "equal"
        if self.interval.contains(0.0):
            return "within noise"
        return "better" if self.interval.value > 0 else "worse"


def estimate(table: np.ndarray, level: float = LEVEL) -> Estimate:
    """Mean of a table in percent.

    Args:
        table: ``(seeds, images)``: correctness, or differences of correctness.
        level: Of the interval.

    Raises:
        ValueError: It has no two images.
    """
    if table.ndim != 2 or table.shape[1] < 2 or not len(table):
        raise ValueError(f"expected results of at least one seed and two images, got shape {table.shape}")
    values = table.astype(float)
    images, seeds = (100**2 * part for part in _variances(values))
    mean, many = 100 * float(values.mean()), len(values) > 1
    quantile = float(stats.norm.ppf((1 + level) / 2))
    of_seeds = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) if many else 0.0
    half = math.sqrt(quantile**2 * images + of_seeds**2 * seeds)
    interval = Interval(mean, mean - half, mean + half)
    return Estimate(interval, math.sqrt(images), math.sqrt(seeds) if many else None, len(values))


def _variances(table: np.ndarray) -> tuple[float, float]:
    """What images (with the rest) and what seeds contribute to the variance of the mean of a table."""
    seeds, images = table.shape
    mean = table.mean()
    of_images = seeds * float(((table.mean(0) - mean) ** 2).sum()) / (images - 1)
    if seeds < 2:
        return of_images / table.size, 0.0
    of_seeds = images * float(((table.mean(1) - mean) ** 2).sum()) / (seeds - 1)
    whole = float(((table - mean) ** 2).sum())
    rest = (whole - (images - 1) * of_images - (seeds - 1) * of_seeds) / ((seeds - 1) * (images - 1))
    return of_images / table.size, max(0.0, of_seeds - max(0.0, rest)) / table.size


def difference(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Difference:
    """How much better the second is.

    Args:
        first: Correctness ``(seeds, images)``, boolean.
        second: Likewise, at the same seeds on the same images.
        level: Of the interval.

    Raises:
        ValueError: The shapes differ, or there is nothing.
    """
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise ValueError(f"expected results of the same seeds and images, got shapes {first.shape} and {second.shape}")
    table = second.astype(float) - first.astype(float)
    value = 100 * float(table.mean())
    discordant = int(np.abs(table).sum())
    if not discordant:
        return Difference(Interval(value, value, value), 0.0, 0.0 if len(table) > 1 else None, len(table), 0)
    both = np.tile([1.0, -1.0], (len(table), 1))
    found = estimate(np.concatenate([table, both], axis=1), level)
    interval = Interval(value, found.interval.low, found.interval.high)
    return Difference(interval, found.from_images, found.from_seeds, found.seeds, discordant)
