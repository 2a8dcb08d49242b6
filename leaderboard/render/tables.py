"""Leaderboards as Markdown, and rows for CSV and Parquet."""

from __future__ import annotations

import math

import pandas as pd
from tabulate import tabulate

from harness.leaderboard import text
from harness.leaderboard.board.altered import altered_sign
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.busy import busy_note

MOST_IDS = 8  # of one origin, in a line
LEGEND = (
    "Top-1 in percent, mean ± sample standard deviation over seeds (number of seeds); in parentheses the difference to "
    "full precision. **Bold**: best of the column; ≈: in the best set too (the 95 % model confidence set over images and "
    "seeds: when all stacks are equal, at most one board in twenty leaves any of them out); ?: no per-image results to "
    "tell by; n/N: seeds present of seeds expected, not ranked."
)
HEADS = ["time", "MB"]
LATENCY_HEADS = ["MB on disk", "latency, × float32"]
SIGNS = {"tied": " ≈", "unknown": " ?"}


def board_markdown(board: Board) -> str:
    """One leaderboard with its coverage and the commands that reproduce its rows."""
    names = [text.markdown(network.label) for network in board.networks]
    heads = [*HEADS, *(LATENCY_HEADS if any(map(exported, _of_first(board))) else [])]
    if len(names) > 1:
        heads = [f"time on {names[0]}", *(f"{one} there" for one in heads[1:])]
    headers = ["stack", *names, *heads]
    lines = [[_row_label(recipe), *_cells(board, recipe), *_costs(board, recipe, len(heads))] for recipe in board.recipes]
    table = tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)
    full = ", ".join(f"{text.markdown(network.label)} {_full(board, network):.2f} %" for network in board.networks)
    title, busy = f"### {text.markdown(board.title)}", text.markdown(busy_note(board))
    parts = [title, f"Full precision: {full}.", table, busy, _coverage(board), _commands(board)]
    return "\n\n".join(part for part in parts if part)


def _full(board: Board, network: Network) -> float:
    return next(cell.top1_fp32 for (_, other), cell in board.cells.items() if other == network)


def _row_label(recipe: Recipe) -> str:
    return text.code(recipe.label) + (" (paper: saw evaluation images)" if recipe.protocol == "paper" else "")


def _cells(board: Board, recipe: Recipe) -> list[str]:
    return [_cell(board.cells.get((recipe, network))) for network in board.networks]


def _cell(cell: BoardCell | None) -> str:
    if cell is None:
        return "missing"
    value = number(cell)
    value = f"**{value}**" if cell.mark == "best" else value + SIGNS.get(cell.mark, "")
    return f"{value} ({text.points(cell.mean - cell.top1_fp32)})" + notes(cell)


def number(cell: BoardCell) -> str:
    """Mean, deviation and number of seeds."""
    spread = f" ± {cell.deviation:.2f}" if cell.deviation is not None else ""
    return f"{cell.mean:.2f}{spread} (n={len(cell.top1)})"


def notes(cell: BoardCell) -> str:
    """What else must be known of an accuracy: missing seeds, images that were seen, another network."""
    sign = altered_sign(cell.altered)
    return missing(cell) + overlap(cell) + (f" {sign}" if sign else "")


def missing(cell: BoardCell) -> str:
    """Seeds that are not there."""
    return "" if cell.complete else f" {len(cell.top1)}/{cell.expected}"


def overlap(cell: BoardCell) -> str:
    """That calibration images were evaluation images too: such a cell is not ranked."""
    return f" (calibrated on {cell.overlap} evaluation images)" if cell.overlap else ""


def _of_first(board: Board) -> list[BoardCell]:
    """The cells of the first network, the only one whose costs are shown."""
    return [cell for (_, network), cell in board.cells.items() if network == board.networks[0]]


def _costs(board: Board, recipe: Recipe, columns: int) -> list[str]:
    """Time, size and, where any was measured, bytes on disk and latency on the first network."""
    cell = board.cells.get((recipe, board.networks[0]))
    if cell is None:
        return ["-"] * columns
    found = [text.duration(cell.seconds), f"{cell.size_bytes / 1e6:.2f}"]
    found += [f"{cell.disk_bytes / 1e6:.2f}", _latency(cell)] if exported(cell) else ["-", "-"]
    return found[:columns]


def exported(cell: BoardCell) -> bool:
    """Whether a file of it was measured."""
    return not math.isnan(cell.disk_bytes)


def _latency(cell: BoardCell) -> str:
    """The ratio to float32 with its 95 % interval."""
    interval = cell.latency_interval
    if interval is None:
        return "-"
    busy = ", busy machine" if any(one.busy for one in cell.timings) else ""
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f}{busy})"


def _coverage(board: Board) -> str:
    """What is quantized, once where all rows agree."""
    by_text: dict[str, list[str]] = {}
    for recipe in board.recipes:
        for network in board.networks:
            cell = board.cells.get((recipe, network))
            if cell is not None and cell.coverage:
                labels = by_text.setdefault(cell.coverage, [])
                labels += [recipe.label] if recipe.label not in labels else []
    lines = [f"- {', '.join(map(text.code, labels))}: {text.markdown(coverage)}" for coverage, labels in by_text.items()]
    return "Coverage:\n\n" + "\n".join(lines) if lines else ""


def _commands(board: Board) -> str:
    lines = [
        f"- {text.code(board.cells[recipe, network].command)} (record {', '.join(board.cells[recipe, network].ids)})"
        for recipe in board.recipes
        for network in board.networks
        if (recipe, network) in board.cells
    ]
    summary = "<details><summary>Commands and records of each cell</summary>"
    return f"{summary}\n\n" + "\n".join(lines) + "\n\n</details>"


def not_done_markdown(rows: pd.DataFrame) -> str:
    """Failed and skipped trials with their reasons; empty when there are none."""
    others = rows[rows["status"] != "done"]
    if not len(others):
        return ""
    columns = ("id", "status", "model", "bits", "stack", "calib", "seed")
    lines = [
        [*(text.markdown("-" if pd.isna(row[name]) else str(row[name])) for name in columns), text.markdown(reason(row))]
        for _, row in others.iterrows()
    ]
    table = tabulate(lines, headers=(*columns, "reason"), tablefmt="pipe", disable_numparse=True)
    return f"### Failed and skipped\n\n{table}"


def imported_markdown(rows: pd.DataFrame) -> str:
    """Which records were measured elsewhere, by origin; empty when all are of this store."""
    others = rows[rows["origin"].notna()]
    if not len(others):
        return ""
    lines = []
    for origin, part in others.groupby("origin", sort=True):
        ids = [f"`{trial}`" for trial in part["id"]]
        more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
        lines.append(f"- {len(ids)} from {text.markdown(str(origin))}: {', '.join(ids[:MOST_IDS])}{more}")
    return "\n".join(["### Imported records", "", "Measured elsewhere; nothing here has been run again.", "", *lines])


def reason(row: pd.Series) -> str:
    """Why a trial has no result."""
    return "-" if pd.isna(row["error_kind"]) else f"{row['error_kind']}: {row['error_message']}"
