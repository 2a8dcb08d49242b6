"""Which results are of an altered network, not the checkpoint's: one sign says so wherever their numbers are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.leaderboard.board.boards import Board

SIGN = "§"


def altered_sign(changes: str) -> str:
    """The sign beside a number; empty for the checkpoint's own network.

    Args:
        changes: What the record says of the network (``altered``); empty for nothing.
    """
    return SIGN if changes else ""


def altered_note(changes: Iterable[str]) -> str:
    """The line that explains the sign and says what was altered; empty where no number has it.

    Args:
        changes: Of each result that is shown.
    """
    told = sorted(set(filter(None, changes)))
    return f"{SIGN}: an altered network, not the checkpoint's ({'; '.join(told)})." if told else ""


def altered_on(boards: Sequence[Board]) -> list[str]:
    """What was altered for each cell of some boards; empty texts for cells of the checkpoint's network."""
    return [cell.altered for board in boards for cell in board.cells.values()]
