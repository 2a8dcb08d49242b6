"""Tables of what a board says beyond top-1, on request (``harness report --metrics``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.quality import Quality

Shown = Callable[[Quality], tuple[str, ...]]


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _worst(quality: Quality) -> str:
    one = quality.worst
    return "-" if one is None else f"{one.value:+.1f} ({one.low:+.1f} to {one.high:+.1f})"


METRICS: dict[str, tuple[tuple[str, ...], Shown]] = {
    "nll": (("NLL", "full precision"), lambda one: (_number(one.nll, ".4f"), _number(one.nll_fp32, ".4f"))),
    "ece": (("ECE, points", "full precision"), lambda one: (_number(one.ece), _number(one.ece_fp32))),
    "classes": (
        ("worst class, points", "classes harmed", "lowest class, %", "full precision"),
        lambda one: (_worst(one), _number(one.harmed, "g"), _number(one.lowest), _number(one.lowest_fp32)),
    ),
    "corruptions": (
        ("corrupted, %", "full precision"),
        lambda one: (_number(one.corrupted), _number(one.corrupted_fp32)),
    ),
}
LEGEND = (
    "NLL: mean negative log-likelihood of the labels, in nats. ECE: expected calibration error over 15 bins. Worst class: "
    "the change of the class that lost most, with an interval that holds for all classes at once at 95 %; classes harmed: "
    "those whose interval lies below zero. Corrupted: mean top-1 over the corruptions. Records of earlier versions say none "
    "of it."
)


def quality_pairs(quality: Quality | None) -> list[tuple[str, str]]:
    """Names and values that some record says, for the page's description of a cell."""
    if quality is None:
        return []
    found = []
    for heads, shown in METRICS.values():
        values = shown(quality)
        if values[0] != "-":
            words = (f"{head} {value}" for head, value in zip(heads[1:], values[1:], strict=True))
            found.append((heads[0], f"{values[0]} ({', '.join(words)})"))
    return found


def quality_markdown(board: Board, metrics: Sequence[str]) -> str:
    """The table of a board; empty where no metric was asked for or no record says any.

    Args:
        board: The leaderboard.
        metrics: Any of ``METRICS``.
    """
    heads = [head for name in metrics for head in METRICS[name][0]]
    several, lines = len(board.networks) > 1, []
    for recipe in board.recipes:
        for network in board.networks:
            cell = board.cells.get((recipe, network))
            if cell is None or cell.quality is None:
                continue
            values = [value for name in metrics for value in METRICS[name][1](cell.quality)]
            if any(value != "-" for value in values):
                name = text.code(recipe.label) + altered_sign(cell.altered)
                lines.append([name, *([text.markdown(network.label)] if several else []), *values])
    if not lines:
        return ""
    headers = ["stack", *(["network"] if several else []), *heads]
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    return f"Beyond top-1, means over seeds:\n\n{table}\n\n{LEGEND}"
