"""How far two orders agree, and how sure that is: Kendall's tau under draws of images and seeds. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

DRAWS = 1000
AT_ONCE = 50  # draws; each needs a count per distinct pattern of results


class Results(Protocol):
    """What was measured of one method."""

    @property
    def here(self) -> float:
        """Accuracy in percent."""

    @property
    def error(self) -> float:
        """Its standard error, for where there are no per-image results."""

    @property
    def correct(self) -> np.ndarray | None:
        """Per-image results ``(seeds, images)``."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b (Kendall 1945) along the last axis; 0 where one side has no order at all.

    Args:
        first: ``(methods,)``.
        second: ``(..., methods)``.
    """
    one = np.sign(first[:, None] - first[None, :])
    other = np.sign(second[..., :, None] - second[..., None, :])
    agreed = np.asarray((one * other).sum((-2, -1)), dtype=float)
    pairs = np.sqrt((one**2).sum() * (other**2).sum((-2, -1)))
    return np.asarray(np.divide(agreed, pairs, out=np.zeros_like(agreed), where=pairs > 0))


def drawn_accuracies(methods: Sequence[Results], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Accuracies ``(draws, methods)`` as other images and other seeds would give them.

    Images are resampled for all methods together, seeds too where all have the same. Where a method has no per-image
    results all accuracies are drawn by their standard errors.

    Args:
        methods: What was measured, on the same images.
        draws: Their number.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    known = [one.correct for one in methods if one.correct is not None]
    if len(known) < len(methods) or len({one.shape[1] for one in known}) > 1:
        centre, error = np.array([one.here for one in methods]), np.array([one.error for one in methods])
        return np.asarray(generator.normal(centre, error, size=(draws, len(methods))))
    by_seed = np.concatenate(list(_resampled_images(np.concatenate(known), draws, generator)))
    together = len({one.seeds for one in methods}) == 1
    shared = generator.integers(len(known[0]), size=(draws, len(known[0])))
    found, start = [], 0
    for one in known:
        chosen = shared if together else generator.integers(len(one), size=(draws, len(one)))
        found.append(np.take_along_axis(by_seed[:, start : start + len(one)], chosen, axis=1).mean(1))
        start += len(one)
    return np.round(np.stack(found, axis=1), 9)


def _resampled_images(results: np.ndarray, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Accuracies in percent ``(draws, rows)`` in parts; ``results`` is ``(rows, images)``."""
    patterns, counts = np.unique(results.astype(np.float32), axis=1, return_counts=True)
    images = int(counts.sum())
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        yield generator.multinomial(images, counts / images, size=size) @ patterns.T * (100 / images)
