"""What the pages say of the embedded network: accuracies, and what each step of a stack adds."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from benchmarks.pages.cells import written_cell
from harness.leaderboard.board.boards import Board, Recipe
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.ladder import Gain, gains

VERDICTS = {"better": "helps", "worse": "hurts", "equal": "changes nothing"}


def accuracies(found: list[Board]) -> str:
    """Stacks by bit-widths, in the order in which the stacks build on each other."""
    (network,) = {network for board in found for network in board.networks}
    recipes = sorted({recipe for board in found for recipe in board.recipes}, key=_order)
    lines = [[f"`{recipe.label}`", *(written_cell(board, recipe, network, 2) for board in found)] for recipe in recipes]
    headers = ["stack", *(board.bits for board in found)]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True, colalign=("left", *["right"] * len(found)))


def _order(recipe: Recipe) -> tuple[int, int, str]:
    first = ("fp32", "minmax", "ema", "percentile")
    place = first.index(recipe.stack) if recipe.stack in first else len(first)
    return place, recipe.stack.count("+"), recipe.stack


def steps(found: list[Board], evidence: Evidence) -> str:
    """What each step adds."""
    lines = [
        [board.bits, f"`{gain.step}`", f"`{gain.below.stack}`", f"{gain.mean:+.2f}", *told(gain)]
        for board in found
        for gain in gains(board, evidence)
    ]
    headers = ["bits", "step", "on top of", "adds", "95 % interval", "verdict"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def told(gain: Gain) -> tuple[str, str]:
    """Interval and verdict of a step."""
    if gain.difference is None:
        return "-", "unknown"
    interval, verdict = gain.difference.interval, gain.difference.verdict
    return f"{interval.low:+.2f} to {interval.high:+.2f}", VERDICTS.get(verdict, verdict)


def sentence(found: list[Board], evidence: Evidence) -> str:
    """Which steps help or hurt, in words."""
    lines = list(_findings(found, evidence))
    return "\n".join(lines) if lines else "No step of a stack adds or takes anything beyond noise."


def _findings(found: list[Board], evidence: Evidence) -> Iterator[str]:
    for board in found:
        real = [gain for gain in gains(board, evidence) if told(gain)[1] in ("helps", "hurts")]
        shown = [f"`{gain.step}` {gain.mean:+.2f} ({told(gain)[0]})" for gain in real]
        yield f"- {board.bits}: {'; '.join(shown) or 'no step beyond noise'}."
