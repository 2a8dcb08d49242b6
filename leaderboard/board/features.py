"""Trials of ``--task features`` as one table: how far stacks move the output vectors of networks without a classifier.

They are grouped by the same key as boards of accuracies (``grouping.py``) and never stand among them: there is no top-1 to
rank by, and no count of images to test with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.leaderboard.board.grouping import Group, Row, Setting, data_name, groups
from harness.leaderboard.board.labels import told_apart
from harness.trial.spec import FEATURES

COLUMNS = {
    "board": "string",
    "network": "string",
    "stack": "string",
    "cosine": "Float64",
    "cosine_sd": "Float64",
    "sqnr_db": "Float64",
    "seeds": "Int64",
    "images": "Int64",
    "seconds": "Float64",
    "size_bytes": "Float64",
    "protocol": "string",
    "group": "string",
    "ids": "string",
    "command": "string",
    "altered": "string",
}


def feature_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per board, network and stack, the least moved first; means over seeds.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
    """
    by_setting: dict[Setting, list[Group]] = {}
    for group in groups(rows, FEATURES):
        by_setting.setdefault(group.setting, []).append(group)
    names = [setting.title(data_name(members)) for setting, members in by_setting.items()]
    titles = told_apart(names, [setting.parts() for setting in by_setting])
    found = [
        _row(f"Features: {title}", group)
        for title, members in sorted(zip(titles, by_setting.values(), strict=True), key=lambda one: one[0])
        for group in sorted(
            members, key=lambda one: (one.network.label, -(_mean(one.rows, "feature_cosine") or 0.0), one.recipe.label)
        )
    ]
    return pd.DataFrame({name: pd.array([one[name] for one in found], dtype=kind) for name, kind in COLUMNS.items()})  # type: ignore[call-overload]


def _row(title: str, group: Group) -> dict[str, Any]:
    rows, cosines = group.rows, [float(row["feature_cosine"]) for row in group.rows]
    exact = any(row["feature_sqnr_db"] is None for row in rows)  # no error, no ratio
    return {
        "board": title,
        "network": group.network.label,
        "stack": group.recipe.label,
        "cosine": float(np.mean(cosines)),
        "cosine_sd": float(np.std(cosines, ddof=1)) if len(cosines) > 1 else None,
        "sqnr_db": None if exact else _mean(rows, "feature_sqnr_db"),
        "seeds": len(rows),
        "images": rows[0]["n_images"],
        "seconds": _mean(rows, "seconds_stack"),
        "size_bytes": _mean(rows, "size_bytes"),
        "protocol": group.recipe.protocol,
        "group": group.key,
        "ids": " ".join(str(row["id"]) for row in rows),
        "command": rows[0]["command"],
        "altered": "; ".join(sorted({row["altered"] for row in rows if row["altered"]})),
    }


def _mean(rows: tuple[Row, ...], name: str) -> float | None:
    known = [float(row[name]) for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None
