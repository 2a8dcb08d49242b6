"""All records as columns for the page: texts that repeat stand there once, and records have their numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from harness.store.table import COLUMNS

LEFT_OUT = {"identity"}  # says again what the other columns say
SELDOM = {"altered"}  # left out where no record has it
REPEATED = 0.5  # a text column with fewer distinct values than this share of its rows is written as numbers of them


def columns(rows: pd.DataFrame) -> dict[str, Any]:
    """Records by column, for JSON.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.

    Returns:
        By name a list of values; for texts that repeat, ``{"texts": distinct ones, "at": numbers of them or -1}``; for
        ``stages`` also ``seconds``, the times of each record in the order of the names.
    """
    found: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        if name in LEFT_OUT or (name in SELDOM and rows[name].isna().all()):
            continue
        if name == "stages":
            found[name] = _stages(rows[name])
        elif kind == "string":
            found[name] = _texts(rows[name])
        else:
            found[name] = [_plain(value) for value in rows[name].astype(object)]
    return found


def _texts(column: pd.Series) -> Any:
    numbers, distinct = pd.factorize(column)
    texts = list(map(str, distinct))
    if len(texts) > REPEATED * len(column):
        return [texts[number] if number >= 0 else None for number in numbers]
    return {"texts": texts, "at": numbers.tolist()}


def _stages(column: pd.Series) -> dict[str, Any]:
    """Most records of a stack have the same stages: their names once, their times for each record."""
    read = [json.loads(text) if isinstance(text, str) else [] for text in column]
    names = pd.Series(["\n".join(str(name) for name, _ in stages) for stages in read], dtype="string")
    numbers, distinct = pd.factorize(names)
    return {
        "texts": list(distinct),
        "at": numbers.tolist(),
        "seconds": [[_plain(seconds) for _, seconds in stages] for stages in read],
    }


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
