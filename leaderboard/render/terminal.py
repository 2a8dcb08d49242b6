"""Leaderboards for people at a terminal: what they need to choose, and where the rest is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_note, altered_on, altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.busy import busy_note
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.features import feature_rows
from harness.leaderboard.board.ladder import Gain, gains
from harness.leaderboard.render import names
from harness.leaderboard.render.features import LABELS, NUMBERS, shown
from harness.leaderboard.render.tables import SIGNS, exported, notes, reason
from harness.text import inert

NAME_WIDTH = 30  # columns for stacks; longer ones are folded
NETWORK_WIDTH = 26  # of a network's accuracy, difference and marks
COST_WIDTH = 20
MOST_FAILURES = 5
LEGEND = (
    "Top-1 in percent, mean ± standard deviation over seeds, difference to full precision. Bold: best; ≈: in the best set "
    "too (95 %); ?: no per-image results to tell by; n/N: seeds present of seeds expected, not ranked."
)
MORE = (
    "Commands, records, ranks and published numbers: harness report --format md, or harness report --out <dir>. "
    "Two stacks: harness compare."
)


def print_boards(console: Console, boards: Sequence[Board], rows: pd.DataFrame, evidence: Evidence) -> None:
    """Print all boards, what their steps add beyond noise, and what failed.

    Args:
        console: Where.
        boards: The leaderboards.
        rows: One row per record.
        evidence: Per-image results.
    """
    for board in boards:
        console.print(Text(inert(board.title), style="bold"))
        for networks in _that_fit(board.networks, console.width):
            console.print(_table(board, networks))
        notes = [busy_note(board)] if len(board.networks) == 1 else []  # only then times are shown
        for line in filter(None, [*notes, *_steps(gains(board, evidence), several=len(board.networks) > 1)]):
            console.print(Text(inert(line)))
        console.print()
    features = feature_rows(rows)
    for title, part in features.groupby("board", sort=False):
        console.print(Text(inert(str(title)), style="bold"))
        console.print(_features(part))
        console.print()
    for line in _failures(rows):
        console.print(Text(inert(line)))
    nothing = "" if len(features) else "no finished trials"
    changes = [*altered_on(boards), *features["altered"]]
    legends = [LEGEND if boards else nothing, inert(altered_note(changes)), inert(evidence.latencies.note())]
    for line in filter(None, legends):
        console.print(Text(line, style="dim"))
    console.print(Text(MORE, style="dim"))


def _features(rows: pd.DataFrame) -> Table:
    """Stacks by how little they move the features."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in (*LABELS, *NUMBERS):
        table.add_column(head, justify="left" if head in LABELS else "right", overflow="fold")
    for _, row in rows.iterrows():
        stack, *others = (inert(str(row[name])) for name in LABELS)
        table.add_row(Text(f"{stack}{altered_sign(row['altered'])}"), *map(Text, others), *shown(row))
    return table


def _that_fit(networks: Sequence[Network], width: int) -> Iterator[Sequence[Network]]:
    """As many columns as there is room for, then the rest."""
    most = max(1, (width - NAME_WIDTH - COST_WIDTH) // NETWORK_WIDTH)
    for start in range(0, len(networks), most):
        yield networks[start : start + most]


def _table(board: Board, networks: Sequence[Network]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stack", overflow="fold", min_width=min(NAME_WIDTH, 12))
    short = names.networks({network.label: network.model for network in board.networks})
    for network in networks:
        table.add_column(Text(f"{inert(short[network.label])}  (full precision {_full(board, network):.2f})"), no_wrap=False)
    heads = _cost_heads(board, networks)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    labels = names.stacks([recipe.label for recipe in board.recipes])
    for recipe in board.recipes:
        cells = [board.cells.get((recipe, network)) for network in networks]
        if any(cell is not None for cell in cells):
            shown = map(Text, _costs(cells[0], len(heads)))
            table.add_row(_name(recipe, labels[recipe.label]), *map(_accuracy, cells), *shown)
    return table


def _cost_heads(board: Board, networks: Sequence[Network]) -> list[str]:
    """Time and size where one network is shown; bytes on disk and latency where they were measured."""
    if len(networks) > 1:
        return []
    cells = [cell for (_, network), cell in board.cells.items() if network == networks[0]]
    return ["time", "MB", *(["on disk", "latency"] if any(map(exported, cells)) else [])]


def _costs(cell: BoardCell | None, columns: int) -> list[str]:
    if cell is None:
        return ["-"] * columns
    found = [text.duration(cell.seconds), f"{cell.size_bytes / 1e6:.2f}"]
    found += [f"{cell.disk_bytes / 1e6:.2f}", _latency(cell)] if exported(cell) else ["-", "-"]
    return found[:columns]


def _latency(cell: BoardCell) -> str:
    busy = "*" if any(one.busy for one in cell.timings) else ""
    return f"{cell.latency:.2f}{busy}" if cell.timings else "-"


def _full(board: Board, network: Network) -> float:
    return next(cell.top1_fp32 for (_, other), cell in board.cells.items() if other == network)


def _name(recipe: Recipe, label: str) -> Text:
    return Text(inert(label) + (" (saw evaluation images)" if recipe.protocol == "paper" else ""))


def _accuracy(cell: BoardCell | None) -> Text:
    if cell is None:
        return Text("-")
    spread = f" ± {cell.deviation:.2f}" if cell.deviation is not None else ""
    value = Text(f"{cell.mean:5.2f}{spread}", style="bold" if cell.mark == "best" else "")
    difference = f" {text.points(cell.mean - cell.top1_fp32):>6}"
    return value.append(f"{difference}{SIGNS.get(cell.mark, '')}{notes(cell)}", style="not bold")


def _steps(found: Sequence[Gain], *, several: bool) -> Iterator[str]:
    """The steps that help or hurt, and how many do neither."""
    told = [one for one in found if one.difference is not None and one.difference.verdict in ("better", "worse")]
    for one in told:
        where = f", {names.network(one.network.model)}" if several else ""
        interval = (
            "" if one.difference is None else f"{one.difference.interval.low:+.2f} to {one.difference.interval.high:+.2f}"
        )
        verb = "helps" if one.mean > 0 else "hurts"
        yield f"{one.step}{altered_sign(one.altered)} {verb}: {one.mean:+.2f} ({interval}) on {one.below.stack}{where}"
    rest = len(found) - len(told)
    if rest:
        yield f"{rest} {'steps' if rest > 1 else 'step'} within noise"


def _interval(gain: Gain) -> str:
    found = gain.difference
    return "" if found is None else f" ({found.interval.low:+.2f} to {found.interval.high:+.2f})"


def _failures(rows: pd.DataFrame) -> Iterator[str]:
    others = rows[rows["status"] != "done"]
    if len(others):
        yield f"{len(others)} failed or skipped:"
    for _, row in others.head(MOST_FAILURES).iterrows():
        said = " ".join(reason(row).split())
        yield f"  {row['id']}  {row['bits']} {row['stack']}: {said[:100]}"
    if len(others) > MOST_FAILURES:
        yield f"  and {len(others) - MOST_FAILURES} more (harness status)"
