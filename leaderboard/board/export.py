"""Cells of leaderboards for other programs: flat rows for CSV and Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from harness.leaderboard.board.altered import altered_on
from harness.leaderboard.board.boards import Board, BoardCell, Network, Recipe
from harness.leaderboard.board.quality import Quality
from harness.leaderboard.stats.inference import Interval

Place = tuple[Board, Recipe, Network, BoardCell]


def long_rows(boards: Sequence[Board]) -> pd.DataFrame:
    """One row per cell, for CSV and Parquet; ``records`` lists the ids of its records. Columns are only added at the end.

    ``altered`` is there where a network was altered.
    """
    found = pd.DataFrame([{**_first(*place), **_facts(*place)} for place in _places(boards)])
    changes = altered_on(boards)
    return found.assign(altered=pd.array([one or None for one in changes], dtype="string")) if any(changes) else found


def _places(boards: Sequence[Board]) -> Iterator[Place]:
    for board in boards:
        for (recipe, network), cell in board.cells.items():
            yield board, recipe, network, cell


def _first(board: Board, recipe: Recipe, network: Network, cell: BoardCell) -> dict[str, Any]:
    """The columns that there were from the beginning."""
    return {
        "data": board.data,
        "n_images": board.images,
        "bits": board.bits,
        "calib": board.calib,
        "model": network.label,
        "stack": recipe.label,
        "protocol": recipe.protocol,
        "top1_mean": cell.mean,
        "top1_sd": cell.deviation,
        "n_seeds": len(cell.top1),
        "n_expected": cell.expected,
        "top1_fp32": cell.top1_fp32,
        "to_fp32": cell.mean - cell.top1_fp32,
        "mark": cell.mark,
        "agreement": cell.agreement,
        "seconds": cell.seconds,
        "size_bytes": cell.size_bytes,
        "bit_operations": cell.bit_operations,
        "device": cell.device,
        "coverage": cell.coverage,
        "records": " ".join(cell.ids),
        "command": cell.command,
        "calib_source": board.calib_source,
        "overlap": cell.overlap,
    }


def _facts(board: Board, recipe: Recipe, network: Network, cell: BoardCell) -> dict[str, Any]:
    """How sure it is, and what exactly was measured where."""
    return {
        "group": cell.key,
        **_ends("top1", cell.interval),
        "rank": cell.rank.value if cell.rank is not None else None,
        **_ends("rank", cell.rank),
        "seeds": " ".join(map(str, cell.seeds)),
        "weights_sha256": network.weights,
        "preprocessing": network.preprocessing,
        "data_fingerprint": board.fingerprint,
        "eval_limit": board.setting.eval_limit if board.setting is not None else None,
        "methods": recipe.methods,
        "method_versions": recipe.versions,
        "identity_version": recipe.identity_version,
        "commit": " ".join(cell.commits),
        "origin": "; ".join(cell.origins),
        "load": cell.load,
        "busy": cell.busy,
        **_latency(cell),
        "noise_agreement": cell.noise,
        "noise_sqnr_db": cell.noise_sqnr,
        **_quality(cell.quality),
    }


def _quality(quality: Quality | None) -> dict[str, Any]:
    """Beyond top-1; nothing for what records do not say."""
    if quality is None:
        return {}
    worst = quality.worst
    return {
        "nll": quality.nll,
        "nll_fp32": quality.nll_fp32,
        "ece": quality.ece,
        "ece_fp32": quality.ece_fp32,
        "worst_class_change": worst.value if worst is not None else None,
        **_ends("worst_class_change", worst),
        "classes_harmed": quality.harmed,
        "lowest_class_top1": quality.lowest,
        "lowest_class_top1_fp32": quality.lowest_fp32,
        "corrupted_top1": quality.corrupted,
        "corrupted_top1_fp32": quality.corrupted_fp32,
    }


def _latency(cell: BoardCell) -> dict[str, Any]:
    """Of the exported file; nothing where none was measured."""
    timings = cell.timings
    return {
        "disk_bytes": cell.disk_bytes,
        "latency": cell.latency,
        **_ends("latency", cell.latency_interval),
        "latency_ms": fmean(one.quantized_ms for one in timings) if timings else None,
        "latency_ms_fp32": fmean(one.float32_ms for one in timings) if timings else None,
        "latency_on": cell.latency_on or None,
        "latency_busy": any(one.busy for one in timings) if timings else None,
    }


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (interval.low, interval.high) if interval is not None else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
