"""Leaderboards as LaTeX tables that fit a line: booktabs rules, short names, the best set marked, a label each.

Where the boards of a setting have one network, its bit-widths are the columns of one table. Where they have several, every
bit-width is a table with the networks as columns, at most ``MOST_COLUMNS`` in each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import FULL_PRECISION, Board, BoardCell, Network, Recipe
from harness.leaderboard.render import names

MOST_COLUMNS = 4  # of 48 pt each beside names of 110 pt, in a line of 345 pt (article, 10 pt)
HEAD = r"% \usepackage{booktabs,tabularx}"
BREAK = r"\allowbreak{}"
SIGNS = {"tied": r"\ast", "unknown": "?"}
LEGEND = {
    "best": r"\textbf{Bold}: best",
    "tied": r"$^{\ast}$: in the best set too (95\,\% model confidence set)",
    "unknown": "$^{?}$: no per-image results to tell by",
    "incomplete": r"$^{n/N}$: seeds present of seeds expected, not ranked",
    "overlap": r"$^{\dagger}$: calibrated on evaluation images, not ranked",
    "altered": r"$^{\S}$: an altered network, not the checkpoint's",
    "paper": r"$^{\ddagger}$: saw evaluation images, not ranked",
}
Key = Recipe  # without its label, which is a board's own


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: Short name.
        about: What it stands for in full; empty where the head says all.
        full_precision: Accuracy of the network itself in percent.
        cells: By row.
    """

    head: str
    about: str
    full_precision: float
    cells: dict[Key, BoardCell]


@dataclass(frozen=True)
class Table:
    """A table before it is written.

    Attributes:
        about: Of the caption.
        label: What references name, without ``tab:``.
        rows: Labels by row, in order.
        columns: Its columns.
    """

    about: str
    label: str
    rows: dict[Key, str]
    columns: tuple[Column, ...]


def leaderboards_latex(boards: Sequence[Board]) -> str:
    """All boards as LaTeX; the first line names the packages that the tables need."""
    shown = [_written(part) for table in tables_of(boards) if table.rows for part in _parts(table)]
    return "\n\n".join([HEAD, *shown]) + "\n"


def tables_of(boards: Sequence[Board]) -> Iterator[Table]:
    """The tables of these boards: one for a network with its bit-widths, or one for each bit-width."""
    families: dict[tuple[str, str, tuple[str, ...]], list[Board]] = {}
    for board in boards:
        key = (_setting(board), board.fingerprint, tuple(network.label for network in board.networks))
        families.setdefault(key, []).append(board)
    for (setting, _, labels), members in families.items():
        distinct = len({board.bits for board in members}) == len(members)
        if len(labels) == 1 and len(members) > 1 and distinct:
            yield _of_network(setting, members)
        else:
            yield from map(_of_bits, members)


def _setting(board: Board) -> str:
    """A board's title without its bit-width."""
    return board.title.removeprefix(f"{board.bits}, ")


def _of_network(setting: str, members: Sequence[Board]) -> Table:
    network = members[0].networks[0]
    columns = tuple(_column(board, board.networks[0], board.bits, "") for board in members)
    short = names.network(network.model)
    label = f"{names.slug(short)}-{names.digest(network.label, setting)}"
    return Table(f"{short} ({network.label}), {setting}", label, _rows(members, columns), columns)


def _of_bits(board: Board) -> Table:
    short = names.networks({network.label: network.model for network in board.networks})
    columns = tuple(_column(board, network, short[network.label], network.label) for network in board.networks)
    label = f"{names.slug(board.bits)}-{names.digest(board.title)}"
    return Table(board.title, label, _rows([board], columns), columns)


def _column(board: Board, network: Network, head: str, about: str) -> Column:
    cells = {_key(recipe): cell for (recipe, other), cell in board.cells.items() if other == network}
    full = next(cell.top1_fp32 for cell in cells.values())
    return Column(head, about, full, {key: cell for key, cell in cells.items() if key.stack != FULL_PRECISION})


def _key(recipe: Recipe) -> Key:
    return replace(recipe, label="")


def _rows(boards: Sequence[Board], columns: Sequence[Column]) -> dict[Key, str]:
    """Labels, complete rows first, then by the mean difference to full precision."""
    labels = {_key(recipe): recipe.label for board in boards for recipe in board.recipes if recipe.stack != FULL_PRECISION}
    kept = {key: label for key, label in labels.items() if any(key in column.cells for column in columns)}

    def place(key: Key) -> tuple[int, float]:
        own = [column.cells[key].mean - column.full_precision for column in columns if key in column.cells]
        return len(columns) - len(own), -float(np.mean(own))

    return {key: _told_apart(key, kept) for key in sorted(kept, key=place)}


def _told_apart(key: Key, labels: dict[Key, str]) -> str:
    """A label; with versions where boards of different bit-widths use it for different rows."""
    equal = [other for other, label in labels.items() if label == labels[key]]
    if len(equal) == 1:
        return labels[key]
    versions = ".".join(str(step.get("version", "?")) for step in json.loads(key.methods or "[]"))
    return f"{labels[key]} (versions {versions}, {names.digest(repr(key))})"


def _parts(table: Table) -> Iterator[Table]:
    """A table with few enough columns, or several."""
    pieces = [table.columns[start : start + MOST_COLUMNS] for start in range(0, len(table.columns), MOST_COLUMNS)]
    for number, columns in enumerate(pieces, start=1):
        more = f", part {number} of {len(pieces)}" if len(pieces) > 1 else ""
        label = f"{table.label}-{number}" if len(pieces) > 1 else table.label
        rows = {key: name for key, name in table.rows.items() if any(key in column.cells for column in columns)}
        yield Table(table.about + more, label, rows, columns)


def _written(table: Table) -> str:
    short = names.stacks(list(table.rows.values()))
    body = [
        _line(_stack(short[label], key), [_cell(column.cells.get(key)) for column in table.columns])
        for key, label in table.rows.items()
    ]
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_caption(table)}}}",
        rf"\label{{tab:{table.label}}}\smallskip",
        rf"\begin{{tabularx}}{{\linewidth}}{{>{{\raggedright\arraybackslash}}X{'l' * len(table.columns)}}}",
        r"\toprule",
        _line("stack", [text.latex(column.head) for column in table.columns]),
        r"\midrule",
        _line("full precision", [f"${_number(column.full_precision)}$" for column in table.columns]),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabularx}",
        *_notes(table),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _caption(table: Table) -> str:
    cells = [cell for column in table.columns for cell in column.cells.values()]
    counts = {len(cell.top1) for cell in cells if cell.complete}
    seeds = f" over {min(counts)} seeds" if len(counts) == 1 and counts != {1} else " over seeds"
    spread = rf"mean $\pm$ standard deviation{seeds}" if any(cell.deviation is not None for cell in cells) else "one seed"
    told = [LEGEND[sign] for sign in LEGEND if any(sign in _signs(cell) for cell in cells)]
    told += [LEGEND["paper"]] if any(key.protocol != "strict" for key in table.rows) else []
    return f"Top-1 in percent, {text.latex(table.about)}; {spread}. {'; '.join(told)}."


def _signs(cell: BoardCell) -> set[str]:
    found = {"incomplete": not cell.complete, "overlap": bool(cell.overlap), "altered": bool(altered_sign(cell.altered))}
    return ({cell.mark} | {sign for sign, there in found.items() if there}) - {""}


def _line(name: str, cells: Sequence[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def _stack(label: str, key: Key) -> str:
    """A row's name with the sign of its protocol."""
    return _typewriter(label) + ("" if key.protocol == "strict" else r"$^{\ddagger}$")


def _cell(cell: BoardCell | None) -> str:
    """Signs above and deviation below, so that numbers stand under each other and take little room."""
    if cell is None:
        return "--"
    value = _number(cell.mean)
    value = rf"\mathbf{{{value}}}" if cell.mark == "best" else value
    above = [SIGNS[cell.mark]] if cell.mark in SIGNS else []
    above += [] if cell.complete else [f"{len(cell.top1)}/{cell.expected}"]
    above += [r"\dagger"] if cell.overlap else []
    above += [r"\S"] if altered_sign(cell.altered) else []
    below = "" if cell.deviation is None else rf"_{{\pm{cell.deviation:.2f}}}"
    return f"${value}" + (f"^{{{','.join(above)}}}" if above else "") + f"{below}$"


def _number(value: float) -> str:
    return rf"\phantom{{0}}{value:.2f}" if value < 10 else f"{value:.2f}"


def _notes(table: Table) -> list[str]:
    """Full names of the columns, below the table."""
    told = [(column.head, column.about) for column in table.columns if column.about and column.about != column.head]
    if not told:
        return []
    full = "; ".join(rf"{text.latex(head)}: {_typewriter(about)}" for head, about in told)
    return [rf"\par\smallskip{{\footnotesize\raggedright {full}.\par}}"]


def _typewriter(name: str) -> str:
    """A name that is broken between methods first, after other signs where it must."""
    methods = [re.split(r"(?<=[-,(=_. ])", one) for one in re.split(r"(?<=\+)", name)]
    written = (r"\penalty500{}".join(map(text.latex, pieces)) for pieces in methods)
    return rf"\texttt{{{BREAK.join(written)}}}"
