"""Leaderboards as data: rows are stacks, columns networks, cells means over seeds. Every format is rendered from this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from harness.leaderboard.board.cells import BoardCell, cell_of
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.grouping import Group, Network, Recipe, Setting, data_name, groups
from harness.leaderboard.board.labels import told_apart
from harness.leaderboard.stats.best_set import best_set
from harness.leaderboard.stats.inference import rank_intervals

__all__ = ["FULL_PRECISION", "Board", "BoardCell", "Network", "Recipe", "boards", "competes", "takes_part"]

FULL_PRECISION = "fp32"


@dataclass(frozen=True)
class Board:
    """One leaderboard.

    Attributes:
        data: Name of the data.
        fingerprint: Of the data.
        images: Evaluation images; None where a record does not say.
        bits: Widths.
        calib: Calibration images.
        calib_source: Where they come from.
        networks: Columns.
        recipes: Rows, best first.
        cells: By row and column; missing ones are not there.
        title: What distinguishes it from other boards.
        setting: All that its records have in common.
    """

    data: str
    fingerprint: str
    images: int | None
    bits: str
    calib: int
    calib_source: str
    networks: tuple[Network, ...]
    recipes: tuple[Recipe, ...]
    cells: dict[tuple[Recipe, Network], BoardCell] = field(default_factory=dict)
    title: str = ""
    setting: Setting | None = None


def boards(rows: pd.DataFrame, evidence: Evidence) -> list[Board]:
    """All leaderboards of the done records.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        evidence: Per-image results, for intervals and for marking what is tied with the best.
    """
    by_setting: dict[Setting, list[Group]] = {}
    for group in groups(rows):
        by_setting.setdefault(group.setting, []).append(group)
    names = {setting: data_name(members) for setting, members in by_setting.items()}
    titles = told_apart([setting.title(name) for setting, name in names.items()], [setting.parts() for setting in names])
    found = [
        _board(setting, by_setting[setting], names[setting], title, evidence)
        for setting, title in zip(names, titles, strict=True)
    ]
    found.sort(key=lambda board: (board.bits, board.fingerprint, board.title), reverse=True)  # w8a8 before w4a8
    return sorted(found, key=lambda board: (board.data, board.images or 0, board.calib, board.calib_source))


def _board(setting: Setting, members: Sequence[Group], data: str, title: str, evidence: Evidence) -> Board:
    networks = tuple(sorted({group.network for group in members}, key=lambda one: (one.model, one.label)))
    cells: dict[tuple[Recipe, Network], BoardCell] = {}
    for network in networks:
        column = sorted((one for one in members if one.network == network), key=lambda one: one.recipe.label)
        expected = len({seed for group in column for seed in group.seeds})
        cells |= {(group.recipe, network): cell_of(group, expected, evidence) for group in column}
        _mark(cells, network, evidence)
    recipes = sorted({group.recipe for group in members}, key=lambda one: one.label)
    ordered = tuple(sorted(recipes, key=lambda recipe: -_score(recipe, networks, cells)))
    shown = setting.fingerprint, setting.images, setting.bits, setting.calib, setting.calib_source
    return Board(data, *shown, networks, ordered, cells, title, setting)


def _score(recipe: Recipe, networks: tuple[Network, ...], cells: dict[tuple[Recipe, Network], BoardCell]) -> float:
    """Mean over the columns that the row has: rows without some cells are not ranked by luck of an easy column."""
    own = [cells[recipe, network] for network in networks if (recipe, network) in cells]
    missing = len(networks) - len(own)
    return float(np.mean([cell.mean - cell.top1_fp32 for cell in own])) - 1000.0 * missing


def _mark(cells: dict[tuple[Recipe, Network], BoardCell], network: Network, evidence: Evidence) -> None:
    """Mark the best of a column, and what is not shown to be worse. Full precision and ``paper`` rows do not compete."""
    column = {recipe: cells[recipe, network] for recipe in _competing(cells, network)}
    if not column:
        return
    best = max(column, key=lambda recipe: column[recipe].mean)
    known = _known(column, evidence)
    tied = best_set(known) if known else frozenset()
    ranked = 2 <= len(column) == len(known)
    ranks = rank_intervals({recipe.label: one.mean(0) for recipe, one in known.items()}) if ranked else {}
    for recipe, cell in column.items():
        mark = "best" if recipe == best else "tied" if recipe in tied else "" if recipe in known else "unknown"
        cells[recipe, network] = replace(cell, mark=mark, rank=ranks.get(recipe.label))


def _known(column: dict[Recipe, BoardCell], evidence: Evidence) -> dict[Recipe, np.ndarray]:
    """Per-image results ``(seeds, images)`` of the rows that have them for the same seeds and images as most rows do."""
    found = {recipe: evidence.correct(cell.ids) for recipe, cell in column.items()}
    present = {recipe: one for recipe, one in found.items() if one is not None}
    shapes = [one.shape for one in present.values()]
    usual = max(shapes, key=shapes.count, default=None)
    return {recipe: one for recipe, one in present.items() if one.shape == usual}


def _competing(cells: dict[tuple[Recipe, Network], BoardCell], network: Network) -> Iterator[Recipe]:
    for (recipe, other), cell in cells.items():
        if other == network and competes(recipe, cell):
            yield recipe


def competes(recipe: Recipe, cell: BoardCell) -> bool:
    """Whether a row is ranked: full precision, what saw evaluation images, and rows with missing seeds are not."""
    return takes_part(recipe, cell) and cell.complete


def takes_part(recipe: Recipe, cell: BoardCell) -> bool:
    """Whether a row is a trade-off that anyone can have: full precision and what saw evaluation images are none."""
    return recipe.protocol == "strict" and recipe.stack != FULL_PRECISION and not cell.overlap
