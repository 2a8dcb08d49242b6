"""Cells as points of cost against accuracy, for the front of pictures and of the page."""

from __future__ import annotations

from harness.leaderboard.board.boards import BoardCell, Recipe
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.pareto import Point


def point_of(recipe: Recipe, cell: BoardCell, cost: str, evidence: Evidence) -> Point:
    """Where a cell stands.

    Args:
        recipe: Its row.
        cell: The cell.
        cost: ``seconds``, ``size_bytes``, ``bit_operations``, ``latency`` or ``disk_bytes``.
        evidence: Per-image results.
    """
    by_seed = {"seconds": cell.seconds_by_seed, "latency": cell.latency_by_seed}
    costs = by_seed.get(cost) or (float(getattr(cell, cost)),)
    correct = evidence.correct(cell.ids)
    return Point(recipe.label, costs, cell.top1, None if correct is None else correct.mean(0))
