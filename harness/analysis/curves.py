"""Accuracy over what trials differ in: passes, cycles, calibration images, seeds. From the records of a store alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.store.table import OF_SEED
from harness.trial.record import Record

AXES = ("passes", "cycles", "calib", "seed")
LABELS = {"passes": "passes of the search", "cycles": "cycles of the search", "calib": "calibration images", "seed": "seed"}
COLUMNS = ("axis", "value", "seed", "top1", "top1_fp32", "n_images", "n_correct", "id")


def accuracy_over(rows: pd.DataFrame, record: Record) -> pd.DataFrame:
    """Records that differ from a trial in one thing and their seed only, one row per thing and record.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        record: The trial.
    """
    done = rows[rows["status"] == "done"]
    found = []
    for axis in AXES:
        own = _without(dict(record["spec"]), axis)
        if own is None:
            continue
        for row in done.to_dict("records"):
            value = _value(row, axis)
            if value is not None and _without(json.loads(row["identity"]), axis) == own:
                counts = (row[name] for name in ("top1", "top1_fp32", "n_images", "n_correct", "id"))
                found.append([axis, value, row["seed"], *counts])
    return pd.DataFrame(found, columns=list(COLUMNS)).sort_values(["axis", "value", "seed"], ignore_index=True)


def _without(identity: dict[str, Any], axis: str) -> str | None:
    """An identity without its seed and one thing more; None where it has no such thing."""
    left = {name: value for name, value in identity.items() if name not in OF_SEED}
    if axis == "calib":
        left.pop("calib", None)
    elif axis != "seed":
        steps = left.get("stack", [])
        if not any(axis in step["config"] for step in steps):
            return None
        left["stack"] = [{**step, "config": _left(step["config"], axis)} for step in steps]
    return json.dumps(left, sort_keys=True)


def _left(config: Mapping[str, Any], axis: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != axis}


def _value(row: Mapping[Any, Any], axis: str) -> int | None:
    if axis in ("calib", "seed"):
        return int(row[axis])
    values = [step["config"].get(axis) for step in json.loads(row["methods"])]
    return next((int(value) for value in values if isinstance(value, int)), None)


def search_curves(record: Record) -> pd.DataFrame:
    """What the trial's searches noted after each pass: losses and logit SQNR; empty where none did."""
    parts = []
    for stage in record["stages"]:
        curves = stage.get("notes", {}).get("curves", {})
        for name, values in curves.items() if isinstance(curves, dict) else ():
            if isinstance(values, list):
                parts += [[stage["name"], name, number, value] for number, value in enumerate(values)]
    return pd.DataFrame(parts, columns=["stage", "curve", "pass", "value"])
