"""Which times were measured on a busy machine: said wherever times are shown, because such times say little."""

from __future__ import annotations

from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.trial.record import BUSY

MOST_NAMED = 8  # rows in a note


def busy_cells(board: Board) -> list[tuple[Recipe, Network, BoardCell]]:
    """The cells whose times were measured on a busy machine, in the order of the table."""
    return [
        (recipe, network, board.cells[recipe, network])
        for recipe in board.recipes
        for network in board.networks
        if (recipe, network) in board.cells and board.cells[recipe, network].busy
    ]


def busy_note(board: Board) -> str:
    """A line that names them with the load per core; empty where there are none."""
    found = busy_cells(board)
    if not found:
        return ""
    several = len(board.networks) > 1
    named = [
        recipe.label + (f" on {network.label}" if several else "") + f" ({cell.load:.1f})"
        for recipe, network, cell in found[:MOST_NAMED]
    ]
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"Times measured on a busy machine (load per core above {BUSY}): {', '.join(named)}{more}."
