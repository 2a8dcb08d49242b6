"""How far a leaderboard's order can be trusted: ranks with intervals, and where the spread over seeds comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe, competes
from harness.leaderboard.stats.inference import Interval, VarianceSplit, variance_split


def ranks(board: Board, network: Network) -> dict[Recipe, Interval]:
    """Ranks of the stacks that compete on a network, with 95 % intervals over images; empty without per-image results."""
    return {recipe: cell.rank for recipe, cell in _competing(board, network) if cell.rank is not None}


def split(board: Board, network: Network) -> VarianceSplit | None:
    """Where the spread over seeds comes from, over the stacks that have every seed."""
    cells = [cell for _, cell in _competing(board, network)]
    seeds = sorted({seed for cell in cells for seed in cell.seeds})
    by_seed = [dict(zip(cell.seeds, cell.top1, strict=True)) for cell in cells if len(cell.seeds) == len(seeds)]
    values = [[values[seed] for seed in seeds] for values in by_seed]
    return variance_split(np.array(values)) if values and seeds else None


def _competing(board: Board, network: Network) -> Iterator[tuple[Recipe, BoardCell]]:
    for recipe in board.recipes:
        cell = board.cells.get((recipe, network))
        if cell is not None and competes(recipe, cell):
            yield recipe, cell


def noise_markdown(board: Board) -> str:
    """Both in a few lines; empty where nothing can be said."""
    lines = [line for network in board.networks for line in _lines(board, network)]
    return "\n".join(lines)


def _lines(board: Board, network: Network) -> Iterator[str]:
    where = f" on {text.markdown(network.label)}" if len(board.networks) > 1 else ""
    found = ranks(board, network)
    if found:
        signs = {recipe: altered_sign(board.cells[recipe, network].altered) for recipe in found}
        shown = (f"{text.code(recipe.label)}{signs[recipe]} {_rank(interval)}" for recipe, interval in found.items())
        yield f"- Ranks{where} with 95 % intervals over images: {', '.join(shown)}."
    parts = split(board, network)
    if parts is not None:
        draw, own = math.sqrt(parts.calibration), math.sqrt(parts.method)
        yield (
            f"- Standard deviation over seeds{where}: {draw:.2f} points from the draw of calibration images, which all "
            f"stacks share, {own:.2f} of each stack's own ({parts.stacks} stacks, {parts.seeds} seeds)."
        )


def _rank(interval: Interval) -> str:
    return f"{interval.value:g} [{interval.low:g} to {interval.high:g}]"
