"""The ranked lists of the page: one for each board and network. Every figure comes from the board that the tables show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import pandas as pd

from harness.leaderboard.board.boards import FULL_PRECISION, Board, BoardCell, Recipe, competes
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.ladder import Gain, gains, verdict
from harness.leaderboard.render.page_catalog import Catalog
from harness.leaderboard.render.page_published import ByCell
from harness.leaderboard.render.quality import quality_pairs
from harness.leaderboard.stats.inference import Interval

OWN = "own"  # as cells call the origin of what their store measured


class Lists:
    """Makes the lists.

    Args:
        rows: One row per record.
        evidence: Per-image results.
        catalog: Gets what the lists refer to.
        published: What is published for each cell.
    """

    def __init__(self, rows: pd.DataFrame, evidence: Evidence, catalog: Catalog, published: ByCell) -> None:
        self._evidence, self._catalog, self._published = evidence, catalog, published
        self._places = {trial: place for place, trial in enumerate(rows["id"])}
        self._analysed = evidence.analyses(list(rows["id"]))

    def of(self, board: Board) -> Iterator[dict[str, Any]]:
        """One list for each network of a board."""
        steps = gains(board, self._evidence)
        for network in board.networks:
            cells = {recipe: board.cells[recipe, network] for recipe in board.recipes if (recipe, network) in board.cells}
            order = sorted(cells, key=lambda recipe: (not competes(recipe, cells[recipe]), -cells[recipe].mean))
            placed = places({recipe: cells[recipe] for recipe in order})
            yield {
                "network": self._catalog.networks.number(network),
                "bits": board.bits,
                "setting": self._catalog.settings.number(board),
                "full": next(iter(cells.values())).top1_fp32,
                "rows": [self._row(recipe, cells[recipe], placed.get(recipe)) for recipe in order],
                "steps": [self._step(gain) for gain in steps if gain.network == network],
            }

    def _row(self, recipe: Recipe, cell: BoardCell, place: Interval | None) -> dict[str, Any]:
        text = self._catalog.texts.number
        return {
            "stack": self._catalog.stacks.number(recipe),
            "rank": _ends(cell.rank or place),
            "mean": cell.mean,
            "sd": cell.deviation,
            "around": _ends(cell.interval),
            "over": measured_over(cell, self._evidence),
            "expected": cell.expected,
            "delta": cell.mean - cell.top1_fp32,
            "mark": cell.mark,
            "apart": why_not_ranked(recipe, cell),
            "agreement": _finite(cell.agreement),
            "noise": cell.noise,
            "seconds": _finite(cell.seconds),
            "spread": [_finite(min(cell.seconds_by_seed)), _finite(max(cell.seconds_by_seed))],
            "size": _finite(cell.size_bytes),
            "bitops": _finite(cell.bit_operations),
            **self._latency(cell),
            "device": text(cell.device),
            "coverage": text(cell.coverage),
            "command": cell.command,
            "seeds": cell.seeds,
            "top1": cell.top1,
            "records": [self._places[trial] for trial in cell.ids],
            "origins": [text(origin) for origin in cell.origins if origin != OWN],
            "commits": [text(commit) for commit in cell.commits],
            "load": cell.load,
            "busy": cell.busy,
            "published": self._published.get(cell.ids, []),
            "beyond": quality_pairs(cell.quality),
            "analyses": [trial for trial in cell.ids if trial in self._analysed],
            **({"altered": text(cell.altered)} if cell.altered else {}),
        }

    def _latency(self, cell: BoardCell) -> dict[str, Any]:
        """Of the exported file; only where one was measured, because most rows have none."""
        disk = {} if math.isnan(cell.disk_bytes) else {"disk": cell.disk_bytes}
        if not cell.timings:
            return disk
        return {
            **disk,
            "latency": cell.latency,
            "latencyAround": _ends(cell.latency_interval),
            "latencyTimes": [fmean(one.quantized_ms for one in cell.timings), fmean(one.float32_ms for one in cell.timings)],
            "latencyOn": self._catalog.texts.number(cell.latency_on),
            "latencyBusy": any(one.busy for one in cell.timings),
        }

    def _step(self, gain: Gain) -> dict[str, Any]:
        return {
            "below": self._catalog.stacks.number(gain.below),
            "above": self._catalog.stacks.number(gain.above),
            "step": gain.step,
            "adds": gain.mean,
            "sd": gain.deviation,
            "around": _ends(gain.difference.interval if gain.difference else None),
            "seeds": len(gain.values),
            "verdict": verdict(gain.difference),
            **({"altered": self._catalog.texts.number(gain.altered)} if gain.altered else {}),
        }


def measured_over(cell: BoardCell, evidence: Evidence) -> str:
    """What the interval of a cell is over."""
    correct = evidence.correct(cell.ids)
    if correct is None or correct.shape[1] < 2:
        return "the images of one seed, from counts"
    return "images and seeds" if len(correct) > 1 else "images of one seed"


def why_not_ranked(recipe: Recipe, cell: BoardCell) -> str:
    """Why a row does not compete; empty when it does."""
    if competes(recipe, cell):
        return ""
    if recipe.stack == FULL_PRECISION:
        return "full precision"
    if recipe.protocol != "strict":
        return f"protocol {recipe.protocol}: saw evaluation images"
    if cell.overlap:
        return f"calibrated on {cell.overlap} evaluation images"
    return f"{len(cell.top1)} of {cell.expected} seeds"


def places(cells: Mapping[Recipe, BoardCell]) -> dict[Recipe, Interval]:
    """Places by mean accuracy, where nothing says how sure they are: equal means share the first.

    Args:
        cells: Best first.
    """
    found: dict[Recipe, Interval] = {}
    place, before = 0, math.nan
    ranked = ((recipe, cell.mean) for recipe, cell in cells.items() if competes(recipe, cell))
    for number, (recipe, mean) in enumerate(ranked, start=1):
        place, before = (place if mean == before else number), mean
        found[recipe] = Interval(place, math.nan, math.nan)
    return found


def _ends(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [_finite(found.value), _finite(found.low), _finite(found.high)]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
