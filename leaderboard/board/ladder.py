"""What each method of a stack adds: the stack against the stack without its last step, paired over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.stats.inference import Interval, paired_over_seeds


@dataclass(frozen=True)
class Gain:
    """What one step adds.

    Attributes:
        network: On which network.
        below: The stack without the step.
        above: The stack with it.
        step: The step's name.
        differences: Top-1 with the step minus without, one per seed that both have.
        interval: Mean with Student's 95 % interval over seeds.
    """

    network: Network
    below: Recipe
    above: Recipe
    step: str
    differences: tuple[float, ...]
    interval: Interval

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the differences."""
        return float(np.std(self.differences, ddof=1)) if len(self.differences) > 1 else None

    def phrase(self) -> str:
        """``omse +0.41 ± 0.06, n=3``."""
        spread = f" ± {self.deviation:.2f}" if self.deviation is not None else ""
        return f"{self.step} {self.interval.value:+.2f}{spread}, n={len(self.differences)}"


def gains(board: Board) -> list[Gain]:
    """Every step of every stack whose shorter stack is on the board too."""
    by_methods = {recipe.methods: recipe for recipe in board.recipes if recipe.methods}
    found = (
        _gain(board, network, by_methods.get(_shorter(recipe)), recipe)
        for network in board.networks
        for recipe in sorted(board.recipes, key=lambda one: (len(_steps(one)), one.stack))
    )
    return [gain for gain in found if gain is not None]


def _steps(recipe: Recipe) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = json.loads(recipe.methods or "[]")
    return steps


def _shorter(recipe: Recipe) -> str:
    return json.dumps(_steps(recipe)[:-1], sort_keys=True)


def _gain(board: Board, network: Network, below: Recipe | None, above: Recipe) -> Gain | None:
    cells = [board.cells.get((recipe, network)) for recipe in (below, above) if recipe is not None]
    if len(cells) < 2 or cells[0] is None or cells[1] is None or below is None:
        return None
    differences = tuple(_paired(cells[0], cells[1]))
    if not differences:
        return None
    step = above.stack.removeprefix(below.stack + "+")
    return Gain(network, below, above, step, differences, paired_over_seeds(differences))


def _paired(below: BoardCell, above: BoardCell) -> Iterator[float]:
    before = dict(zip(below.seeds, below.top1, strict=True))
    for seed, value in zip(above.seeds, above.top1, strict=True):
        if seed in before:
            yield value - before[seed]


def ladder_markdown(found: Sequence[Gain], *, networks: bool) -> str:
    """The gains as a table; empty when there are none."""
    if not found:
        return ""
    headers = ["step", "on top of", *(["network"] if networks else []), "adds", "95 % over seeds", "n", "verdict"]
    lines = [
        [
            text.code(gain.step),
            text.code(gain.below.stack),
            *([text.markdown(gain.network.label)] if networks else []),
            f"{gain.interval.value:+.2f}" + (f" ± {gain.deviation:.2f}" if gain.deviation is not None else ""),
            _ends(gain.interval),
            str(len(gain.differences)),
            _verdict(gain.interval),
        ]
        for gain in found
    ]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _ends(interval: Interval) -> str:
    return "-" if np.isinf(interval.low) else f"{interval.low:+.2f} to {interval.high:+.2f}"


def _verdict(interval: Interval) -> str:
    if np.isinf(interval.low):
        return "one seed: unknown"
    return "within noise" if interval.contains(0.0) else "helps" if interval.value > 0 else "hurts"
