"""What the pages say of the peers: every stack beside RepQ-ViT on the same images, and stacks with and without rotation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tabulate import tabulate

from benchmarks.pages.cells import written_cell
from benchmarks.pages.photographs import networks_of, short
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.difference import difference

BASE = "repqvit"
TURNED = "rotate+"
VALUES = ("fqvit", "fqvit+groupwise")  # stacks that quantize every value, of the experiment rotated_values


def peers(found: Sequence[Board], evidence: Evidence) -> str:
    """Stacks of one network by bit-widths, the best mean first, each beside RepQ-ViT."""
    (network,) = {network for board in found for network in board.networks}
    lines = [_line(recipe, found, network, evidence) for recipe in ordered(found, network)]
    headers = ["stack", *(name for board in found for name in (board.bits, f"to `{BASE}`")), "seconds"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def ordered(found: Sequence[Board], network: Network) -> list[Recipe]:
    """Rows that every board has, the best mean over the boards first."""
    common = set.intersection(*({recipe for recipe, other in board.cells if other == network} for board in found))
    return sorted(common, key=lambda one: (-sum(board.cells[one, network].mean for board in found), one.label))


def learned(found: Sequence[Board], evidence: Evidence) -> str:
    """Reconstructions by networks and bit-widths, each beside RepQ-ViT, which they start from; the best mean gain first."""
    columns = [
        (board, network)
        for network in networks_of(found)
        for board in found
        if any(learns(recipe) for recipe, other in board.cells if other == network)
    ]
    rows = dict.fromkeys(recipe for board, _ in columns for recipe in board.recipes if learns(recipe))
    ordered = sorted(rows, key=lambda recipe: (-_mean_gain(recipe, columns), recipe.label))
    base = [f"{cell.mean:.1f}" if (cell := _named(board, BASE, network)) else "-" for board, network in columns]
    lines = [[f"`{BASE}`", *base]]
    for recipe in ordered:
        cells = [_beside(board, recipe, network, evidence) for board, network in columns]
        lines.append([f"`{recipe.label}`{_sign(recipe, columns)}", *cells])
    headers = ["stack", *(f"{short(network)} {board.bits}" for board, network in columns)]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True) if columns else "Not measured yet."


def learns(recipe: Recipe) -> bool:
    """Whether a stack learns by steps, as its name says."""
    return "iterations=" in recipe.stack or "preset=short" in recipe.stack


def _mean_gain(recipe: Recipe, columns: Sequence[tuple[Board, Network]]) -> float:
    """Over RepQ-ViT, over the columns that have both."""
    gains = [
        cell.mean - base.mean
        for board, network in columns
        if (cell := board.cells.get((recipe, network))) and (base := _named(board, BASE, network))
    ]
    return sum(gains) / len(gains) if gains else 0.0


def _beside(board: Board, recipe: Recipe, network: Network, evidence: Evidence) -> str:
    cell = board.cells.get((recipe, network))
    return "-" if cell is None else f"{cell.mean:.1f}, {_gain(_named(board, BASE, network), cell, evidence)}"


def _sign(recipe: Recipe, columns: Sequence[tuple[Board, Network]]) -> str:
    """Of an altered network."""
    found = [cell for board, network in columns if (cell := board.cells.get((recipe, network)))]
    return altered_sign(found[0].altered) if found else ""


def turned(found: Sequence[Board], evidence: Evidence) -> str:
    """Stacks behind ``rotate`` beside themselves without it."""
    lines = list(_pairs(found, evidence, lambda recipe: _unturned(recipe.stack)))
    headers = ["network", "bits", "stack", "without", "top-1", "by rotation"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True) if lines else "Not measured yet."


def turned_values(found: Sequence[Board], evidence: Evidence) -> str:
    """Rotations before ``fqvit`` and ``fqvit+groupwise`` where both were measured, each beside ``fqvit``."""
    lines = []
    for board, network in [(one, network) for one in found for network in one.networks]:
        rows = {recipe.stack: cell for (recipe, other), cell in board.cells.items() if other == network}
        base = rows.get(VALUES[0])
        if base is None or VALUES[1] not in rows:
            continue
        kept = [(stack, cell) for stack, cell in rows.items() if _behind_rotation(stack) in VALUES]
        for stack, cell in sorted(kept, key=lambda pair: pair[1].mean):
            lines.append([short(network), board.bits, f"`{stack}`", f"{cell.mean:.1f}", _gain(base, cell, evidence)])
    headers = ["network", "bits", "stack", "top-1", f"to `{VALUES[0]}`"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True) if lines else "Not measured yet."


def _behind_rotation(stack: str) -> str:
    """The stack without its rotation, whatever the settings of that."""
    return re.sub(r"^rotate(\([^)]*\))?\+", "", stack)


def _unturned(stack: str) -> str:
    return stack.removeprefix(TURNED) if stack.startswith(TURNED) else ""


def _line(recipe: Recipe, found: Sequence[Board], network: Network, evidence: Evidence) -> list[str]:
    cells = [board.cells[recipe, network] for board in found]
    shown = [
        text
        for board in found
        for text in (
            written_cell(board, recipe, network, 1),
            _gain(_named(board, BASE, network), board.cells[recipe, network], evidence),
        )
    ]
    return [f"`{recipe.label}`{altered_sign(cells[0].altered)}", *shown, f"{cells[0].seconds:.0f}"]


def _pairs(found: Sequence[Board], evidence: Evidence, base_of: Callable[[Recipe], str]) -> Iterator[list[str]]:
    for network in networks_of(found):
        for board in found:
            rows = [(recipe, cell) for (recipe, other), cell in board.cells.items() if other == network]
            for recipe, cell in sorted(rows, key=lambda pair: (-pair[1].mean, pair[0].label)):
                base = _named(board, base_of(recipe), network)
                if base is not None:
                    label = f"`{recipe.label}`{altered_sign(cell.altered)}"
                    start = [short(network), board.bits, label, f"{base.mean:.1f}", f"{cell.mean:.1f}"]
                    yield [*start, _gain(base, cell, evidence)]


def _named(board: Board, stack: str, network: Network) -> BoardCell | None:
    return next((cell for (recipe, other), cell in board.cells.items() if (recipe.stack, other) == (stack, network)), None)


def _gain(base: BoardCell | None, cell: BoardCell, evidence: Evidence) -> str:
    if base is None or base.ids == cell.ids:
        return "-"
    first, second = evidence.correct(base.ids), evidence.correct(cell.ids)
    if first is None or second is None or first.shape != second.shape:
        return "-"
    interval = difference(first, second).interval
    return f"{interval.value:+.1f} ({interval.low:+.1f} to {interval.high:+.1f})"
