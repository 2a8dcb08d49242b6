"""Pareto fronts of the page: where each cell stands in cost against accuracy.

Quantization takes about as long at every bit-width, so times are compared within a board; sizes, latencies and
bit-operations are what a lower bit-width buys, so those are compared across the bit-widths of a setting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe, takes_part
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.points import point_of
from harness.leaderboard.render.page_catalog import Catalog
from harness.leaderboard.stats.pareto import DRAWS, standings

MOST_PAIRS = 20_000_000  # pairs of points over all draws: more points get fewer draws
FEWEST_DRAWS = 200
COSTS = {
    "seconds": "seconds", "size": "size_bytes", "bitops": "bit_operations", "latency": "latency", "disk": "disk_bytes",
}  # as rows of lists call them  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A cell that takes part.

    Attributes:
        board: Its board.
        recipe: Its row.
        cell: The cell.
    """

    board: Board
    recipe: Recipe
    cell: BoardCell


def fronts(boards: Sequence[Board], evidence: Evidence, catalog: Catalog) -> Iterator[dict[str, Any]]:
    """One for each network, setting, cost and hardware; for times also for each bit-width."""
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for board in boards:
        for (recipe, network), cell in board.cells.items():
            if takes_part(recipe, cell):
                for group in _groups(board, network, cell, catalog):
                    groups.setdefault(group, []).append(Candidate(board, recipe, cell))
    for (network, setting, cost, bits, device), members in groups.items():
        found = _front(members, COSTS[cost], evidence, catalog)
        yield {"network": network, "setting": setting, "cost": cost, "bits": bits, "device": device, **found}


def _groups(board: Board, network: Network, cell: BoardCell, catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    where = (catalog.networks.number(network), catalog.settings.number(board))
    for cost, attribute in COSTS.items():
        if not math.isfinite(getattr(cell, attribute)):
            continue
        on = {"seconds": cell.device, "latency": cell.latency_on}.get(cost)
        bits = board.bits if cost == "seconds" else ""
        yield (*where, cost, bits, None if on is None else catalog.texts.number(on))


def _front(members: list[Candidate], cost: str, evidence: Evidence, catalog: Catalog) -> dict[str, Any]:
    draws = max(FEWEST_DRAWS, min(DRAWS, MOST_PAIRS // len(members) ** 2))
    found = standings([point_of(one.recipe, one.cell, cost, evidence) for one in members], draws)
    return {
        "points": [
            [catalog.stacks.number(one.recipe), one.board.bits, standing.status, round(standing.share, 3), standing.on_front]
            for one, standing in zip(members, found, strict=True)
        ],
        "draws": draws,
    }
