"""Leaderboards as data: rows are stacks, columns networks, cells means over seeds. Every format is rendered from this."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.best_set import best_set
from harness.trial.fields import fields_of
from harness.trial.spec import TrialSpec, calibrated

# Means over seeds are taken only where nothing but the seed differs: every other part of a trial's identity is a key.
BOARD = ["data", "data_fingerprint", "n_images", "bits", "calib", "calib_source"]
BOARD += [one.name for one in fields_of(TrialSpec) if one.about.column and one.is_identity]
COLUMN = ["model", "weights_sha256", "preprocessing"]
ROW = ["stack", "methods", "protocol"]
FULL_PRECISION = "fp32"


@dataclass(frozen=True)
class Network:
    """A column.

    Attributes:
        model: ``arch.tag``.
        weights: Hash of the weights.
        preprocessing: As JSON text.
        label: Name in tables; with weights and crop where the name alone would be ambiguous.
    """

    model: str
    weights: str
    preprocessing: str
    label: str = ""


@dataclass(frozen=True)
class Recipe:
    """A row.

    Attributes:
        stack: Canonical text.
        methods: Names, versions and all settings as JSON text.
        protocol: ``strict`` or ``paper``.
        label: Text in tables; with versions where the stack alone would be ambiguous.
    """

    stack: str
    methods: str
    protocol: str
    label: str = ""


@dataclass(frozen=True)
class BoardCell:
    """One stack on one network.

    Attributes:
        ids: Its records, by seed.
        seeds: Their seeds.
        top1: Their accuracies in percent.
        expected: How many seeds other stacks of this column have: a smaller number of seeds is shown.
        top1_fp32: Of the full-precision network.
        agreement: Mean agreement with full precision in percent.
        seconds_by_seed: Time of the stack without evaluation.
        size_bytes: Of the quantized model.
        bit_operations: Per image.
        coverage: What is quantized at how many bits.
        command: Repeats the first record.
        device: Hardware that the times were measured on.
        mark: ``best``; ``tied``: in the best set too; ``unknown``: no per-image results to tell by; empty: shown to be
            worse, or not ranked.
        overlap: Most calibration images of a record that are evaluation images too (``--allow-overlap``).
    """

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    top1: tuple[float, ...]
    expected: int
    top1_fp32: float
    agreement: float
    seconds_by_seed: tuple[float, ...]
    size_bytes: float
    bit_operations: float
    coverage: str
    command: str
    device: str
    mark: str = ""
    overlap: int = 0

    @property
    def seconds(self) -> float:
        """Mean time of the stack without evaluation."""
        return float(np.mean(self.seconds_by_seed))

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.top1))

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed."""
        return float(np.std(self.top1, ddof=1)) if len(self.top1) > 1 else None

    @property
    def complete(self) -> bool:
        """Whether every expected seed is there."""
        return len(self.top1) >= self.expected


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

    @property
    def title(self) -> str:
        """What distinguishes it from other boards."""
        images = "?" if self.images is None else f"{self.images:,}"
        return f"{self.bits}, {self.data}, {calibrated(self.calib, self.calib_source)}, {images} evaluation images"


def boards(rows: pd.DataFrame, evidence: Evidence) -> list[Board]:
    """All leaderboards of the done records.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        evidence: Per-image results, for marking what is tied with the best.
    """
    done = rows[rows["status"] == "done"]
    texts = ["weights_sha256", "preprocessing", "methods", "device", "coverage", "command"]
    done = done.fillna(dict.fromkeys(texts, ""))
    groups = done.groupby(BOARD, sort=True, dropna=False)
    found = [_board(key, group, evidence) for key, group in groups]
    found.sort(key=lambda board: board.bits, reverse=True)  # w8a8 before w4a8
    return sorted(found, key=lambda board: (board.data, board.images or 0, board.calib, board.calib_source))


def _board(key: tuple[object, ...], group: pd.DataFrame, evidence: Evidence) -> Board:
    networks = _labelled_networks([Network(*map(str, values)) for values in _distinct(group, COLUMN)])
    recipes = _labelled_recipes([Recipe(*map(str, values)) for values in _distinct(group, ROW)])
    cells: dict[tuple[Recipe, Network], BoardCell] = {}
    for network in networks:
        of_network = group[_same(group, COLUMN, (network.model, network.weights, network.preprocessing))]
        expected = int(of_network["seed"].nunique())
        for values, part in of_network.groupby(ROW, sort=False, dropna=False):
            recipe = next(one for one in recipes if (one.stack, one.methods, one.protocol) == tuple(map(str, values)))
            cells[recipe, network] = _cell(part.sort_values("seed"), expected)
    _mark(cells, networks, evidence)
    images = None if pd.isna(key[2]) else int(str(key[2]))  # type: ignore[call-overload]
    ordered = sorted(recipes, key=lambda recipe: -_score(recipe, networks, cells))
    bits, calib, source = str(key[3]), int(str(key[4])), str(key[5])
    return Board(str(key[0]), str(key[1]), images, bits, calib, source, networks, tuple(ordered), cells)


def _distinct(group: pd.DataFrame, columns: list[str]) -> list[tuple[object, ...]]:
    return list(group[columns].drop_duplicates().itertuples(index=False, name=None))


def _same(group: pd.DataFrame, columns: list[str], values: tuple[str, ...]) -> pd.Series:
    same = pd.Series(True, index=group.index)
    for column, value in zip(columns, values, strict=True):
        same &= group[column] == value
    return same


def _labelled_networks(networks: list[Network]) -> tuple[Network, ...]:
    names = [network.model for network in networks]

    def label(network: Network) -> str:
        if names.count(network.model) == 1:
            return network.model
        crop = json.loads(network.preprocessing or "{}").get("crop_pct")
        return f"{network.model} (weights {network.weights[:6]}" + (f", crop {crop})" if crop is not None else ")")

    return tuple(replace(network, label=label(network)) for network in sorted(networks, key=lambda one: one.model))


def _labelled_recipes(recipes: list[Recipe]) -> tuple[Recipe, ...]:
    stacks = [recipe.stack for recipe in recipes]

    def label(recipe: Recipe) -> str:
        if stacks.count(recipe.stack) == 1:
            return recipe.stack
        versions = ".".join(str(step["version"]) for step in json.loads(recipe.methods or "[]"))
        return f"{recipe.stack} (method versions {versions or '?'}, {recipe.protocol})"

    return tuple(replace(recipe, label=label(recipe)) for recipe in recipes)


def _cell(part: pd.DataFrame, expected: int) -> BoardCell:
    first = part.iloc[0]
    return BoardCell(
        ids=tuple(part["id"]),
        seeds=tuple(int(seed) for seed in part["seed"]),
        top1=tuple(float(value) for value in part["top1"]),
        expected=expected,
        top1_fp32=float(part["top1_fp32"].mean()),
        agreement=float(part["agreement"].mean()),
        seconds_by_seed=tuple(part["seconds_stack"].astype(float).fillna(float("nan"))),
        size_bytes=_mean(part["size_bytes"]),
        bit_operations=_mean(part["bit_operations"]),
        coverage=str(first["coverage"]),
        command=str(first["command"]),
        device=" and ".join(sorted(set(map(str, part["device"])))),
        overlap=int(part["overlap"].fillna(0).max()),
    )


def _mean(values: pd.Series) -> float:
    return float("nan") if values.isna().all() else float(values.mean())


def _score(recipe: Recipe, networks: tuple[Network, ...], cells: dict[tuple[Recipe, Network], BoardCell]) -> float:
    """Mean over the columns that the row has: rows without some cells are not ranked by luck of an easy column."""
    own = [cells[recipe, network] for network in networks if (recipe, network) in cells]
    missing = len(networks) - len(own)
    return float(np.mean([cell.mean - cell.top1_fp32 for cell in own])) - 1000.0 * missing


def _mark(cells: dict[tuple[Recipe, Network], BoardCell], networks: tuple[Network, ...], evidence: Evidence) -> None:
    """Mark the best of each column, and what is not shown to be worse. Full precision and ``paper`` rows do not compete."""
    for network in networks:
        column = {recipe: cells[recipe, network] for recipe in _competing(cells, network)}
        if not column:
            continue
        best = max(column, key=lambda recipe: column[recipe].mean)
        known = _known(column, evidence)
        tied = best_set(known) if known else frozenset()
        for recipe, cell in column.items():
            mark = "best" if recipe == best else "tied" if recipe in tied else "" if recipe in known else "unknown"
            cells[recipe, network] = replace(cell, mark=mark)


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
    return recipe.protocol == "strict" and recipe.stack != FULL_PRECISION and cell.complete and not cell.overlap
