"""The order of methods compared with the published one, which is possible where accuracies on other images are not."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.published.matching import measured, stands_for
from harness.leaderboard.published.numbers import Accuracy, accuracies, models, same_source
from harness.leaderboard.stats.difference import difference
from harness.leaderboard.stats.inference import LEVEL, Interval
from harness.leaderboard.stats.order import drawn_accuracies, kendall

FEWEST = 3  # with fewer methods there is no order to compare
CONFIDENT = 1.96


@dataclass(frozen=True)
class Placed:
    """A method with its published and its measured accuracy.

    Attributes:
        method: As its authors call it.
        published: Median over the sources.
        sources: Number of published values.
        stack: Ours, with its settings.
        here: Mean over seeds.
        error: Binomial standard error of ours.
        correct: Per-image results ``(seeds, images)``; None without them.
        seeds: The seeds.
        altered: How our stack altered the network itself; empty where it did not.
    """

    method: str
    published: float
    sources: int
    stack: str
    here: float
    error: float
    correct: np.ndarray | None = field(default=None, compare=False, repr=False)
    seeds: tuple[int, ...] = ()
    altered: str = ""


@dataclass(frozen=True)
class Reversal:
    """Two methods whose order differs from the published one.

    Attributes:
        better: The method that is better as published.
        worse: The method that is worse as published and better here.
        ahead: Its lead here in points, with a 95 % interval.
    """

    better: Placed
    worse: Placed
    ahead: Interval

    @property
    def shown(self) -> bool:
        """Whether the difference here is more than noise."""
        return self.ahead.low > 0


@dataclass(frozen=True)
class Ordering:
    """Methods of one network and bit-width.

    Attributes:
        title: Network and board.
        placed: Best published first.
        departs: How the weights depart from the published ones; empty where they do not.
    """

    title: str
    placed: tuple[Placed, ...]
    departs: str = ""

    @property
    def tau(self) -> float:
        """Kendall's tau between both orders: 1 for the same, -1 for the reverse, 0 where one side has no order."""
        return float(kendall(self._published, np.array([one.here for one in self.placed])))

    @cached_property
    def interval(self) -> Interval:
        """Its 95 % interval over images and seeds."""
        drawn = kendall(self._published, drawn_accuracies(self.placed))
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(self.tau, float(low), float(high))

    @property
    def _published(self) -> np.ndarray:
        return np.array([one.published for one in self.placed])

    @property
    def reversed(self) -> Iterator[Reversal]:
        """Pairs whose order differs from the published one."""
        for better, worse in itertools.combinations(self.placed, 2):
            if better.published > worse.published and better.here < worse.here:
                yield Reversal(better, worse, _ahead(better, worse))


def _ahead(better: Placed, worse: Placed) -> Interval:
    """The lead over common images and seeds, or with two independent binomial errors without per-image results."""
    alike = better.seeds == worse.seeds
    if alike and better.correct is not None and worse.correct is not None and better.correct.shape == worse.correct.shape:
        return difference(better.correct, worse.correct).interval
    lead, noise = worse.here - better.here, CONFIDENT * math.hypot(better.error, worse.error)
    return Interval(lead, lead - noise, lead + noise)


def orderings(boards: Sequence[Board], evidence: Evidence) -> list[Ordering]:
    """One for each network and bit-width with at least three methods whose published numbers put them in an order."""
    found = [_ordering(board, network, evidence) for board in boards for network in board.networks]
    return [one for one in found if len(one.placed) >= FEWEST and len({p.published for p in one.placed}) > 1]


def _ordering(board: Board, network: Network, evidence: Evidence) -> Ordering:
    """Each published method once, by the row that stands for its experiment."""
    rows = measured(board, network)
    numbers: dict[Recipe, list[Accuracy]] = {}
    for one in accuracies():
        if one.bits != board.bits or models().get(one.model) != network.published.name or not same_source(one.method, board):
            continue
        recipe = stands_for(one.ours, rows) if one.ours else None
        if recipe is not None:
            numbers.setdefault(recipe, []).append(one)
    placed = [_placed(found, recipe, board.cells[recipe, network], board, evidence) for recipe, found in numbers.items()]
    ordered = sorted(placed, key=lambda one: (-one.published, one.stack))
    return Ordering(f"{network.label}, {board.title}", tuple(ordered), network.published.departs)


def _placed(found: Sequence[Accuracy], recipe: Recipe, cell: BoardCell, board: Board, evidence: Evidence) -> Placed:
    share, images = cell.mean / 100, (board.images or 1) * len(cell.top1)
    return Placed(
        method=" / ".join(dict.fromkeys(one.method for one in found)),
        published=statistics.median(one.top1 for one in found),
        sources=len(found),
        stack=recipe.label,
        here=cell.mean,
        error=100 * math.sqrt(max(share * (1 - share), 1 / images) / images),
        correct=evidence.correct(cell.ids),
        seeds=cell.seeds,
        altered=cell.altered,
    )


def ordering_markdown(found: Sequence[Ordering]) -> str:
    """Each order as a table with Kendall's tau and the reversed pairs; empty for none."""
    return "\n\n".join(map(_markdown, found))


def _markdown(one: Ordering) -> str:
    headers = ("published as", "published", "here", "stack")
    lines = [
        [
            text.markdown(p.method),
            f"{p.published:.2f}",
            f"{p.here:.2f} ± {p.error:.2f}",
            text.code(p.stack) + altered_sign(p.altered),
        ]
        for p in one.placed
    ]
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    pairs = [
        f"{text.markdown(pair.worse.method)} before {text.markdown(pair.better.method)} by {pair.ahead.value:.2f} "
        f"({pair.ahead.low:.1f} to {pair.ahead.high:.1f}{'' if pair.shown else ': noise'})"
        for pair in one.reversed
    ]
    weights = f"; weights: {text.markdown(one.departs)}" if one.departs else ""
    ends = f"{one.interval.low:.2f} to {one.interval.high:.2f}"
    return (
        f"**{text.markdown(one.title)}**: Kendall's tau {one.tau:.2f} over {len(one.placed)} methods, 95 % interval over "
        f"images and seeds {ends} (published: median over sources; settings of effort and images differ{weights}; "
        f"± binomial standard error)\n\n{table}\n\n"
        f"Other order here, in points with 95 % intervals over images and seeds: {'; '.join(pairs) or 'none'}."
    )
