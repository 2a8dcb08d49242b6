"""How the pages write one cell of a leaderboard."""

from __future__ import annotations

from harness.leaderboard.board.boards import Board, Network, Recipe
from harness.leaderboard.render.tables import SIGNS


def written_cell(board: Board, recipe: Recipe, network: Network, digits: int) -> str:
    """Mean and deviation with so many digits, and the mark; a dash where nothing was measured."""
    cell = board.cells.get((recipe, network))
    if cell is None:
        return "-"
    value = f"{cell.mean:.{digits}f}" + (f" ± {cell.deviation:.{digits}f}" if cell.deviation is not None else "")
    return f"**{value}**" if cell.mark == "best" else value + SIGNS.get(cell.mark, "")
