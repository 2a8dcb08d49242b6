"""The order of methods compared with the published one, which is possible where accuracies on other images are not."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import kendalltau
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.boards import Board, BoardCell, Network
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.published.numbers import STACKS, accuracies, models, same_source
from harness.leaderboard.stats.difference import difference
from harness.leaderboard.stats.inference import Interval
from harness.text import split_outside

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
    """

    method: str
    published: float
    sources: int
    stack: str
    here: float
    error: float
    correct: np.ndarray | None = field(default=None, compare=False, repr=False)


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
    """

    title: str
    placed: tuple[Placed, ...]

    @property
    def tau(self) -> float:
        """Kendall's tau between both orders: 1 for the same, -1 for the reverse; NaN where all are equal."""
        tau, _ = kendalltau([one.published for one in self.placed], [one.here for one in self.placed])
        return float(tau)

    @property
    def reversed(self) -> Iterator[Reversal]:
        """Pairs whose order differs from the published one."""
        for better, worse in itertools.combinations(self.placed, 2):
            if better.published > worse.published and better.here < worse.here:
                yield Reversal(better, worse, _ahead(better, worse))


def _ahead(better: Placed, worse: Placed) -> Interval:
    """The lead over common images and seeds, or with two independent binomial errors without per-image results."""
    if better.correct is not None and worse.correct is not None and better.correct.shape == worse.correct.shape:
        return difference(better.correct, worse.correct).interval
    lead, noise = worse.here - better.here, CONFIDENT * math.hypot(better.error, worse.error)
    return Interval(lead, lead - noise, lead + noise)


def orderings(boards: Sequence[Board], evidence: Evidence) -> list[Ordering]:
    """One for each network and bit-width with at least three methods that have published numbers."""
    found = [_ordering(board, network, evidence) for board in boards for network in board.networks]
    return [one for one in found if len(one.placed) >= FEWEST]


def _ordering(board: Board, network: Network, evidence: Evidence) -> Ordering:
    placed = []
    for (recipe, other), cell in board.cells.items():
        methods = [
            name for name, stack in STACKS.items() if _names(stack) == _names(recipe.stack) and same_source(name, board)
        ]
        values = [
            one.top1
            for one in accuracies()
            if one.method in methods and one.bits == board.bits and models().get(one.model) == network.model
        ]
        if other == network and values:
            placed.append(_placed(methods, values, recipe.label, cell, board, evidence))
    return Ordering(f"{network.label}, {board.title}", tuple(sorted(placed, key=lambda one: -one.published)))


def _placed(
    methods: list[str], values: list[float], stack: str, cell: BoardCell, board: Board, evidence: Evidence
) -> Placed:
    share, images = cell.mean / 100, (board.images or 1) * len(cell.top1)
    error = 100 * math.sqrt(max(share * (1 - share), 1 / images) / images)
    return Placed(
        " / ".join(methods), statistics.median(values), len(values), stack, cell.mean, error, evidence.correct(cell.ids)
    )


def _names(stack: str) -> tuple[str, ...]:
    """The methods of a stack without settings, most of which control effort; ``sequential`` changes the method and stays."""
    return tuple(re.sub(r"\((?!sequential).*\)$", "", step) for step in split_outside(stack, "+"))


def ordering_markdown(found: Sequence[Ordering]) -> str:
    """Each order as a table with Kendall's tau and the reversed pairs; empty for none."""
    return "\n\n".join(map(_markdown, found))


def _markdown(one: Ordering) -> str:
    headers = ("published as", "published", "here", "stack")
    lines = [
        [text.markdown(p.method), f"{p.published:.2f}", f"{p.here:.2f} ± {p.error:.2f}", text.code(p.stack)]
        for p in one.placed
    ]
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    pairs = [
        f"{text.markdown(pair.worse.method)} before {text.markdown(pair.better.method)} by {pair.ahead.value:.2f} "
        f"({pair.ahead.low:.1f} to {pair.ahead.high:.1f}{'' if pair.shown else ': noise'})"
        for pair in one.reversed
    ]
    return (
        f"**{text.markdown(one.title)}**: Kendall's tau {one.tau:.2f} over {len(one.placed)} methods "
        f"(published: median over sources; settings of effort and images differ; ± binomial standard error)\n\n{table}\n\n"
        f"Other order here, in points with 95 % intervals over images and seeds: {'; '.join(pairs) or 'none'}."
    )
