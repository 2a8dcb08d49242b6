"""What each method of a stack adds: the stack against the stack without its last step, at the same seeds and images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.difference import Difference, difference


@dataclass(frozen=True)
class Gain:
    """What one step adds.

    Attributes:
        network: On which network.
        below: The stack without the step.
        above: The stack with it.
        step: The step's name.
        values: Top-1 with the step minus without, one per seed that both have.
        difference: Over images and seeds; None without per-image results.
        altered: How the stack with the step altered the network itself; empty where it did not.
    """

    network: Network
    below: Recipe
    above: Recipe
    step: str
    values: tuple[float, ...]
    difference: Difference | None
    altered: str = ""

    @property
    def mean(self) -> float:
        """Mean of the differences."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the differences."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def phrase(self) -> str:
        """``omse +0.41 ± 0.06, n=3``."""
        spread = f" ± {self.deviation:.2f}" if self.deviation is not None else ""
        return f"{self.step} {self.mean:+.2f}{spread}, n={len(self.values)}"


def gains(board: Board, evidence: Evidence) -> list[Gain]:
    """Every step of every stack whose shorter stack is on the board too."""
    by_methods = {(recipe.methods, recipe.identity_version): recipe for recipe in board.recipes if recipe.methods}
    found = (
        _gain(board, network, by_methods.get((_shorter(recipe), recipe.identity_version)), recipe, evidence)
        for network in board.networks
        for recipe in sorted(board.recipes, key=lambda one: (len(_steps(one)), one.stack))
    )
    return [gain for gain in found if gain is not None]


def _steps(recipe: Recipe) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = json.loads(recipe.methods or "[]")
    return steps


def _shorter(recipe: Recipe) -> str:
    return json.dumps(_steps(recipe)[:-1], sort_keys=True)


def _gain(board: Board, network: Network, below: Recipe | None, above: Recipe, evidence: Evidence) -> Gain | None:
    without = board.cells.get((below, network)) if below is not None else None
    with_it = board.cells.get((above, network))
    if below is None or without is None or with_it is None:
        return None
    seeds = [seed for seed in with_it.seeds if seed in without.seeds]
    if not seeds:
        return None
    before, after = _at(without, seeds), _at(with_it, seeds)
    values = tuple(after.top1[i] - before.top1[i] for i in range(len(seeds)))
    first, second = evidence.correct(before.ids), evidence.correct(after.ids)
    known = first is not None and second is not None and first.shape == second.shape
    found = difference(first, second) if known else None  # type: ignore[arg-type]
    return Gain(network, below, above, above.stack.removeprefix(below.stack + "+"), values, found, with_it.altered)


def _at(cell: BoardCell, seeds: Sequence[int]) -> BoardCell:
    """The part of a cell at some of its seeds."""
    places = [cell.seeds.index(seed) for seed in seeds]
    return replace(cell, ids=tuple(cell.ids[i] for i in places), top1=tuple(cell.top1[i] for i in places))


def ladder_markdown(found: Sequence[Gain], *, networks: bool) -> str:
    """The gains as a table; empty when there are none."""
    if not found:
        return ""
    headers = ["step", "on top of", *(["network"] if networks else []), "adds", "95 % interval", "seeds", "verdict"]
    lines = [
        [
            text.code(gain.step) + altered_sign(gain.altered),
            text.code(gain.below.label or gain.below.stack),
            *([text.markdown(gain.network.label)] if networks else []),
            f"{gain.mean:+.2f}" + (f" ± {gain.deviation:.2f}" if gain.deviation is not None else ""),
            _ends(gain.difference),
            str(len(gain.values)),
            verdict(gain.difference),
        ]
        for gain in found
    ]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _ends(found: Difference | None) -> str:
    return "-" if found is None else f"{found.interval.low:+.2f} to {found.interval.high:+.2f}"


def verdict(found: Difference | None) -> str:
    """What a step does, in words; None where there are no per-image results."""
    if found is None:
        return "unknown: no per-image results"
    words = {"better": "helps", "worse": "hurts", "equal": "changes no result"}.get(found.verdict, found.verdict)
    return words if found.seeds > 1 else f"{words} (one seed)"
