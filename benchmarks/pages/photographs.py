"""What the pages say of the two ImageNet networks: accuracies, neighbours in every ranking, the published order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from benchmarks.pages.cells import written_cell
from benchmarks.pages.embedded import told
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe, competes
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.ladder import gains
from harness.leaderboard.published.ordering import ordering_markdown, orderings
from harness.leaderboard.stats.difference import difference


def accuracies(found: Sequence[Board], widths: Sequence[str]) -> str:
    """Stacks that were measured at all of some widths by networks and bit-widths, best mean over all of them first."""
    shown = [board for board in found if board.bits in widths]
    columns = [(board, network) for network in networks_of(shown) for board in shown if network in board.networks]
    recipes = {recipe for board in shown for recipe in board.recipes}
    everywhere = [one for one in recipes if all((one, network) in board.cells for board, network in columns)]
    ordered = sorted(everywhere, key=lambda recipe: (-_mean(recipe, columns), recipe.stack))
    lines = [
        [f"`{recipe.label}`", *(written_cell(board, recipe, network, 1) for board, network in columns)] for recipe in ordered
    ]
    headers = ["stack", *(f"{short(network)} {board.bits}" for board, network in columns)]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True, colalign=("left", *["right"] * len(columns)))


def networks_of(found: Sequence[Board]) -> list[Network]:
    """Every column of the boards once."""
    return list(dict.fromkeys(network for board in found for network in board.networks))


def short(network: Network) -> str:
    """``deit_tiny``."""
    return f"`{network.model.partition('_patch')[0]}`"


def full_precision(found: Sequence[Board]) -> str:
    """``deit_tiny 85.6, vit_tiny 88.8``."""
    values = {
        short(network): cell.top1_fp32 for board in found for (_, network), cell in board.cells.items()
    }  # the same at every bit-width
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


def _mean(recipe: Recipe, columns: Sequence[tuple[Board, Network]]) -> float:
    return sum(board.cells[recipe, network].mean for board, network in columns) / len(columns)


def neighbours(found: Sequence[Board], evidence: Evidence) -> str:
    """Every stack with its lead over the next one on the same images and seeds."""
    lines = [line for network in networks_of(found) for board in found for line in _ranking(board, network, evidence)]
    headers = ["network", "bits", "stack", "top-1", "ahead of the next by", "95 % interval", "verdict"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def _ranking(board: Board, network: Network, evidence: Evidence) -> Iterator[list[str]]:
    cells = [(recipe, cell) for (recipe, other), cell in board.cells.items() if other == network and competes(recipe, cell)]
    cells.sort(key=lambda pair: (-pair[1].mean, pair[0].stack))
    for (recipe, cell), after in itertools.zip_longest(cells, [cell for _, cell in cells[1:]]):
        lead = _lead(cell, after, evidence) if after is not None else ["-", "-", "-"]
        yield [short(network), board.bits, f"`{recipe.label}`", f"{cell.mean:.2f}", *lead]


def _lead(cell: BoardCell, after: BoardCell, evidence: Evidence) -> list[str]:
    first, second = evidence.correct(after.ids), evidence.correct(cell.ids)
    if first is None or second is None or first.shape != second.shape:
        return ["-", "-", "unknown"]
    found = difference(first, second)
    low, high = found.interval.low, found.interval.high
    return [
        f"{found.interval.value:+.2f}",
        f"{low:+.2f} to {high:+.2f}",
        "ahead" if found.verdict == "better" else found.verdict,
    ]


def steps(found: Sequence[Board], evidence: Evidence) -> str:
    """What each step of a stack adds, network by network."""
    lines = [
        [short(gain.network), board.bits, f"`{gain.step}`", f"`{gain.below.stack}`", f"{gain.mean:+.2f}", *told(gain)]
        for network in networks_of(found)
        for board in found
        for gain in gains(board, evidence)
        if gain.network == network
    ]
    headers = ["network", "bits", "step", "on top of", "adds", "95 % interval", "verdict"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def published_order(found: Sequence[Board], evidence: Evidence) -> str:
    """Beside the published one."""
    return (
        ordering_markdown(orderings(found, evidence)) or "No network and bit-width has three methods with published numbers."
    )
