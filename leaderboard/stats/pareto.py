"""The Pareto front of cost against accuracy, under the uncertainty of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SURE = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Point:
    """One stack on one network.

    Attributes:
        label: The stack.
        cost: Seconds, bytes or bit-operations; one value per seed.
        top1: Accuracy in percent; one value per seed.
        correct: Per-image correctness, mean over seeds, ``(n,)``; None where unknown.
    """

    label: str
    cost: tuple[float, ...]
    top1: tuple[float, ...]
    correct: np.ndarray | None = None


@dataclass(frozen=True)
class Standing:
    """Where a point stands.

    Attributes:
        point: The point.
        status: ``front``, ``dominated`` or ``undecided``.
        share: Share of draws in which it is on the front.
        on_front: Whether it is on the front of the mean values.
    """

    point: Point
    status: str
    share: float
    on_front: bool


def on_front(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Which points no other dominates, along the last axis.

    A point is dominated when another costs no more and is at least as accurate, and is better in one of the two. Equal
    points do not dominate each other.

    Args:
        cost: ``(..., points)``.
        accuracy: ``(..., points)``.
    """
    order = np.lexsort((-accuracy, cost), axis=-1)  # cheapest first, of equal cost the most accurate first
    cost, accuracy = np.take_along_axis(cost, order, -1), np.take_along_axis(accuracy, order, -1)
    best = np.maximum.accumulate(accuracy, axis=-1)
    first = np.concatenate([np.ones_like(cost[..., :1], bool), cost[..., 1:] > cost[..., :-1]], axis=-1)
    start = np.maximum.accumulate(np.where(first, np.arange(cost.shape[-1]), 0), axis=-1)  # of the points of equal cost
    before = np.take_along_axis(np.concatenate([np.full(best[..., :1].shape, -np.inf), best], axis=-1), start, -1)
    kept = (accuracy > before) & (accuracy == np.take_along_axis(accuracy, start, -1))
    front: np.ndarray = np.empty_like(kept)
    np.put_along_axis(front, order, kept, -1)
    return front


def standings(points: Sequence[Point], draws: int = DRAWS, seed: int = 0) -> list[Standing]:
    """Status of every point from joint draws: images are resampled for all points together, costs over seeds.

    A point is on the front (dominated) when it is so in at least 95 % of the draws, and undecided between. Without
    per-image results accuracies are resampled over seeds only.
    """
    if not points:
        return []
    generator = np.random.default_rng(seed)
    cost = np.stack([_resampled(point.cost, draws, generator) for point in points], axis=1)
    accuracy = _accuracies(points, draws, generator)
    shares = on_front(cost, np.round(accuracy, 9)).mean(0)
    means = on_front(
        np.array([np.mean(point.cost) for point in points]), np.array([np.mean(point.top1) for point in points])
    )
    return [
        Standing(point, _status(share), float(share), bool(front))
        for point, share, front in zip(points, shares, means, strict=True)
    ]


def _status(share: float) -> str:
    return "front" if share >= SURE else "dominated" if share <= 1 - SURE else "undecided"


def _resampled(values: tuple[float, ...], draws: int, generator: np.random.Generator) -> np.ndarray:
    """Means of resampled values, ``(draws,)``."""
    chosen = generator.integers(len(values), size=(draws, len(values)))
    means: np.ndarray = np.asarray(values)[chosen].mean(1)
    return means


def _accuracies(points: Sequence[Point], draws: int, generator: np.random.Generator) -> np.ndarray:
    """Accuracies in percent, ``(draws, points)``."""
    known = [point.correct for point in points if point.correct is not None]
    if len(known) < len(points) or len({one.shape for one in known}) > 1:
        return np.stack([_resampled(point.top1, draws, generator) for point in points], axis=1)
    patterns, counts = np.unique(np.stack(known).astype(float), axis=1, return_counts=True)
    images = int(counts.sum())
    drawn: np.ndarray = generator.multinomial(images, counts / images, size=draws) @ patterns.T * (100 / images)
    return drawn
