"""What a board says beyond top-1: likelihood, calibration of the confidence, classes, corrupted images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.leaderboard.stats.inference import LEVEL, Interval
from harness.store.class_damage import class_damage
from harness.store.store import Store


@dataclass(frozen=True)
class Quality:
    """Means over the seeds of a cell; what some record does not say is None.

    Attributes:
        nll: Negative log-likelihood of the labels in nats.
        nll_fp32: In full precision.
        ece: Expected calibration error over 15 bins, in points.
        ece_fp32: In full precision.
        worst: Change of the class that lost most, in points, with an interval that holds for all classes at once; mean over
            the seeds of each seed's worst class.
        harmed: Classes that lost for certain.
        lowest: Lowest accuracy of any class.
        lowest_fp32: In full precision.
        corrupted: Mean accuracy over the corruptions that the board's trials asked for.
        corrupted_fp32: In full precision.
    """

    nll: float | None
    nll_fp32: float | None
    ece: float | None
    ece_fp32: float | None
    worst: Interval | None
    harmed: float | None
    lowest: float | None
    lowest_fp32: float | None
    corrupted: float | None
    corrupted_fp32: float | None


def quality_of(rows: Sequence[Mapping[str, Any]]) -> Quality:
    """The quality of a cell from the rows of its records, columns as in ``harness.store.table``."""
    return Quality(
        nll=_mean(rows, "nll"),
        nll_fp32=_mean(rows, "nll_fp32"),
        ece=_mean(rows, "ece"),
        ece_fp32=_mean(rows, "ece_fp32"),
        worst=_worst(rows),
        harmed=_mean(rows, "classes_harmed"),
        lowest=_mean(rows, "lowest_class_top1"),
        lowest_fp32=_mean(rows, "lowest_class_top1_fp32"),
        corrupted=_mean(rows, "corrupted_top1"),
        corrupted_fp32=_mean(rows, "corrupted_top1_fp32"),
    )


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [row.get(name) for row in rows]
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _worst(rows: Sequence[Mapping[str, Any]]) -> Interval | None:
    """The images' half-width does not shrink with more seeds, which see the same images; the seeds' spread adds to it."""
    value, low, high = (_mean(rows, f"worst_class_{name}") for name in ("change", "low", "high"))
    if value is None or low is None or high is None:
        return None
    seeds = [float(row["worst_class_change"]) for row in rows]
    spread = 0.0
    if len(seeds) > 1:
        spread = float(stats.t.ppf((1 + LEVEL) / 2, len(seeds) - 1) * np.std(seeds, ddof=1) / math.sqrt(len(seeds)))
    return Interval(value, value - math.hypot(value - low, spread), value + math.hypot(high - value, spread))


def class_rows(store: Store, ids: Iterable[str]) -> pd.DataFrame:
    """One row per record and class, for CSV; records of earlier versions have none.

    Args:
        store: Where the records are.
        ids: Of the records.
    """
    return pd.DataFrame(list(_class_rows(store, ids)), columns=["record", *CLASS_COLUMNS])


CLASS_COLUMNS = ("class", "images", "top1", "top1_fp32", "change", "low", "high")


def _class_rows(store: Store, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    for trial in ids:
        record = store.get(trial)
        if record is None or "classes" not in record:
            continue
        found = class_damage(record["classes"])
        parts = (found.index, found.images, found.top1, found.top1_fp32, found.change, found.low, found.high)
        for values in zip(*(part.tolist() for part in parts), strict=True):
            yield {"record": trial, **dict(zip(CLASS_COLUMNS, values, strict=True))}
