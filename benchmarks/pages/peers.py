"""What the pages say of the peers: every stack beside RepQ-ViT on the same images, and stacks with and without rotation."""

from __future__ import annotations

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
    """Reconstructions of the two ImageNet networks, beside RepQ-ViT, which they start from."""
    lines = list(_pairs(found, evidence, lambda recipe: BASE if "iterations=" in recipe.stack else ""))
    return _paired_table(lines, f"to `{BASE}`")


def turned(found: Sequence[Board], evidence: Evidence) -> str:
    """Stacks behind ``rotate`` beside themselves without it."""
    lines = list(_pairs(found, evidence, lambda recipe: _unturned(recipe.stack)))
    return _paired_table(lines, "by rotation")


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


def _paired_table(lines: Sequence[Sequence[str]], gain: str) -> str:
    headers = ["network", "bits", "stack", "without", "top-1", gain]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True) if lines else "Not measured yet."
