"""Two runs against each other: rounds of both in random order, the median of their ratios, and how sure it is.

A machine that slows down slows both runs of a round, so the ratio of a round holds where times alone do not. Which of them
comes first is drawn anew in every round: what the first leaves in the caches must not always help the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.stats import binom

CONFIDENCE = 0.95
LEAST_SECONDS = 0.005  # of one sample: shorter ones measure the clock and the caller
MOST_REPEATS = 10_000
Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Compared:
    """Times of two runs.

    Attributes:
        first: Median seconds of one first run.
        second: Of one second run.
        ratio: Median over rounds of second over first.
        low: Lower end of its 95 % interval.
        high: Upper end.
        rounds: How many.
        repeats: Runs of each in a round.
    """

    first: float
    second: float
    ratio: float
    low: float
    high: float
    rounds: int
    repeats: int


def compare(first: Work, second: Work, rounds: int, warm_up: int, seed: int, clock: Clock) -> Compared:
    """Time two runs in interleaved rounds.

    Args:
        first: One run.
        second: The other.
        rounds: How many rounds count.
        warm_up: Rounds before, which do not.
        seed: Draws the order.
        clock: Seconds from some moment on.
    """
    for _ in range(warm_up):
        first(), second()
    repeats = repeats_for(min(sample(first, 1, clock), sample(second, 1, clock)))
    pairs = interleaved(first, second, rounds, repeats, seed, clock)
    ratio, low, high = median_interval([b / a for a, b in pairs])
    firsts, seconds = zip(*pairs, strict=True)
    return Compared(median(firsts), median(seconds), ratio, low, high, rounds, repeats)


def interleaved(first: Work, second: Work, rounds: int, repeats: int, seed: int, clock: Clock) -> list[tuple[float, float]]:
    """Seconds of one run of each, by round; who begins a round is drawn."""
    begins = np.random.default_rng(seed).integers(2, size=rounds)
    pairs = []
    for turned in begins:
        if turned:
            second_time = sample(second, repeats, clock)
            pairs.append((sample(first, repeats, clock), second_time))
        else:
            pairs.append((sample(first, repeats, clock), sample(second, repeats, clock)))
    return pairs


def sample(work: Work, repeats: int, clock: Clock) -> float:
    """Seconds of one run, mean of some. Never 0: a clock that did not move says only that it was less than it can tell."""
    started = clock()
    for _ in range(repeats):
        work()
    return max(clock() - started, 1e-9) / repeats


def repeats_for(seconds: float) -> int:
    """How many runs a sample needs to be long enough for the clock."""
    return max(1, min(MOST_REPEATS, math.ceil(LEAST_SECONDS / seconds)))


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The median and its interval by order statistics, which assumes no distribution.

    The interval of ``n`` values is from the ``k``-th smallest to the ``k``-th largest, with the largest ``k`` for which a
    fair coin shows fewer than ``k`` heads in ``n`` throws with at most half of the remaining probability. Below six values
    it is all of them, and less sure than asked for.

    Args:
        values: At least one.
        confidence: Probability that the interval holds the true median.

    Returns:
        Median, lower end, upper end.
    """
    ordered = sorted(values)
    place = max(0, int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5)) - 1)
    return median(ordered), ordered[place], ordered[len(ordered) - 1 - place]
